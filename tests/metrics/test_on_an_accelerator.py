"""Numbers of tensors on an accelerator are made there, and nothing large comes to the host on the way."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from functools import reduce

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_leaves, tree_map

from medvfm.metrics import calibration, fidelity, fidelity_left_out, image_pairs, overlap, ranking, retrieval, surface
from medvfm.metrics.frechet import FeatureMoments, frechet_of_moments
from tests.samples.pretended_device import back, moved, pretended

FEW = 20  # numbers that may come to the host: sizes, and one value a class or a bin
RNG = np.random.default_rng(0)
TRUTH = torch.from_numpy(np.arange(80) % 2)
SCORE = torch.from_numpy(RNG.integers(0, 30, 80) / 30)
GRID = torch.linspace(0.1, 1, 7, dtype=torch.float64)
WEIGHTS = torch.from_numpy(RNG.multinomial(80, [1 / 80] * 80, 6))
SETS = tuple(torch.from_numpy(RNG.normal(size=(40, 12))) + apart for apart in (0, 0.3))
WIDE = tuple(torch.from_numpy(RNG.normal(size=(30, 64))) for _ in range(2))
GROUPS = tuple(torch.arange(40) // 4 for _ in range(2))
PICTURES = tuple(torch.from_numpy(RNG.random((6, 1, 48, 48))) for _ in range(2))
RIGHT, LIKE = torch.from_numpy(RNG.random((12, 30)) < 0.2), torch.from_numpy(RNG.normal(size=(12, 30)))
MAPS = tuple(torch.from_numpy(RNG.integers(0, 4, (9, 8, 7))) for _ in range(2))
MM = np.diag([1.0, 2.0, 3.0, 1.0])


def moments(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """By batches, as sets that fit no memory are added."""
    found = [reduce(FeatureMoments.joined, map(FeatureMoments.of, features.split(15))) for features in (a, b)]
    return frechet_of_moments(*found)


CALLS = {
    "roc_curve": (ranking.roc_curve, TRUTH, SCORE),
    "precision_recall_curve": (ranking.precision_recall_curve, TRUTH, SCORE),
    "roc_on_grid": (lambda t, s, g, w: ranking.roc_on_grid(t, s, g, weights=w), TRUTH, SCORE, GRID, WEIGHTS),
    "precision_on_grid": (lambda t, s, g: ranking.precision_on_grid(t, s, g), TRUTH, SCORE, GRID),
    "threshold_at_specificity": (lambda t, s: ranking.threshold_at_specificity(t, s, 0.9), TRUTH, SCORE),
    "threshold_youden": (ranking.threshold_youden, TRUTH, SCORE),
    "reliability": (calibration.reliability, TRUTH, SCORE),
    "platt": (calibration.platt, TRUTH, SCORE),
    **{
        f"{name}, {len(sets[0])} of {sets[0].shape[1]}": (metric.function, *sets)
        for name, metric in fidelity.METRICS.items()
        if metric.takes == "features"
        for sets in (SETS, WIDE)
    },
    "moments": (moments, *SETS),
    "left out": (
        lambda a, b, g, h: fidelity_left_out.leave_out_each(["fid", "kid", "precision", "coverage"], a, b, g, h),
        *SETS, *GROUPS,
    ),
    "psnr": (image_pairs.psnr, *PICTURES),
    "ssim": (image_pairs.ssim, *PICTURES),
    "diversity": (image_pairs.diversity, PICTURES[0]),
    "first_rank": (retrieval.first_rank, RIGHT, LIKE),
    "average_precision": (retrieval.average_precision, RIGHT, LIKE),
    "overlap": (lambda t, p: overlap.counts(t, p, [1, 2, 3], 6.0), *MAPS),
    "multi_label": (lambda t, p: overlap.multi_label_counts(t > 1, p > 1, None), *MAPS),
    "surfaces": (lambda t, p: surface.surfaces(t, p, 1, MM), *MAPS),
}  # fmt: skip


def tensors(found: object) -> list:
    """What a result holds: of dataclasses too."""
    if is_dataclass(found):
        found = [getattr(found, field.name) for field in fields(found)]
    return [leaf for leaf in tree_leaves(found) if isinstance(leaf, (torch.Tensor, float))]


@pytest.mark.parametrize("name", CALLS)
def test_nothing_large_goes_through_the_host(name):
    function, *given = CALLS[name]
    with pretended(FEW):
        there = tensors(function(*map(moved, given)))
    here = tensors(function(*given))
    assert there and len(there) == len(here)
    for found, wanted in zip(there, here, strict=True):
        found = back(found) if isinstance(found, torch.Tensor) else found
        order = (lambda t: t.flatten().sort().values) if name == "surfaces" else (lambda t: t)
        torch.testing.assert_close(*tree_map(order, (torch.as_tensor(found), torch.as_tensor(wanted))), equal_nan=True)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", CALLS)
def test_the_accelerator_gives_the_same(name):
    function, *given = CALLS[name]
    there, here = tensors(function(*(tensor.cuda() for tensor in given))), tensors(function(*given))
    for found, wanted in zip(there, here, strict=True):
        order = (lambda t: t.flatten().sort().values) if name == "surfaces" else (lambda t: t)
        found, wanted = tree_map(order, (torch.as_tensor(found).cpu(), torch.as_tensor(wanted)))
        torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-10, equal_nan=True)


def test_what_a_real_one_would_refuse_is_refused():
    with pretended():
        there = moved(SCORE)
        assert there.device.type == "cuda" and there.is_cuda
        assert back(there + torch.ones(80, device=there.device) * 2).shape == (80,)
        with pytest.raises(AssertionError, match="two devices"):
            there + torch.ones(80)
        with pytest.raises(AssertionError, match="to the host"):
            there.tolist()
        with pytest.raises(AssertionError, match="to the host"):
            there.cpu()
