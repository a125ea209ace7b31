"""A temperature fitted on validation cases: the least log loss of scipy, by class and by fold; what is left alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, logit, softmax
from sklearn.metrics import log_loss

from medvfm.core.errors import DataError
from medvfm.core.metric_spec import parse
from medvfm.tasks.classification import estimands, operating_points, recalibration
from medvfm.tasks.classification.scores import ScoreTable
from medvfm.tasks.classification.task import ClassificationTask

BINARY = ClassificationTask(("x",), "binary", "image", "mean")
SEVERAL = ClassificationTask(("a", "b", "c"), "multi_class", "image", "mean")
BRIER = [parse("brier", estimands.METRICS)]


def table(targets, truth, scores, probabilities=True, fold=None):
    n = len(truth)
    fold = np.zeros(n, dtype=int) if fold is None else fold
    return ScoreTable(tuple(f"c{k}" for k in range(n)), np.arange(n), targets, truth, scores, probabilities, fold=fold)


def binary(seed=0, factor=3.0, n=200, fold=None):
    """Log odds that are too far from 0 by the factor."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(0, 1.5, (n, 1))
    truth = (rng.random((n, 1)) < expit(odds)).astype(float)
    return table(("x",), truth, expit(factor * odds), fold=fold)


def several(seed=0, factor=2.5, n=300, probabilities=True):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (n, 3))
    truth = np.eye(3)[[rng.choice(3, p=p) for p in softmax(logits, axis=1)]]
    scores = softmax(factor * logits, axis=1) if probabilities else factor * logits
    return table(("a", "b", "c"), truth, scores, probabilities)


def least(loss):
    return minimize_scalar(loss, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-10}).x


def test_one_class_has_the_least_log_loss_of_scipy():
    val = binary()
    points = operating_points.fix(val, BRIER, "temperature")
    odds = logit(val.scores[:, 0])
    expected = least(lambda t: log_loss(val.truth[:, 0], expit(odds / t)))
    assert points.recalibration.values[0, 0] == pytest.approx(expected, rel=1e-5)
    assert expected == pytest.approx(3, rel=0.3)
    test = binary(1)
    assert BINARY.adjusted(test, points).scores[:, 0] == pytest.approx(expit(logit(test.scores[:, 0]) / expected))
    before, after = (log_loss(test.truth[:, 0], t.scores[:, 0]) for t in (test, BINARY.adjusted(test, points)))
    assert after < before


@pytest.mark.parametrize("probabilities", [True, False])
def test_several_exclusive_classes_share_one(probabilities):
    val = several(probabilities=probabilities)
    points = SEVERAL.operating_points(val, [], "temperature")
    logits = np.log(val.scores) if probabilities else val.scores
    expected = least(lambda t: -(log_softmax(logits / t, axis=1) * val.truth).sum(axis=1).mean())
    assert points.recalibration.values == pytest.approx(np.full((1, 3), expected), rel=1e-5)
    adjusted = SEVERAL.adjusted(val, points)
    assert adjusted.probabilities
    assert adjusted.scores.sum(axis=1) == pytest.approx(1)
    assert (adjusted.scores.argmax(axis=1) == val.scores.argmax(axis=1)).all()


def test_each_fold_has_its_own_and_answers_of_folds_are_scaled_by_theirs():
    fold = np.repeat([0, 1], 100)
    val = binary(3, factor=2.0, fold=fold)
    points = operating_points.fix(val, BRIER, "temperature")
    parts = [replace(val.subset(fold == f), fold=np.zeros(100, dtype=int)) for f in (0, 1)]
    own = [operating_points.fix(part, BRIER, "temperature").recalibration.values[0, 0] for part in parts]
    assert points.recalibration.values[:, 0] == pytest.approx(own)
    combined = BINARY.combine([np.array([0.9]), np.array([0.8])], points)
    assert combined == pytest.approx(np.mean([expit(logit(0.9) / own[0]), expit(logit(0.8) / own[1])]))


def test_what_has_no_temperature_is_left_or_refused():
    val = binary()
    right = table(("x",), val.truth, expit(4 * (2 * val.truth - 1)))
    points = operating_points.fix(right, BRIER, "temperature")
    assert points.recalibration is None
    assert "falls up to the last temperature" in points.left_as_they_are
    with pytest.raises(DataError, match="have no odds"):
        recalibration.fit(table(("x",), val.truth, val.scores * 9, probabilities=False), "temperature", False)
    with pytest.raises(DataError, match="one class only"):
        recalibration.fit(table(("x",), np.ones_like(val.truth), val.scores), "temperature", False)


def test_rows_of_validation_cases_are_in_sample():
    val = binary()
    points = operating_points.fix(val, BRIER, "temperature")
    (brier,) = estimands.estimands(BINARY.adjusted(val, points), BRIER, replace(points, in_sample=True), False)
    assert any("in-sample: recalibrated" in note for note in brier.notes)
