"""Distances of two sets against closed forms, torchmetrics, and slow implementations; what all of them keep to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torchmetrics.image.fid import _compute_fid

from medvfm.core.errors import PredictionError, Undefined
from medvfm.metrics import fidelity
from medvfm.metrics.frechet import FeatureMoments, fid, frechet_of_moments
from medvfm.metrics.kernel_distance import kid

SETS = {name: metric for name, metric in fidelity.METRICS.items() if metric.takes == "features"}


def two_sets(n: int, m: int, d: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    mix = np.eye(d) + rng.normal(size=(d, d)) / (2 * d**0.5)
    return torch.from_numpy(rng.normal(size=(n, d))), torch.from_numpy(rng.normal(size=(m, d)) @ mix + 0.3)


def by_sqrtm(a: torch.Tensor, b: torch.Tensor) -> float:
    """The formula as it is written, on explicit covariances."""
    s, t = np.cov(a.numpy().T), np.cov(b.numpy().T)
    apart = a.numpy().mean(0) - b.numpy().mean(0)
    return float(apart @ apart + np.trace(s + t - 2 * sqrtm(s @ t).real))


@pytest.mark.parametrize(("n", "m", "d"), [(400, 300, 12), (200, 500, 60)])
def test_fid_is_the_formula_as_it_is_written(n, m, d):
    a, b = two_sets(n, m, d)
    assert fid(a, b).item() == pytest.approx(by_sqrtm(a, b), rel=1e-9)


@pytest.mark.parametrize(("n", "m", "d"), [(20, 30, 64), (20, 200, 64), (200, 20, 64), (64, 64, 64), (65, 65, 64)])
def test_fid_of_fewer_images_than_features_is_exact(n, m, d):
    """The trace of a root is the sum of the roots of eigenvalues, which need no Cholesky decomposition."""
    a, b = two_sets(n, m, d)
    s, t = np.cov(a.numpy().T), np.cov(b.numpy().T)
    roots = np.sqrt(np.linalg.eigvals(s @ t).astype(complex)).real.sum()
    apart = (a.mean(0) - b.mean(0)).numpy()
    assert fid(a, b).item() == pytest.approx(apart @ apart + np.trace(s) + np.trace(t) - 2 * roots, rel=1e-5)


def test_fid_of_normal_distributions_tends_to_the_closed_form():
    """Independent features: |m - m'|^2 + sum (s - s')^2, whatever the sample."""
    spread, other, apart = torch.tensor([1.0, 2, 3]).double(), torch.tensor([2.0, 2, 1]).double(), 0.5
    moments = FeatureMoments(101, torch.zeros(3).double(), torch.diag(spread**2) * 100)
    theirs = FeatureMoments(51, torch.full((3,), apart).double(), torch.diag(other**2) * 50)
    found = frechet_of_moments(moments, theirs)
    assert found.item() == pytest.approx(3 * apart**2 + ((spread - other) ** 2).sum().item(), rel=1e-12)


@pytest.mark.parametrize(("n", "m", "d"), [(300, 200, 16), (40, 60, 128)])
def test_fid_agrees_with_torchmetrics(n, m, d):
    a, b = two_sets(n, m, d)
    theirs = _compute_fid(a.mean(0), a.T.cov(), b.mean(0), b.T.cov())
    assert fid(a, b).item() == pytest.approx(theirs.item(), rel=1e-6)


def test_features_that_never_vary_do_no_harm():
    a, b = two_sets(100, 120, 10)
    still = torch.zeros(100, 2).double(), torch.zeros(120, 2).double()
    wide = torch.cat([a, still[0]], 1), torch.cat([b, still[1]], 1)
    assert fid(*wide).item() == pytest.approx(fid(a, b).item(), rel=1e-6)


@pytest.mark.parametrize(("n", "d"), [(500, 40), (30, 200), (41, 40)])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_fid_of_a_set_with_itself_is_0(n, d, scale):
    a = two_sets(n, 2, d)[0] * scale
    assert fid(a, a).item() <= 1e-9 * scale**2 * d


def test_moments_of_batches_are_those_of_all_and_parts_can_be_taken_away():
    a = two_sets(300, 2, 7)[0] + 1e4  # far from 0, where sums of squares would lose all
    whole = FeatureMoments.of(a)
    parts = [FeatureMoments.of(p) for p in a.split([1, 90, 209])]
    joined = parts[0].joined(parts[1]).joined(parts[2])
    assert joined.count == 300
    torch.testing.assert_close(joined.mean, a.mean(0))
    torch.testing.assert_close(joined.covariance.tril(), a.T.cov().tril(), rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(whole.covariance.tril(), a.T.cov().tril(), rtol=1e-9, atol=1e-10)
    rest = whole.without(parts[1])
    kept = torch.cat([a[:1], a[91:]])
    torch.testing.assert_close(rest.mean, kept.mean(0))
    torch.testing.assert_close(rest.covariance.tril(), kept.T.cov().tril(), rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match="none remains"):
        parts[1].without(parts[1])


def slow_kid(a: np.ndarray, b: np.ndarray) -> float:
    """Pair by pair."""

    def k(x, y):
        return (x @ y / len(x) + 1) ** 3

    same = [np.mean([k(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j]) for s in (a, b)]
    return float(sum(same) - 2 * np.mean([k(x, y) for x in a for y in b]))


def test_kid_is_that_of_all_pairs_and_that_of_torchmetrics(monkeypatch):
    a, b = two_sets(25, 40, 6)
    assert kid(a, b).item() == pytest.approx(slow_kid(a.numpy(), b.numpy()), rel=1e-10)
    monkeypatch.setattr("medvfm.metrics.kernel_distance.BLOCK", 130)  # some rows a block
    assert kid(a, b).item() == pytest.approx(slow_kid(a.numpy(), b.numpy()), rel=1e-10)
    same = two_sets(40, 40, 6)
    blocks = [(x @ y.T / 6 + 1) ** 3 for x, y in ((same[0], same[0]), (same[0], same[1]), (same[1], same[1]))]
    from_torchmetrics = maximum_mean_discrepancy_of(*blocks)
    assert kid(*same).item() == pytest.approx(from_torchmetrics, rel=1e-10)


def maximum_mean_discrepancy_of(of_a, between, of_b) -> float:
    from torchmetrics.image.kid import maximum_mean_discrepancy

    return maximum_mean_discrepancy(of_a, between, of_b).item()


def test_kid_is_unbiased_and_fid_is_not():
    """Sets from one distribution: KID is 0 on average, whatever the number of images."""
    rng = np.random.default_rng(3)
    found = {n: [] for n in (10, 100)}
    for n, values in found.items():
        for _ in range(400):
            a, b = (torch.from_numpy(rng.normal(size=(n, 4))) for _ in range(2))
            values.append((kid(a, b).item(), fid(a, b).item()))
    for values in found.values():
        k = np.array(values)[:, 0]
        assert abs(k.mean()) < 3 * k.std() / 20
    assert np.array(found[10])[:, 1].mean() > 3 * np.array(found[100])[:, 1].mean()


@pytest.mark.parametrize("name", SETS)
def test_one_number_in_float64_whatever_the_order_and_type(name):
    a, b = two_sets(60, 50, 8)
    found = SETS[name].function(a, b)
    assert found.shape == ()
    assert found.dtype == torch.float64
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(SETS[name].function(a[order], b), found, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(SETS[name].function(a.float(), b.float()), found, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(SETS[name].function(a.bfloat16(), b.bfloat16()), found, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("name", SETS)
def test_a_shift_and_a_turn_of_the_space_change_no_euclidean_number(name):
    a, b = two_sets(60, 50, 8)
    turn = torch.from_numpy(np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))[0])
    shift = 0.0 if name == "kid" else 5.0  # whose kernel knows where 0 is
    again = SETS[name].function(a @ turn + shift, b @ turn + shift)
    torch.testing.assert_close(again, SETS[name].function(a, b), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", SETS)
def test_sets_that_are_too_small_or_no_sets(name):
    a, b = two_sets(60, 50, 8)
    for one, other in ((a[:1], b), (a, b[:1])):
        with pytest.raises(Undefined, match=r"^1 .* image"):
            SETS[name].function(one, other)
    with pytest.raises(PredictionError, match="expected"):
        SETS[name].function(a, b[:, :5])
    with pytest.raises(PredictionError, match="finite"):
        SETS[name].function(a, b.masked_fill(b > 1, torch.nan))


@pytest.mark.parametrize("name", SETS)
def test_the_metric_is_better_where_the_sets_are_alike(name):
    a, b = two_sets(150, 150, 8)
    like = two_sets(150, 2, 8, seed=5)[0]
    near, far = SETS[name].function(a, like), SETS[name].function(a, b + 1.5)
    assert near < far if SETS[name].better == "lower" else near > far


@pytest.mark.parametrize("name", SETS)
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_accelerator_gives_the_same_and_keeps_the_result(name):
    for n, d in ((200, 30), (30, 200)):
        a, b = two_sets(n, n, d)
        found = SETS[name].function(a.cuda(), b.cuda())
        assert found.is_cuda
        torch.testing.assert_close(found.cpu(), SETS[name].function(a, b), rtol=1e-8, atol=1e-10)


def test_clip_score_is_100_times_the_cosine_from_0_on():
    image = torch.tensor([[1.0, 0], [1, 0], [2, 0], [0, 0]])
    text = torch.tensor([[0.6, 0.8], [-1, 0], [3, 0], [1, 0]])
    found = fidelity.clip_score(image, text)
    assert found[:3].tolist() == pytest.approx([60, 0, 100])
    assert found[3].isnan()
    with pytest.raises(PredictionError, match="expected"):
        fidelity.clip_score(image, text[:2])


def test_nearest_ratio():
    real, made = torch.tensor([1.0, 3.0]), torch.tensor([1.0, 0.0, 2.0])
    assert fidelity.nearest_ratio(real, made).item() == pytest.approx(0.5)
    with pytest.raises(Undefined, match="is a training image"):
        fidelity.nearest_ratio(torch.zeros(3), made)
    with pytest.raises(Undefined, match="no made"):
        fidelity.nearest_ratio(real, made[:0])
    with pytest.raises(PredictionError, match="from 0 on"):
        fidelity.nearest_ratio(real, -made)


def test_singled_out_are_those_below_what_one_in_a_hundred_real_images_reaches():
    real = torch.linspace(0.6, 1.0, 101)
    assert float(fidelity.singled_limit(real)) == pytest.approx(0.604)
    made = torch.tensor([0.1, 0.603, 0.605, 0.9])
    assert float(fidelity.singled_out(real, made)) == 0.5
    assert 0 < float(fidelity.singled_out(real, real)) <= 0.02
    with pytest.raises(Undefined, match="fewer than two training images"):
        fidelity.singled_out(torch.tensor([float("nan")]), made)


def test_every_row_says_what_it_is():
    assert set(fidelity.METRICS) == {
        "fid", "kid", "precision", "recall", "density", "coverage", "ms_ssim", "psnr", "ssim", "clip_score",
        "nearest_ratio", "singled_out", "reidentified", "condition_auroc", "usefulness_auroc",
    }  # fmt: skip
    assert all(metric.summary and metric.better in ("higher", "lower") for metric in fidelity.METRICS.values())
