"""Pairs of images against scikit-image and MONAI."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.metrics import MultiScaleSSIMMetric
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from medvfm.core.errors import PredictionError, Undefined
from medvfm.metrics import image_pairs
from medvfm.metrics.image_pairs import diversity, ms_ssim, pair_similarities, pairs_of, psnr, scales, ssim


def pairs(n: int = 3, c: int = 1, side: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] / side
    smooth = 0.5 + 0.3 * np.sin(6 * x + rng.uniform(0, 6, (n, c, 1, 1))) * np.cos(4 * y)
    noisy = (smooth + rng.normal(0, 0.05, (n, c, side, side))).clip(0, 1)
    return torch.from_numpy(smooth), torch.from_numpy(noisy)


@pytest.mark.parametrize("c", [1, 3])
def test_psnr_and_ssim_are_those_of_scikit_image(c):
    a, b = pairs(c=c)
    first = [np.moveaxis(i.numpy(), 0, -1) for i in a]
    second = [np.moveaxis(i.numpy(), 0, -1) for i in b]
    assert psnr(a, b).tolist() == pytest.approx(
        [peak_signal_noise_ratio(x, y, data_range=1) for x, y in zip(first, second, strict=True)]
    )
    theirs = [
        structural_similarity(
            x, y, data_range=1, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for x, y in zip(first, second, strict=True)
    ]
    assert ssim(a, b).tolist() == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize(("side", "count"), [(176, 5), (64, 3), (24, 2), (12, 1)])
def test_ms_ssim_is_that_of_monai_over_the_scales_that_fit(side, count):
    a, b = pairs(side=side)
    assert scales(a) == count
    exponents = np.array(image_pairs.SCALES[:count]) / sum(image_pairs.SCALES[:count])
    theirs = MultiScaleSSIMMetric(spatial_dims=2, kernel_size=11, kernel_sigma=1.5, weights=exponents.tolist())
    assert ms_ssim(a, b).tolist() == pytest.approx(theirs(b.float(), a.float()).flatten().tolist(), rel=1e-4)


@pytest.mark.parametrize(("side", "count"), [(24, 2), (12, 1)])
def test_ms_ssim_of_volumes_is_that_of_monai_in_three_dimensions(side, count):
    rng = np.random.default_rng(1)
    z, y, x = np.mgrid[:side, : side + 4, : side + 9] / side
    smooth = 0.5 + 0.3 * np.sin(6 * x + rng.uniform(0, 6, (2, 1, 1, 1, 1))) * np.cos(4 * y + 3 * z)
    a, b = torch.from_numpy(smooth), torch.from_numpy((smooth + rng.normal(0, 0.05, smooth.shape)).clip(0, 1))
    assert scales(a) == count
    exponents = np.array(image_pairs.SCALES[:count]) / sum(image_pairs.SCALES[:count])
    theirs = MultiScaleSSIMMetric(spatial_dims=3, kernel_size=11, kernel_sigma=1.5, weights=exponents.tolist())
    assert ms_ssim(a, b).tolist() == pytest.approx(theirs(b.float(), a.float()).flatten().tolist(), rel=1e-4)
    assert psnr(a, b).tolist() == pytest.approx(
        [peak_signal_noise_ratio(*v, data_range=1) for v in zip(a.numpy(), b.numpy(), strict=True)]
    )


def test_equal_images():
    a, _ = pairs()
    assert torch.isinf(psnr(a, a)).all()
    assert ssim(a, a).tolist() == pytest.approx([1, 1, 1])
    assert ms_ssim(a, a).tolist() == pytest.approx([1, 1, 1])


def test_the_number_does_not_depend_on_batches_or_order(monkeypatch):
    a, b = pairs(7)
    found = [f(a, b) for f in (ssim, ms_ssim, psnr)]
    monkeypatch.setattr(image_pairs, "BATCH_PX", 48 * 48 * 2)
    for function, whole in zip((ssim, ms_ssim, psnr), found, strict=True):
        torch.testing.assert_close(function(a, b), whole, rtol=1e-12, atol=0)
        torch.testing.assert_close(function(a.flip(0), b.flip(0)).flip(0), whole, rtol=1e-12, atol=0)
        torch.testing.assert_close(function(b, a), whole, rtol=1e-9, atol=0)


def test_images_that_differ_more_are_more_diverse():
    a, _ = pairs(8)
    rng = torch.Generator().manual_seed(0)
    alike = (a[:1] + 0.01 * torch.randn(8, 1, 48, 48, generator=rng, dtype=torch.float64)).clamp(0, 1)
    assert diversity(a) < diversity(alike)
    pairs_, values = pair_similarities(a)
    expected = [ms_ssim(a[i : i + 1], a[j : j + 1]).item() for i, j in pairs_.tolist()]
    assert values.tolist() == pytest.approx(expected)
    assert len(values) == 28


@pytest.mark.parametrize("count", [60, 5000])
def test_pairs_that_are_drawn_are_pairs_and_no_two_are_the_same(count):
    found = pairs_of(count, 500, seed=1)
    assert found.shape == (500, 2)
    assert bool((found[:, 0] < found[:, 1]).all()) and int(found.min()) >= 0 and int(found.max()) < count
    assert len({tuple(p) for p in found.tolist()}) == 500
    assert torch.equal(found, pairs_of(count, 500, seed=1)) and not torch.equal(found, pairs_of(count, 500, seed=2))


def test_every_pair_may_be_drawn():
    drawn = {tuple(p) for seed in range(60) for p in pairs_of(6, 5, seed).tolist()}
    assert drawn == {(i, j) for i in range(6) for j in range(i + 1, 6)}


def test_what_is_no_pair_is_refused():
    a, b = pairs()
    with pytest.raises(PredictionError, match="expected"):
        psnr(a, b[:, :, 1:])
    with pytest.raises(PredictionError, match=r"\[0, 1\]"):
        ssim(a, b * 255)
    with pytest.raises(Undefined, match="8 x 48 px"):
        ssim(a[:, :, :8], b[:, :, :8])
    with pytest.raises(Undefined, match="1 image"):
        diversity(a[:1])
    with pytest.raises(PredictionError, match="expected"):
        diversity(a[0])
