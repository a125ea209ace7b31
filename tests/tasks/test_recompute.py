"""Published numbers found again: by hand, and by scikit-learn for scores."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

import medvfm
from medvfm.core.errors import PredictionError


def answers():
    """25 closed questions of 5 patients, 21 right, 3 wrong, 1 without a yes or no; 5 open ones, 2 right."""
    given = ["yes"] * 21 + ["no"] * 3 + ["unclear"]
    rows = [(f"c{n}", f"p{n % 5}", "CLOSED", "q?", "yes", text) for n, text in enumerate(given)]
    rows += [(f"o{n}", "p9", "OPEN", "where?", "left lung", "left lung" if n < 2 else "liver") for n in range(5)]
    return pd.DataFrame(rows, columns=["case_id", "patient_id", "question_type", "question", "truth", "answer"])


def way(found, protocol, denominator, split="all rows"):
    rows = found[
        (found["protocol"] == protocol) & (found["denominator"] == denominator) & (found["split"] == split)
    ].to_dict("records")
    assert len(rows) == 1, found.to_string()
    return rows[0]


def test_closed_questions_are_counted_of_all_of_those_read_and_of_those_that_a_script_keeps():
    found = medvfm.reconcile(answers(), "0.84", "closed_accuracy")
    assert way(found, "closed_accuracy", "all closed questions")["value"] == pytest.approx(21 / 25)
    parsed = way(found, "closed_accuracy", "all closed questions whose answer could be read")
    assert (parsed["value"], parsed["cases"]) == (pytest.approx(21 / 24), 24)
    assert way(found, "llava_med_closed", "all closed questions")["value"] == pytest.approx(21 / 22)
    assert way(found, "exact_match", "all questions")["value"] == pytest.approx(23 / 30)
    kinds = way(found, "exact_match", "mean over every type of question, all questions")["value"]
    assert kinds == pytest.approx((21 / 25 + 2 / 5) / 2)
    assert "reproduced by" in found.attrs["said"]
    assert "none" not in found.attrs["said"]


@pytest.mark.parametrize(
    ("published", "hit"),
    [("0.84", True), ("84%", True), ("84.0", True), ("0.875", True), ("0.8751", False), ("0.61", False)],
)  # fmt: skip
def test_a_number_is_found_to_its_printed_digits_or_not_at_all(published, hit):
    found = medvfm.reconcile(answers(), published, "closed_accuracy")
    assert found["reproduces"].any() == hit
    assert ("none of" in found.attrs["said"]) != hit


def test_a_split_and_its_patients_are_ways_of_their_own():
    table = answers().iloc[:25].assign(split=["test"] * 10 + ["val"] * 15)
    found = medvfm.reconcile(table, "1.00", "closed_accuracy")
    assert way(found, "closed_accuracy", "all closed questions", "split test")["value"] == 1
    last = way(found, "closed_accuracy", "all closed questions", "split val")
    assert (last["value"], last["cases"]) == (pytest.approx(11 / 15), 15)
    right = (table["answer"] == "yes").groupby(table["patient_id"]).mean().mean()
    by_patient = way(found, "closed_accuracy", "mean over every patient, all closed questions")
    assert by_patient["value"] == pytest.approx(right)


@pytest.fixture
def scores():
    rng = np.random.default_rng(5)
    truth = (rng.random(80) < 0.4).astype(int)
    score = np.clip(rng.normal(0.35, 0.2, 80) + 0.3 * truth, 0, 1).round(2)
    owners = [f"p{n // 2}" for n in range(80)]
    return pd.DataFrame(
        {"case_id": [f"c{n}" for n in range(80)], "patient_id": owners, "truth": truth, "score": score,
         "fold": np.arange(80) % 2, "target": np.where(np.arange(80) < 50, "a", "b")}
    )  # fmt: skip


def test_auroc_by_case_by_patient_within_folds_over_targets_and_of_one_point(scores):
    found = medvfm.reconcile(scores, "0.5", "auroc")
    exact = "AUROC, ties counted half"
    assert way(found, exact, "all targets pooled (micro)")["value"] == pytest.approx(
        sk.roc_auc_score(scores["truth"], scores["score"])
    )
    parts = dict(list(scores.groupby("target")))
    each = [sk.roc_auc_score(p["truth"], p["score"]) for p in parts.values()]
    assert way(found, exact, "mean over targets (macro)")["value"] == pytest.approx(np.mean(each))
    owners = parts["a"].groupby("patient_id").agg(truth=("truth", "max"), score=("score", "max"))
    by_patient = way(found, exact, "every patient by the highest of his scores, a")
    assert by_patient["value"] == pytest.approx(sk.roc_auc_score(owners["truth"], owners["score"]))
    folds = [sk.roc_auc_score(p["truth"], p["score"]) for _, p in parts["b"].groupby("fold")]
    assert way(found, exact, "mean over folds, b")["value"] == pytest.approx(np.mean(folds))
    decided = way(found, "AUROC of decisions at 0.5, one point of the curve", "every case, folds pooled, a")
    expected = sk.balanced_accuracy_score(parts["a"]["truth"], parts["a"]["score"] >= 0.5)
    assert decided["value"] == pytest.approx(expected)


def test_decisions_at_half_and_at_thresholds_of_these_very_cases(scores):
    plain = scores.drop(columns=["fold", "target", "patient_id"])
    found = medvfm.reconcile(plain, "0.9", "accuracy")
    truth, score = plain["truth"], plain["score"]
    half = way(found, "accuracy at the threshold 0.5", "every case")["value"]
    assert half == pytest.approx(sk.accuracy_score(truth, score >= 0.5))
    best = way(found, "accuracy at its own best threshold of these very cases", "every case")["value"]
    assert best == pytest.approx(max(sk.accuracy_score(truth, score >= cut) for cut in score.unique()))
    curve = medvfm.reconcile(plain, "0.9", "auprc")
    precision, recall, _ = sk.precision_recall_curve(truth, score)
    assert way(curve, "average precision", "every case")["value"] == pytest.approx(
        sk.average_precision_score(truth, score)
    )
    assert way(curve, "area under the PR curve by trapezoids", "every case")["value"] == pytest.approx(
        sk.auc(recall, precision)
    )


def test_what_is_no_number_or_no_table_of_answers_is_refused():
    with pytest.raises(PredictionError, match=r"no number as papers print one.*0\.84 or 84"):
        medvfm.reconcile(answers(), "about 0.8", "closed_accuracy")
    with pytest.raises(PredictionError, match="answer, case_id, truth"):
        medvfm.reconcile(answers().drop(columns="answer"), "0.8", "closed_accuracy")
    with pytest.raises(medvfm.RecipeError, match="closed_accuracy"):
        medvfm.reconcile(answers(), "0.8", "closed_accurac")
