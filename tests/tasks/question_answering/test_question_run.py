"""A whole run of question answering by a trial adapter that says in words how bright a picture is."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pandas as pd
import pytest

from medvfm import cli, lookup, pipeline
from medvfm.core.errors import RecipeError
from medvfm.core.metric_spec import parse
from medvfm.io.console import SILENT
from medvfm.pipeline import predicting
from medvfm.tasks.question_answering import task as question_answering
from tests.samples.trial import rooms

LEVELS = "Which level has it: dark, grey or bright?"


@pytest.fixture(autouse=True)
def answered(monkeypatch, tmp_path):
    """The items that the trial adapter was asked."""
    rooms.open_rooms(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    seen = lookup.module("adapters", "trial_answers", "test").SEEN
    seen.clear()
    return seen


@pytest.fixture
def study(tmp_path):
    return asked_study(tmp_path / "study")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study, a run of it that tests look at, and the items that were asked in it."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        rooms.open_rooms(patch)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        made = asked_study(folder / "study")
        seen = lookup.module("adapters", "trial_answers", "test").SEEN
        seen.clear()
        found = run(made, folder / "run", options={"by": ["site"]}, baselines=[{"name": "majority"}])
        return made, found, list(seen)


def asked_study(folder):
    """48 pictures of 24 patients, 12 for testing, with three questions each."""
    made = rooms.BrightnessStudy(folder, 48)
    rows = []
    for row in made.rows:
        level = float(row["answer"])
        named = "dark" if level < 90 else "grey" if level < 170 else "bright"
        for kind, question, answer in (
            ("presence", "Is it bright?", "yes" if level > 127 else "no"),
            ("level", f'"{LEVELS}"', named),
            ("OPEN ", "What is there?", f"there is a pneumothorax and the level is {level:.0f}"),
        ):
            own = {k: row[k] for k in ("patient_id", "image", "split", "site")}
            words = {"question": question, "answer": answer, "question_type": kind, "image_id": row["image"]}
            rows.append({"case_id": f"{row['case_id']}{kind[0]}", **own, **words, "text": f"Level {level:.0f}"})
    made.rows = rows
    made.write()
    return made


def recipe(study, method="looking", options=None, **changes):
    task = {"name": "question_answering", **({} if options is None else {"options": options})}
    plain = {"task": task, "adapter": {"name": "trial_answers", "method": method}}
    return study.recipe(**(plain | {"evaluate": {"confidence": {"resamples": 100}}} | changes))


def run(study, out, **changes):
    return pipeline.run(recipe(study, **changes), out, device="cpu", console=SILENT)


def rows(found, **wanted):
    plain = {"split": "test", "group": None, "baseline": None} | wanted
    return {r["metric"]: r for r in found.record["metrics"] if all(r[k] == v for k, v in plain.items())}


def test_a_run_answers_by_every_protocol_and_by_type(finished):
    _, found, asked = finished
    mine = rows(found)
    assert set(mine) == set(question_answering.DEFAULT_METRICS)
    assert mine["closed_accuracy"]["value"] == 1 and mine["unparsed"]["value"] == 0
    assert (mine["closed_accuracy"]["cases"], mine["closed_accuracy"]["patients"]) == (24, 6)
    assert "24 of 36 questions are closed" in mine["closed_accuracy"]["note"]
    assert mine["open_recall"]["cases"] == 12 and 0.6 < mine["open_recall"]["value"] < 1
    assert mine["exact_match"]["cases"] == 36 and mine["exact_match"]["value"] < 0.6
    for group, cases in (("question_type=presence", 12), ("question_type=level", 12), ("site=A", 12)):
        own, majority = rows(found, group=group), rows(found, group=group, baseline="majority")
        assert own["closed_accuracy"]["cases"] == cases
        apart = majority["closed_accuracy_difference"]
        assert "have no value" not in str(apart["note"])
        assert apart["value"] == pytest.approx(own["closed_accuracy"]["value"] - majority["closed_accuracy"]["value"])
    assert "open_recall" not in rows(found, group="question_type=level")
    assert "closed_accuracy" not in rows(found, group="question_type=OPEN")
    assert len(found.record["task"]["protocols"]) == len(question_answering.METRICS)
    assert asked and not [i for i in asked if i.case.answer or i.case.text or i.case.targets]


def test_a_model_that_ignores_the_image_is_no_better_than_shuffled(study, tmp_path):
    few = {"metrics": ["closed_accuracy", "bleu", "open_recall"], "confidence": {"resamples": 100}}
    same = {"options": {"permutations": 5}, "baselines": [{"name": "shuffled"}], "evaluate": few}
    looking = run(study, tmp_path / "a", **same)
    guessing = run(study, tmp_path / "b", method="guessing", **same)
    shuffled = rows(looking, baseline="shuffled")
    assert "the mean of 5 draws" in shuffled["closed_accuracy"]["note"]
    assert shuffled["closed_accuracy"]["value"] < 0.8
    assert shuffled["closed_accuracy_difference"]["low"] > 0
    assert shuffled["bleu_difference"]["value"] == pytest.approx(
        rows(looking)["bleu"]["value"] - shuffled["bleu"]["value"]
    )
    for metric, row in rows(guessing, baseline="shuffled").items():
        if metric.endswith("_difference"):
            assert row["value"] == pytest.approx(0, abs=1e-9), metric


def test_shuffled_asks_no_pair_of_image_and_question_twice(study, tmp_path, answered):
    few = {"metrics": ["exact_match"], "confidence": {"resamples": 100}}
    run(study, tmp_path / "a", evaluate=few)
    alone = len(answered)
    answered.clear()
    run(study, tmp_path / "b", options={"permutations": 4}, baselines=[{"name": "shuffled"}], evaluate=few)
    assert len(answered) == alone  # every image is asked every question: all pairs are known
    for row in study.rows[::2]:
        row["question"] = row["question"].replace("?", f" ({row['case_id']})?")
    study.write()
    answered.clear()
    run(study, tmp_path / "c", options={"permutations": 4}, baselines=[{"name": "shuffled"}], evaluate=few)
    assert alone < len(answered) < alone + 4 * 36


def test_every_row_of_a_run_is_made_again_from_its_tables(finished):
    _, found, _ = finished
    task = question_answering.from_record(found.record["task"])
    table = task.read_run(found.directory)["test", None]
    specs = [parse(name, task.metrics) for name in question_answering.DEFAULT_METRICS]
    again = {e.metric.name: e.value for e in task.estimands(table, specs, None)}
    assert again == {name: pytest.approx(row["value"]) for name, row in rows(found).items()}
    by_type = task.views(table)["question_type=presence"]
    assert {e.metric.name: e.value for e in task.estimands(by_type, specs, None)} == {
        name: pytest.approx(row["value"]) for name, row in rows(found, group="question_type=presence").items()
    }
    assert "site=A" in task.views(table)


def test_reports_are_written_and_their_truth_is_the_text(study, tmp_path, answered):
    plain = [{k: v for k, v in r.items() if k not in ("question", "answer", "question_type")} for r in study.rows[2::3]]
    study.write(rows=[row | {"text": f"{row['text']}. No pneumothorax."} for row in plain])
    found = run(study, tmp_path / "run", options={"answer_kind": "report"}, baselines=[{"name": "majority"}])
    mine = rows(found)
    assert list(mine) == list(question_answering.REPORT_METRICS)
    assert mine["bleu"]["cases"] == 12 and 0 < mine["rouge_l"]["value"] < 1
    assert mine["finding_f1"]["value"] is None and "neither truth nor answers" in mine["finding_f1"]["note"]
    assert not [i for i in answered if i.case.text]
    assert "wrote reports of 12 test images of 6 patients" in (tmp_path / "run/report.html").read_text()


def test_predict_asks_the_question_that_is_given_or_that_of_a_table(finished, tmp_path):
    study, found, _ = finished
    directory = found.directory
    image = study.root / "03.png"
    (row,) = predicting.predict(directory, image, question="Is it bright?").to_dict("records")
    assert row["answer"] in ("Yes.", "No, it is not.") and row["question"] == "Is it bright?"
    assert 0.5 <= row["confidence"] <= 1
    table = tmp_path / "ask.csv"
    table.write_text(f"image,question\n{image},Is it bright?\n{image},What is there?\n")
    found = predicting.predict(directory, table)
    assert found["answer"][0] == row["answer"] and found["answer"][1].startswith("There is no pneumothorax")
    for question, said in ((None, "none is asked"), (" ? ", "an empty question")):
        with pytest.raises(RecipeError, match=said):
            predicting.predict(directory, image, question=question)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ({"classes": ["yes", "no"]}, "no classes"),
        ({"kind": "binary"}, "answer_kind"),
        ({"unit": "patient"}, "one by one"),
        ({"options": {"by": ["sight"]}}, "did you mean 'site'"),
        ({"options": {"closed": {"level": ["dark"]}}}, "at least two"),
        ({"options": {"permutation": 3}}, "did you mean 'permutations'"),
    ],
)
def test_what_the_task_does_not_understand_is_refused(study, task, said):
    with pytest.raises(RecipeError, match=said):
        pipeline.check(
            study.recipe(task={"name": "question_answering", **task}, adapter={"name": "trial_answers"}), ready=False
        )


def test_the_report_shows_questions_marks_types_and_what_was_not_read(study, tmp_path):
    options = {"by": ["site"], "permutations": 2}
    names = [{"name": "shuffled"}, {"name": "majority"}]
    found = run(study, tmp_path / "run", method="guessing", options=options, baselines=names)
    html = (found.directory / "report.html").read_text()
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))
    for word in (
        "Which level has it",
        "majority answer of training",
        "shuffled images",
        "protocol",
        "could not be read",
        "site",
    ):
        assert word in text, word
    assert "answered 24 closed test questions of 6 patients" in text
    assert "there is a pneumothorax" in text and "There is no pneumothorax" in text
    assert not {"None", "nan", "undefined"} & set(text.split())
    assert html.count("<img") >= 3
    record = json.loads((found.directory / "run.json").read_text())
    assert {"place", "file"} == set(record["question_answering"]["asked"][0])
    measures = pd.read_parquet(found.directory / "measures.parquet")
    assert "confidence" in set(measures["metric"]) and np.isfinite(measures["value"].dropna()).all()


def test_the_command_line_asks_a_question_and_refuses_it_of_another_task(finished, tmp_path, monkeypatch, capsys):
    study, found, _ = finished

    def command(*words):
        monkeypatch.setattr(sys, "argv", ["medvfm", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, capsys.readouterr().err

    image, out = study.root / "03.png", tmp_path / "out"
    assert command("predict", found.directory, image, "--question", "Is it bright?", "--out", out)[0] == 0
    assert pd.read_csv(out / "predictions.csv")["answer"][0] in ("Yes.", "No, it is not.")
    code, said = command("predict", found.directory, "nothing.dcm", "--question", "Is it?", "--out", tmp_path / "b")
    assert code == 2 and "nothing.dcm" in said
    other = rooms.BrightnessStudy(tmp_path / "other")
    pipeline.run(other.recipe(), tmp_path / "levels", device="cpu", console=SILENT)
    code, said = command("predict", tmp_path / "levels", image, "--question", "Is it?", "--out", tmp_path / "c")
    assert code == 2 and "answers no question" in said
