"""Any program's answers, scored from two tables against counting by hand; and what must not pass in silence."""

from __future__ import annotations

import pandas as pd
import pytest

import medvfm
from medvfm.core.errors import PredictionError
from medvfm.io.run_directory import read_record

CLOSED = [
    ("yes", "Yes."), ("no", "no"), ("no", "No, there is none"), ("yes", "no"), ("yes", "perhaps"), ("no", "yes"),
    ("yes", "yes"), ("no", "no"),
]  # fmt: skip
OPEN = [
    ("left lower lobe", "left lower lobe"), ("5 mm", "5 cm"), ("no pneumothorax", "pneumothorax"),
    ("chest x-ray", "mri"),
]  # fmt: skip


def tables(closed=CLOSED, opened=OPEN) -> tuple[pd.DataFrame, pd.DataFrame]:
    lines = [(f"c{i}", f"p{i // 2}", "CLOSED " if i == 0 else "CLOSED", "q", t, a) for i, (t, a) in enumerate(closed)]
    lines += [(f"o{i}", f"r{i}", "OPEN", "q", t, a) for i, (t, a) in enumerate(opened)]
    names = ["case_id", "patient_id", "question_type", "question", "answer"]
    truth = pd.DataFrame([line[:5] for line in lines], columns=names)
    return truth, pd.DataFrame([(line[0], line[5]) for line in lines], columns=["case_id", "answer"])


def evaluated(truth, answers, **options) -> dict[tuple[str, str | None], dict]:
    found = medvfm.evaluate("question_answering", truth, answers, **options)
    return {(r["metric"], None if pd.isna(r["group"]) else r["group"]): r for r in found.to_dict("records")}


def test_closed_and_open_answers_are_scored_as_counted_by_hand():
    rows = evaluated(*tables())
    closed = rows["closed_accuracy", None]
    assert (closed["value"], closed["cases"], closed["patients"]) == (5 / 8, 8, 4)
    assert rows["unparsed", None]["value"] == 1 / 8
    assert rows["open_recall", None]["value"] == pytest.approx(0.5)
    assert (rows["exact_match", None]["value"], rows["exact_match", None]["cases"]) == (pytest.approx(5 / 12), 12)
    assert rows["llava_med_closed", None]["value"] == pytest.approx(5 / 6)
    assert "2 wrong answers are left out" in rows["llava_med_closed", None]["note"]
    assert rows["closed_accuracy", "question_type=CLOSED"]["value"] == 5 / 8
    assert rows["token_f1", "question_type=OPEN"]["cases"] == 4


def test_order_and_names_of_cases_change_nothing_and_files_are_read_like_frames(tmp_path):
    truth, answers = tables()
    plain = evaluated(truth, answers)
    for name, table in (("t", truth), ("a", answers)):
        table.sample(frac=1, random_state=1).to_csv(tmp_path / f"{name}.csv", index=False)
    again = evaluated(tmp_path / "t.csv", tmp_path / "a.csv")
    assert {k: r["value"] for k, r in again.items()} == {k: pytest.approx(r["value"]) for k, r in plain.items()}


def test_long_answers_need_no_closed_question():
    truth, answers = tables([], [("there is an effusion and no edema", "there is no effusion and no edema")] * 3)
    rows = evaluated(truth, answers)
    assert ("closed_accuracy", None) not in rows and rows["bleu", None]["value"] > 0
    asked = evaluated(truth, answers, metrics=["closed_accuracy", "finding_f1"])
    assert pd.isna(asked["closed_accuracy", None]["value"])
    assert asked["closed_accuracy", None]["note"] == "no closed question"
    assert asked["finding_f1", None]["value"] == 0


def test_none_is_an_answer_and_an_empty_cell_is_an_answer_without_words(tmp_path):
    truth, answers = tables([("yes", "yes"), ("no", "")], [("none", "None"), ("left", "nan")])
    truth.to_csv(tmp_path / "t.csv", index=False)
    answers.to_csv(tmp_path / "a.csv", index=False)
    medvfm.evaluate("question_answering", tmp_path / "t.csv", tmp_path / "a.csv", out=tmp_path / "out")
    rows = evaluated(tmp_path / "t.csv", tmp_path / "a.csv")
    assert rows["exact_match", None]["cases"] == 4 and rows["exact_match", None]["value"] == 0.5
    assert rows["unparsed", None]["value"] == 0.5
    assert any("1 answer without words" in said for said in read_record(tmp_path / "out")["warnings"])


def test_a_question_without_an_answer_is_left_out_and_named(tmp_path):
    truth, answers = tables()
    truth.loc[4, "answer"] = " "
    rows = evaluated(truth, answers)
    assert rows["closed_accuracy", None]["cases"] == 7
    medvfm.evaluate("question_answering", truth, answers, out=tmp_path / "out")
    flow = [(step["step"], step["cases"]) for step in read_record(tmp_path / "out")["data"]["flow"]]
    whole = len(truth)
    assert flow == [("with a prediction", whole), ("not scored", -1), ("analysed", whole - 1)]
    page = " ".join((tmp_path / "out" / "report.html").read_text(encoding="utf-8").split())
    assert "no case was left out" not in page and "1 case (not scored)" in page
    truth["answer"] = ""
    with pytest.raises(PredictionError, match="no question has a true answer"):
        evaluated(truth, answers)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t, a: (t, pd.concat([a, a.iloc[[3]]])), "c3"),
        (lambda t, a: (pd.concat([t, t.iloc[[2]]]), a), "c2"),
        (lambda t, a: (t, pd.concat([a, a.iloc[[3]].assign(case_id="c99")])), "c99"),
        (lambda t, a: (t, a.drop(5)), "c5"),
        (lambda t, a: (t.rename(columns={"answer": "anser"}), a), "did you mean 'anser'"),
        (lambda t, a: (t.drop(columns="case_id"), a), "no column case_id"),
    ],
)
def test_tables_that_do_not_match_are_refused(change, said):
    with pytest.raises(PredictionError, match=said):
        evaluated(*change(*tables()))


def test_missing_answers_are_allowed_where_it_is_said_so():
    truth, answers = tables()
    assert evaluated(truth, answers.drop(5), allow_missing=True)["closed_accuracy", None]["cases"] == 7


def test_intervals_are_over_images_where_the_truth_names_no_patients():
    truth, answers = tables()
    truth["image_id"] = [f"i{n // 4}" for n in range(len(truth))]
    assert evaluated(truth.drop(columns="patient_id"), answers)["closed_accuracy", None]["patients"] == 2
    assert evaluated(truth, answers)["closed_accuracy", None]["patients"] == 4


def test_subgroups_and_folds_are_those_of_the_table():
    truth, answers = tables()
    truth["organ"] = ["chest", "head"] * 6
    rows = evaluated(truth, answers, subgroups=["organ"])
    assert {rows["closed_accuracy", f"organ={o}"]["cases"] for o in ("chest", "head")} == {4}
    truth["fold"] = [n % 2 for n in range(len(truth))]
    halves = [evaluated(truth[truth["fold"] == f], answers[truth["fold"] == f]) for f in (0, 1)]
    for metric in ("bleu", "closed_accuracy", "rouge_l"):
        mean = sum(half[metric, None]["value"] for half in halves) / 2
        assert evaluated(truth, answers)[metric, None]["value"] == pytest.approx(mean)
