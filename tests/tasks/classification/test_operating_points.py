"""What is fixed on validation data: one deciding threshold whatever the metrics, and scaling that keeps the order."""

from __future__ import annotations

import numpy as np
import pytest

from medvfm.core.metric_spec import parse
from medvfm.tasks.classification import estimands, operating_points
from medvfm.tasks.classification.scores import ScoreTable
from medvfm.tasks.classification.task import ClassificationTask

TASK = ClassificationTask(("x",), "binary", "image", "mean")
ORDER = ["sensitivity@specificity=0.9", "specificity@sensitivity=0.9", "balanced_accuracy"]


def table(seed: int = 0, turned: bool = False, n: int = 60) -> ScoreTable:
    rng = np.random.default_rng(seed)
    truth = (rng.random((n, 1)) < 0.5).astype(float)
    odds = rng.normal(size=(n, 1)) + (1 - 2 * turned) * 1.5 * truth
    return ScoreTable(tuple(f"c{k}" for k in range(n)), np.arange(n), ("x",), truth, 1 / (1 + np.exp(-odds)), True)


def specs(names):
    return [parse(name, estimands.METRICS) for name in names]


def threshold(decide_at, names=ORDER) -> float:
    return float(operating_points.fix(table(), specs(names), "none", decide_at).thresholds["decision", "x"][0])


def best(score: np.ndarray, truth: np.ndarray, of) -> float:
    return max(of(score >= cut, truth) for cut in score)


@pytest.mark.parametrize("decide_at", ["youden", "f1", "specificity=0.9", "sensitivity=0.8", 0.3])
def test_the_deciding_threshold_does_not_depend_on_the_metrics(decide_at):
    found = {threshold(decide_at, names) for names in (ORDER, ORDER[::-1], ORDER[2:], ["auroc"])}
    assert len(found) == 1


def test_each_rule_reaches_what_it_names():
    given = table()
    score, truth = given.scores[:, 0], given.truth[:, 0] == 1
    youden = lambda called, true: called[true].mean() + (~called[~true]).mean()  # noqa: E731
    f1 = lambda called, true: 2 * (called & true).sum() / (called.sum() + true.sum())  # noqa: E731
    assert youden(score >= threshold("youden"), truth) == pytest.approx(best(score, truth, youden))
    assert f1(score >= threshold("f1"), truth) == pytest.approx(best(score, truth, f1))
    assert (score < threshold("specificity=0.9"))[~truth].mean() >= 0.9
    assert (score >= threshold("sensitivity=0.8"))[truth].mean() >= 0.8
    assert threshold(0.3) == 0.3


def test_rows_say_where_they_were_decided():
    points = operating_points.fix(table(), specs(ORDER), "none", "specificity=0.9")
    found = {e.metric.name: "; ".join(e.notes) for e in estimands.estimands(table(1), specs(ORDER), points, False)}
    assert "decided at the threshold of specificity 0.9 on validation data" in found["balanced_accuracy"]
    assert "decided at" not in found["sensitivity@specificity=0.9"]  # its name says it


def test_scaling_that_would_turn_the_order_round_is_left_out_and_said():
    val, test = table(turned=True), table(1)
    points = operating_points.fix(val, specs(["brier"]), "platt")
    assert points.recalibration is None
    assert TASK.adjusted(test, points) is test
    (brier,) = estimands.estimands(test, specs(["brier"]), points, False)
    assert any("not recalibrated" in note and "x" in note for note in brier.notes)


def test_recalibrated_rows_say_so_and_validation_rows_are_in_sample():
    from dataclasses import replace

    points = operating_points.fix(table(), specs(["brier"]), "platt")
    assert points.recalibration is not None
    (brier,) = estimands.estimands(TASK.adjusted(table(1), points), specs(["brier"]), points, False)
    assert "recalibrated on validation data" in brier.notes
    again = estimands.estimands(table(), specs(["brier", "f1"]), replace(points, in_sample=True), False)
    assert all(any("in-sample" in note for note in e.notes) for e in again)


def test_a_constant_score_gets_the_rate():
    flat = table().with_scores(np.full((60, 1), 0.9), True)
    points = operating_points.fix(flat, specs(["brier"]), "platt")
    adjusted = TASK.adjusted(flat, points)
    assert adjusted.scores == pytest.approx(flat.truth.mean(), abs=0.02)
