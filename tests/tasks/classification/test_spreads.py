"""Every metric of scores has the interval of its kind, made of the same cases as its value."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from medvfm.core.metric_spec import parse
from medvfm.core.protocols import Points
from medvfm.metrics import calibration
from medvfm.statistics.interval import Drawing
from medvfm.tasks.classification import estimands
from medvfm.tasks.classification.scores import ScoreTable

NAMES = [name if "@" not in name else f"{name}=0.8" for name in estimands.METRICS]


def table(classes: int = 1, folds: int = 1, cases: int = 1, n: int = 120, seed: int = 0) -> ScoreTable:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, max(classes, 2), n)
    odds = rng.normal(size=(n, classes)) + 1.5 * (truth[:, None] == (np.arange(classes) if classes > 1 else 1))
    scores = np.exp(odds) / np.exp(odds).sum(1, keepdims=True) if classes > 1 else 1 / (1 + np.exp(0.7 - odds))
    hot = np.eye(classes)[truth] if classes > 1 else truth[:, None].astype(float)
    names = tuple("abcd"[:classes])
    return ScoreTable(
        tuple(map(str, range(n))), np.arange(n) // cases, names, hot, scores, True, {}, np.arange(n) * folds // n
    )


def points(folds: int, names) -> Points:
    own = [name for name in NAMES if "@" in name]
    return Points({(m, t): np.full(folds, 0.5) for t in names for m in ("decision", *own)})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("classes", "folds", "cases"), [(1, 1, 1), (1, 3, 1), (1, 1, 3), (3, 1, 1), (3, 2, 2)])
def test_spread_and_value_are_of_the_same_number(name, classes, folds, cases):
    given = table(classes, folds, cases)
    spec = parse(name, estimands.METRICS)
    for found in estimands.estimands(given, [spec], points(folds, given.targets), classes > 1):
        assert found.value is not None, found.reason
        if found.spread is None:
            assert found.bare or spec.metric.interval == "steps"
            continue
        assert found.spread.value == pytest.approx(found.value, abs=1e-9)
        interval = found.spread.interval(Drawing(0.95, 200))
        assert interval.low <= found.value <= interval.high
        assert spec.metric.within[0] <= interval.low and interval.high <= spec.metric.within[1]
        if found.minus is not None:
            other = given.with_scores(np.roll(given.scores, 1, axis=0), True)
            (theirs,) = [e for e in estimands.estimands(other, [spec], points(folds, given.targets), classes > 1)
                         if e.target == found.target]  # fmt: skip
            apart = found.minus(theirs)
            assert apart.spread.value == pytest.approx(found.value - theirs.value, abs=1e-9)
            ends = apart.spread.interval(Drawing(0.95, 200))
            assert ends.low <= apart.value <= ends.high


def test_a_sensitivity_has_wilsons_interval_of_its_positives():
    given = table()
    spec = parse("sensitivity", estimands.METRICS)
    (found,) = estimands.estimands(given, [spec], points(1, "a"), False)
    positive = given.truth[:, 0] == 1
    expected = binomtest(int((given.scores[positive, 0] >= 0.5).sum()), int(positive.sum())).proportion_ci(
        0.95, "wilson"
    )
    interval = found.spread.interval(Drawing())
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


def test_few_patients_are_those_that_the_number_rests_on():
    given = table(n=90, cases=3)
    truth = np.zeros((90, 1))
    truth[:6] = 1  # 2 patients
    few = ScoreTable(given.ids, given.patients, ("x",), truth, given.scores, True)
    found = {e.metric.name: "; ".join(e.notes) for e in estimands.estimands(
        few, [parse(m, estimands.METRICS) for m in ("auroc", "sensitivity", "specificity", "brier")],
        Points({("decision", "x"): np.array([0.5])}), False)}  # fmt: skip
    for name in ("auroc", "sensitivity"):
        assert "only 2 patients with the finding" in found[name]
    assert "only" not in found["specificity"] and "only" not in found["brier"]


def test_a_calibration_error_has_the_level_of_chance_in_place_of_an_interval():
    given = table(n=70)
    (found,) = estimands.estimands(given, [parse("ece", estimands.METRICS)], Points(), False)
    assert found.spread is None and found.bare is not None
    rng, slow = np.random.default_rng(5), []
    probability = given.scores[:, 0]
    for _ in range(2000):  # perfect by construction
        truth = torch.as_tensor((rng.random(70) < probability).astype(int))
        slow.append(float(calibration.ece(truth, torch.as_tensor(probability))))
    level = float(found.notes[-1].split("probabilities ")[1].split()[0])
    assert level == pytest.approx(np.mean(slow), abs=0.004)


@pytest.mark.parametrize("name", [n for n, m in estimands.METRICS.items() if m.by_chance])
def test_the_level_of_chance_is_that_of_the_metric(name):
    metric, classes = estimands.METRICS[name], 3 if estimands.METRICS[name].takes == "class_score" else 1
    given = torch.as_tensor(table(classes, n=50).scores)
    given = given if classes > 1 else given[:, 0]
    rng, slow = np.random.default_rng(0), []
    for _ in range(1500):
        if classes > 1:
            truth = torch.as_tensor([int(rng.choice(3, p=row)) for row in given.numpy()])
        else:
            truth = torch.as_tensor((rng.random(50) < given.numpy()).astype(int))
        slow.append(float(metric.function(truth, given)))
    assert float(metric.by_chance(given, 1500, 1).mean()) == pytest.approx(np.mean(slow), abs=0.006)
