"""Ranking metrics against scikit-learn, a slow pairwise AUROC, and brute force over thresholds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from medvfm.core.errors import MedvfmError, Undefined
from medvfm.metrics import ranking


def tied(n: int, seed: int, levels: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels of both classes, and scores with many ties."""
    rng = np.random.default_rng(seed)
    truth = np.r_[0, 1, rng.integers(0, 2, n - 2)]
    score = (rng.integers(0, levels, n) + 2 * truth) / levels
    return torch.as_tensor(truth), torch.as_tensor(score)


def pairwise_auroc(truth: torch.Tensor, score: torch.Tensor) -> float:
    pairs = [(p > q) + (p == q) / 2 for p in score[truth == 1].tolist() for q in score[truth == 0].tolist()]
    return sum(pairs) / len(pairs)


@pytest.mark.parametrize("seed", range(20))
def test_auroc_and_auprc_agree_with_sklearn_and_pairs(seed: int) -> None:
    truth, score = tied(40, seed)
    assert float(ranking.auroc(truth, score)) == pytest.approx(sk.roc_auc_score(truth, score), abs=1e-14)
    assert float(ranking.auroc(truth, score)) == pytest.approx(pairwise_auroc(truth, score), abs=1e-14)
    assert float(ranking.auprc(truth, score)) == pytest.approx(sk.average_precision_score(truth, score), abs=1e-14)


@given(st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=2, max_size=30))
@settings(max_examples=100, deadline=None)
def test_flipping_labels_or_scores_gives_one_minus_auroc(cases: list[tuple[bool, int]]) -> None:
    truth = torch.tensor([int(t) for t, _ in cases])
    score = torch.tensor([float(s) for _, s in cases])
    if truth.min() == truth.max():
        with pytest.raises(Undefined, match="one class only"):
            ranking.auroc(truth, score)
        return
    value = float(ranking.auroc(truth, score))
    assert float(ranking.auroc(1 - truth, score)) == pytest.approx(1 - value, abs=1e-15)
    assert float(ranking.auroc(truth, -score)) == pytest.approx(1 - value, abs=1e-15)
    assert float(ranking.auroc(truth, 7 * score - 2)) == value


def test_known_values() -> None:
    truth = torch.tensor([0, 0, 1, 1])
    assert float(ranking.auroc(truth, torch.tensor([0.1, 0.4, 0.35, 0.8]))) == 0.75
    assert float(ranking.auroc(truth, torch.zeros(4))) == 0.5
    assert float(ranking.auroc(truth, torch.tensor([1, 2, 3, 4]))) == 1.0
    assert float(ranking.auroc(truth, torch.tensor([-0.0, 0.0, 0.0, -0.0]))) == 0.5


def test_the_reason_counts_both_classes() -> None:
    with pytest.raises(Undefined, match="one class only: 12 positives, 0 negatives"):
        ranking.auroc(torch.ones(12), torch.rand(12))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("wanted", [0.5, 0.8, 0.9, 1.0])
def test_reading_the_curve_equals_trying_every_threshold(seed: int, wanted: float) -> None:
    truth, score = tied(30, seed)
    t, s = truth.numpy(), score.numpy()
    points = [
        ((s[t == 1] >= c).mean(), (s[t == 0] < c).mean()) for c in [*np.unique(s), np.inf]
    ]  # sensitivity, specificity
    sensitivity = max(a for a, b in points if b >= wanted)
    specificity = max(b for a, b in points if a >= wanted)
    assert float(ranking.roc_sensitivity(truth, score, wanted)) == sensitivity
    assert float(ranking.roc_specificity(truth, score, wanted)) == specificity
    for threshold, expected in (
        (ranking.threshold_at_specificity(truth, score, wanted), (sensitivity, None)),
        (ranking.threshold_at_sensitivity(truth, score, wanted), (None, specificity)),
    ):
        got = ((s[t == 1] >= threshold).mean(), (s[t == 0] < threshold).mean())
        assert expected[0] in (None, got[0])
        assert expected[1] in (None, got[1])
        assert got[1] >= wanted if expected[1] is None else got[0] >= wanted
        assert all(p == got or not (p[0] >= got[0] and p[1] >= got[1]) for p in points)  # nothing beats it


def test_a_wanted_fraction_is_met_exactly_and_not_missed_by_rounding() -> None:
    truth = torch.tensor([0] * 10 + [1] * 10)
    score = torch.cat([torch.arange(10.0), torch.full((10,), 9.0)])
    assert float(ranking.roc_sensitivity(truth, score, 0.9)) == 1.0
    for n in range(2, 60):
        t = torch.tensor([0] * n + [1])
        s = torch.cat([torch.arange(n, dtype=torch.float64), torch.tensor([n - 1.0])])
        assert float(ranking.roc_sensitivity(t, s, (n - 1) / n)) == 1.0


def test_no_threshold_but_infinity_where_the_highest_score_is_shared() -> None:
    truth, score = torch.tensor([0, 0, 1, 1]), torch.tensor([1.0, 1.0, 1.0, 0.0])
    assert ranking.threshold_at_specificity(truth, score, 0.9) == float("inf")
    assert float(ranking.roc_sensitivity(truth, score, 0.9)) == 0.0
    assert ranking.threshold_at_sensitivity(truth, score, 1.0) == 0.0


@pytest.mark.parametrize("seed", range(10))
def test_youden_and_f1_thresholds_are_the_best_of_all(seed: int) -> None:
    truth, score = tied(30, seed)
    t, s = truth.numpy(), score.numpy()
    cuts = np.unique(s)
    youden = {c: (s[t == 1] >= c).mean() + (s[t == 0] < c).mean() for c in cuts}
    f1 = {c: sk.f1_score(t, s >= c) for c in cuts}
    assert youden[ranking.threshold_youden(truth, score)] == pytest.approx(max(youden.values()))
    assert f1[ranking.threshold_f1(truth, score)] == pytest.approx(max(f1.values()))


def test_thresholds_need_both_classes() -> None:
    for fit in (ranking.threshold_youden, ranking.threshold_f1):
        with pytest.raises(Undefined, match="one class only"):
            fit(torch.zeros(3), torch.rand(3))


@pytest.mark.parametrize("seed", range(5))
def test_curves_agree_with_sklearn(seed: int) -> None:
    truth, score = tied(50, seed)
    ours = ranking.roc_curve(truth, score)
    theirs = sk.roc_curve(truth, score, drop_intermediate=False)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.numpy(), b, atol=1e-15)
    precision, recall, thresholds = sk.precision_recall_curve(truth, score)
    found = ranking.precision_recall_curve(truth, score)
    np.testing.assert_allclose(found.precision.numpy(), precision[:-1][::-1], atol=1e-15)
    np.testing.assert_allclose(found.recall.numpy(), recall[:-1][::-1], atol=1e-15)
    np.testing.assert_array_equal(found.thresholds.numpy(), thresholds[::-1])


def test_curves_on_a_grid_are_read_as_steps_and_resample() -> None:
    truth, score = tied(60, 3)
    grid = torch.linspace(0, 1, 11, dtype=torch.float64)
    steps = ranking.roc_on_grid(truth, score, grid)
    for fpr, value in zip(grid[:-1].tolist(), steps.tolist(), strict=False):
        assert value == float(ranking.roc_sensitivity(truth, score, 1 - fpr))
    curve = ranking.precision_recall_curve(truth, score)
    found = ranking.precision_on_grid(truth, score, grid[1:])
    for recall, value in zip(grid[1:].tolist(), found.tolist(), strict=True):
        assert value == float(curve.precision[(curve.recall >= recall).nonzero()[0, 0]])
    weights = torch.from_numpy(np.random.default_rng(0).multinomial(60, [1 / 60] * 60, 5))
    for function, at in ((ranking.roc_on_grid, grid), (ranking.precision_on_grid, grid[1:])):
        many = function(truth, score, at, weights=weights)
        assert many.shape == (5, len(at))
        for row, counts in zip(many, weights, strict=True):
            rows = torch.arange(60).repeat_interleave(counts)
            torch.testing.assert_close(row, function(truth[rows], score[rows], at))


def test_macro_auroc_is_the_mean_of_one_against_rest() -> None:
    rng = np.random.default_rng(0)
    truth = np.r_[0, 1, 2, 3, rng.integers(0, 4, 60)]
    score = rng.dirichlet(np.ones(4), 64).round(1)
    score /= score.sum(1, keepdims=True)
    expected = sk.roc_auc_score(truth, score, multi_class="ovr", average="macro")
    assert float(ranking.macro_auroc(torch.as_tensor(truth), torch.as_tensor(score))) == pytest.approx(expected)
    with pytest.raises(Undefined, match="class 3: one class only: 0 positives"):
        ranking.macro_auroc(torch.as_tensor(truth[truth < 3]), torch.as_tensor(score[truth < 3]))


@pytest.mark.parametrize("wanted", [0.0, -0.1, 1.1, float("nan")])
def test_a_wanted_fraction_out_of_range_is_refused(wanted: float) -> None:
    truth, score = tied(10, 0)
    for function in (ranking.roc_sensitivity, ranking.roc_specificity, ranking.threshold_at_specificity):
        with pytest.raises(MedvfmError, match="above 0"):
            function(truth, score, wanted)
