"""What a page says of questions and answers, from an evaluation to which rows of baselines are added by hand."""

from __future__ import annotations

import json
import re

import pandas as pd
import pytest

import medvfm
from medvfm.report import headline, page, run_view
from medvfm.report.sections.question_answering import coin, disagreements, question_table

PAIRS = [
    ("yes", "yes"),
    ("no", "no"),
    ("yes", "Yes, <b>there</b> is"),
    ("no", "perhaps"),
    ("yes", "no"),
    ("no", "no"),
] * 4


@pytest.fixture
def run(tmp_path):
    """24 questions of yes and no, and two open ones of which an answer flips the meaning."""
    rows = [("CLOSED", f"Is there air {n}?", *pair) for n, pair in enumerate(PAIRS)]
    rows += [
        ("OPEN", "What?", "there is a pneumothorax", "there is no pneumothorax"),
        ("OPEN", "Where?", "left", "left"),
    ]
    ids = [f"c{n}" for n in range(len(rows))]
    truth = pd.DataFrame(rows, columns=["question_type", "question", "answer", "given"]).assign(case_id=ids)
    truth["patient_id"] = [f"p{n // 2}" for n in range(len(rows))]
    answers = truth[["case_id", "given"]].rename(columns={"given": "answer"})
    medvfm.evaluate("question_answering", truth.drop(columns="given"), answers, out=tmp_path / "out")
    return tmp_path / "out"


def with_baselines(directory, value, low=0.55):
    """The run with the baseline `shuffled` at a value, and the model's interval from `low`."""
    record = json.loads((directory / "run.json").read_text())
    own = next(r for r in record["metrics"] if r["metric"] == "closed_accuracy" and r["group"] is None)
    own["low"] = low
    for group in (None, "question_type=CLOSED"):
        plain = own | {"group": group, "baseline": "shuffled"}
        record["metrics"].append(plain | {"value": value, "low": value - 0.1, "high": value + 0.1, "note": None})
        apart = {"metric": "closed_accuracy_difference", "value": own["value"] - value, "low": 0.05, "high": 0.5}
        record["metrics"].append(plain | apart | {"note": None})
    (directory / "run.json").write_text(json.dumps(record))
    return run_view.load(directory)


def words(directory) -> str:
    html = page.render(directory).read_text(encoding="utf-8")
    assert "<b>there</b>" not in html  # an answer is no markup
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_a_baseline_below_one_half_is_replaced_by_a_coin_in_words_and_keeps_its_number(run):
    said = headline.build(with_baselines(run, 0.41)).comparison
    assert "reached 0.41" in said and "0.5 of a coin" in said and "better than a coin" in said
    assert "do not show" not in said
    text = words(run)
    assert "compare the model with 0.5" in text and "0.41" in text


def test_a_model_that_does_not_pass_one_half_is_not_called_better_than_a_coin(run):
    assert (
        "do not show that the model is better than a coin" in headline.build(with_baselines(run, 0.41, 0.47)).comparison
    )


def test_a_baseline_above_one_half_is_compared_as_everywhere(run):
    said = headline.build(with_baselines(run, 0.6)).comparison
    assert "coin" not in said and "was better by" in said
    assert "compare the model with 0.5" not in words(run)


def test_a_coin_is_for_questions_of_yes_and_no_alone(run):
    table = pd.read_parquet(run / "predictions.parquet")
    view = with_baselines(run, 0.41)
    assert coin.yes_no_groups(view) == {None, "question_type=CLOSED"}
    table.assign(truth=["left", *table["truth"][1:]]).to_parquet(run / "predictions.parquet")
    assert coin.yes_no_groups(view) == set()
    assert "coin" not in headline.build(view).comparison


def test_the_page_shows_flips_unread_answers_and_rules(run):
    text = words(run)
    assert "answered 24 closed questions of 12 patients" in text
    assert "negation differs" in text and "there is no pneumothorax" in text
    assert "From 4 of 24 answers to closed questions none of the possible answers could be read" in text
    assert "nrefs:1, case:mixed, tok:13a, smooth:exp" in text and "perhaps" in text


def test_every_protocol_marks_the_question_that_it_judges(run):
    asked = question_table.of_view(run_view.load(run))
    assert len(asked) == 26 and asked[0].marks["closed_accuracy"] == 1 and "open_recall" not in asked[0].marks
    flip = asked[24]
    assert flip.marks["exact_match"] == 0 and flip.marks["open_recall"] == pytest.approx(3 / 4)
    assert disagreements.is_flip(flip.truth, flip.answer) and not disagreements.is_flip("no air", "without air")
