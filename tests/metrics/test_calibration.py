"""Calibration against scikit-learn, binning by hand, and models whose calibration is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from sklearn import metrics as sk
from sklearn.calibration import _sigmoid_calibration, calibration_curve
from sklearn.linear_model import LogisticRegression

from medvfm.core.errors import Undefined
from medvfm.metrics import calibration


def drawn(n: int, seed: int, decimals: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities with ties, and labels drawn from them."""
    rng = np.random.default_rng(seed)
    probability = rng.random(n).round(decimals)
    return torch.as_tensor((rng.random(n) < probability).astype(int)), torch.as_tensor(probability)


def ece_by_hand(truth: np.ndarray, p: np.ndarray, bins: int) -> float:
    error = 0.0
    for b in range(bins):
        inside = (p >= b / bins) & ((p < (b + 1) / bins) | (b == bins - 1))
        if inside.any():
            error += inside.mean() * abs(truth[inside].mean() - p[inside].mean())
    return error


@pytest.mark.parametrize("seed", range(8))
def test_losses_and_binned_errors(seed: int) -> None:
    truth, p = drawn(80, seed)
    assert float(calibration.brier(truth, p)) == pytest.approx(sk.brier_score_loss(truth, p))
    assert float(calibration.log_loss(truth, p)) == pytest.approx(sk.log_loss(truth, p))
    assert float(calibration.ece(truth, p)) == pytest.approx(ece_by_hand(truth.numpy(), p.numpy(), 15))
    assert float(calibration.ece(truth, p, bins=10)) == pytest.approx(ece_by_hand(truth.numpy(), p.numpy(), 10))


def test_equal_mass_bins_without_ties_are_equal_slices() -> None:
    rng = np.random.default_rng(0)
    p = rng.permutation(150) / 151
    truth = (rng.random(150) < p**2).astype(float)
    slices = np.argsort(p).reshape(15, 10)
    expected = np.mean([abs(truth[s].mean() - p[s].mean()) for s in slices])
    assert float(calibration.ece_equal_mass(torch.as_tensor(truth), torch.as_tensor(p))) == pytest.approx(expected)


def test_equal_mass_bins_keep_equal_probabilities_together() -> None:
    truth, p = torch.tensor([0, 1] * 20), torch.full((40,), 0.5)
    assert float(calibration.ece_equal_mass(truth, p)) == 0.0
    assert float(calibration.ece_equal_mass(truth.sort().values, p)) == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_slope_and_intercept_agree_with_unpenalised_logistic_regression(seed: int) -> None:
    rng = np.random.default_rng(seed)
    odds = rng.normal(0, 1.5, 200)
    truth = (rng.random(200) < 1 / (1 + np.exp(-(0.6 * odds + 0.8)))).astype(int)
    t, p = torch.as_tensor(truth), torch.sigmoid(torch.as_tensor(odds))
    model = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000).fit(odds[:, None], truth)
    assert float(calibration.calibration_slope(t, p)) == pytest.approx(model.coef_[0, 0], rel=1e-5)

    def loss(intercept: float) -> float:
        return float(np.sum(np.logaddexp(0, odds + intercept) - truth * (odds + intercept)))

    best = minimize_scalar(loss, bounds=(-5, 5), method="bounded", options={"xatol": 1e-10})
    assert float(calibration.calibration_intercept(t, p)) == pytest.approx(best.x, abs=1e-6)


def test_a_calibrated_model_has_slope_one_and_intercept_zero_and_an_extreme_one_has_not() -> None:
    truth, p = drawn(40_000, 0, decimals=6)
    assert float(calibration.calibration_slope(truth, p)) == pytest.approx(1, abs=0.05)
    assert float(calibration.calibration_intercept(truth, p)) == pytest.approx(0, abs=0.05)
    assert float(calibration.ece(truth, p)) < 0.02
    extreme = torch.sigmoid(3 * torch.logit(p, 1e-6))
    assert float(calibration.calibration_slope(truth, extreme)) == pytest.approx(1 / 3, abs=0.02)


@pytest.mark.parametrize("reversed_", [False, True])
@pytest.mark.parametrize("touching", [False, True])
def test_the_slope_of_separated_classes_is_infinite(reversed_: bool, touching: bool) -> None:
    truth, p = torch.tensor([0, 0, 1, 1]), torch.tensor([0.1, 0.5, 0.5 if touching else 0.6, 0.9])
    with pytest.raises(Undefined, match="separates the classes"):
        calibration.calibration_slope(1 - truth if reversed_ else truth, p)
    with pytest.raises(Undefined, match="same probability"):
        calibration.calibration_slope(truth, torch.full((4,), 0.3))


def test_slope_of_resamples_is_undefined_one_by_one() -> None:
    truth, p = torch.tensor([0, 1, 0, 1]), torch.tensor([0.2, 0.4, 0.6, 0.8])
    slopes = calibration.calibration_slope(truth, p, weights=torch.tensor([[1, 1, 1, 1], [1, 0, 0, 1], [2, 0, 1, 0]]))
    assert torch.isnan(slopes).tolist() == [False, True, True]


def test_multiclass_losses() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), 60)
    truth = rng.integers(0, 4, 60)
    t, q = torch.as_tensor(truth), torch.as_tensor(p)
    assert float(calibration.multiclass_log_loss(t, q)) == pytest.approx(sk.log_loss(truth, p, labels=range(4)))
    assert float(calibration.multiclass_brier(t, q)) == pytest.approx(((p - np.eye(4)[truth]) ** 2).sum(1).mean())
    right = (p.argmax(1) == truth).astype(float)
    assert float(calibration.top_label_ece(t, q)) == pytest.approx(ece_by_hand(right, p.max(1), 15))
    two = torch.stack([1 - q[:, 0], q[:, 0]], 1)
    binary = (t == 0).long()
    assert float(calibration.multiclass_brier(binary, two)) == pytest.approx(
        2 * float(calibration.brier(binary, q[:, 0]))
    )


def test_scores_that_are_no_probabilities_have_no_calibration() -> None:
    truth = torch.tensor([0, 1, 1])
    with pytest.raises(Undefined, match="scores from -1 to 3 are no probabilities"):
        calibration.brier(truth, torch.tensor([-1.0, 0.5, 3.0]))
    with pytest.raises(Undefined, match="do not sum to 1"):
        calibration.multiclass_log_loss(truth, torch.full((3, 2), 0.9))


def test_log_loss_of_a_certain_error_is_finite_as_stated() -> None:
    value = float(calibration.log_loss(torch.tensor([1]), torch.tensor([0.0])))
    assert value == pytest.approx(-np.log(2.0**-52))


def test_reliability_counts_every_case_once() -> None:
    truth, p = drawn(500, 1, decimals=3)
    found = calibration.reliability(truth, p, bins=10)
    assert int(found.cases.sum()) == 500
    assert int(found.positives.sum()) == int(truth.sum())
    observed, given = calibration_curve(truth, p.numpy() + 1e-9, n_bins=10)  # its bins are closed above
    np.testing.assert_allclose(found.observed.numpy(), observed)
    np.testing.assert_allclose(found.probability.numpy(), given, atol=1e-8)
    edges = calibration.reliability(torch.tensor([0] * 9), torch.arange(1, 10).double() / 10, bins=10)
    assert edges.low.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
    alone = calibration.reliability(torch.tensor([0, 1]), torch.tensor([0.0, 1.0]), bins=10)
    assert alone.low.tolist() == [0.0, 0.9]
    assert alone.high.tolist() == pytest.approx([0.1, 1.0])


@pytest.mark.parametrize("seed", range(4))
def test_platt_agrees_with_sklearn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    score = rng.normal(40, 7, 120)
    truth = (rng.random(120) < 1 / (1 + np.exp(-(score - 43) / 4))).astype(int)
    a, b = _sigmoid_calibration(score, truth)  # P = 1 / (1 + exp(a score + b))
    slope, intercept = calibration.platt(torch.as_tensor(truth), torch.as_tensor(score))
    ours = torch.sigmoid(slope * torch.as_tensor(score) + intercept).numpy()
    np.testing.assert_allclose(ours, 1 / (1 + np.exp(a * score + b)), atol=2e-4)


def test_platt_of_separated_constant_and_single_class_scores() -> None:
    truth, score = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    slope, intercept = calibration.platt(truth, score)
    assert 0 < slope < 10
    assert 0 < float(torch.sigmoid(torch.tensor(intercept + slope))) < 0.5
    assert calibration.platt(truth, torch.ones(5))[0] == 0.0
    with pytest.raises(Undefined, match="one class only"):
        calibration.platt(torch.zeros(5), score)


def test_temperature_finds_the_factor_that_was_put_in() -> None:
    rng = np.random.default_rng(0)
    logits = torch.as_tensor(rng.normal(0, 2, (20_000, 3)))
    truth = torch.distributions.Categorical(logits=logits).sample()
    assert calibration.temperature(truth, 2.5 * logits) == pytest.approx(2.5, rel=0.05)

    def loss(t: float) -> float:
        return float(torch.nn.functional.cross_entropy(2.5 * logits / t, truth))

    best = minimize_scalar(loss, bounds=(0.1, 10), method="bounded", options={"xatol": 1e-9})
    assert calibration.temperature(truth, 2.5 * logits) == pytest.approx(best.x, rel=1e-5)
    every_one_right = 10 * torch.nn.functional.one_hot(truth, 3)
    assert calibration.temperature(truth, every_one_right) == pytest.approx(0.01)
    assert calibration.temperature(truth, -logits) == pytest.approx(100)


@pytest.mark.parametrize("bins", [10, 15, 20])
def test_a_probability_on_an_edge_lies_in_the_bin_above_in_metric_and_figure(bins: int) -> None:
    edges = torch.tensor([k / bins for k in range(bins + 1)], dtype=torch.float64)
    assert calibration.bin_of(edges, bins).tolist() == [*range(bins), bins - 1]
    below = torch.nextafter(edges[1:], torch.zeros(1, dtype=torch.float64))
    assert calibration.bin_of(below, bins).tolist() == list(range(bins))
    found = calibration.reliability(torch.arange(bins + 1) % 2, edges, bins)
    assert found.low.tolist() == [k / bins for k in range(bins)]
    assert found.cases.tolist() == [*[1] * (bins - 1), 2]
