"""Neighbourhoods against loops over single images, and cases that can be told by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from medvfm.core.errors import PredictionError, Undefined
from medvfm.metrics import neighbourhoods
from medvfm.metrics.neighbourhoods import coverage, density, nearest, nearest_distances, precision, recall


def two_sets(n: int = 60, m: int = 45, d: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.normal(size=(n, d))), torch.from_numpy(rng.normal(size=(m, d)) * 1.2 + 0.7)


def slow(truth: np.ndarray, made: np.ndarray) -> dict[str, float]:
    """Image by image, as the papers define them."""

    def reach(points, i, k):
        others = np.delete(points, i, axis=0)
        return np.sort(np.linalg.norm(others - points[i], axis=1))[k - 1]

    def inside(x, points, k):
        return [np.linalg.norm(x - p) <= reach(points, i, k) for i, p in enumerate(points)]

    return {
        "precision": np.mean([any(inside(x, truth, 3)) for x in made]),
        "recall": np.mean([any(inside(x, made, 3)) for x in truth]),
        "density": np.mean([sum(inside(x, truth, 5)) / 5 for x in made]),
        "coverage": np.mean([min(np.linalg.norm(made - p, axis=1)) <= reach(truth, i, 5) for i, p in enumerate(truth)]),
    }


@pytest.mark.parametrize("block", [1 << 22, 100])
def test_they_are_those_of_loops_over_images(block, monkeypatch):
    monkeypatch.setattr(neighbourhoods, "BLOCK", block)
    truth, made = two_sets()
    expected = slow(truth.numpy(), made.numpy())
    found = {f.__name__: f(truth, made).item() for f in (precision, recall, density, coverage)}
    assert found == pytest.approx(expected, rel=1e-12)
    assert 0 < found["recall"] < 1 and 0 < found["precision"] < 1


def test_a_set_is_in_its_own_neighbourhoods():
    truth, _ = two_sets()
    assert (precision(truth, truth), recall(truth, truth), coverage(truth, truth)) == (1, 1, 1)
    assert density(truth, truth).item() == pytest.approx(1.2)  # k others and the image itself, over k


def test_far_away_is_in_none():
    truth, made = two_sets()
    for metric in (precision, recall, density, coverage):
        assert metric(truth, made + 100).item() == 0


def test_one_mode_alone_is_precise_and_covers_little():
    truth, _ = two_sets(100)
    copies = truth[:1] + 1e-3 * torch.randn(50, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert precision(truth, copies) == 1
    assert recall(truth, copies) < 0.05
    assert coverage(truth, copies) < 0.15


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_nearest_distances_are_scipys_and_0_for_a_copy(offset):
    truth, made = two_sets()
    made = torch.cat([made, truth[7:8]])
    found, which = nearest(made + offset, truth + offset)
    table = cdist(made.numpy(), truth.numpy())
    np.testing.assert_allclose(found.numpy(), table.min(1), rtol=1e-7 if offset else 1e-12)
    assert which.tolist() == table.argmin(1).tolist()
    assert found[-1] == 0
    assert torch.equal(nearest_distances(made + offset, truth + offset), found)


def test_sets_with_too_few_images():
    truth, made = two_sets()
    with pytest.raises(Undefined, match="3 true images: 3 neighbours of each are 4 images or more"):
        precision(truth[:3], made)
    with pytest.raises(Undefined, match="3 made images"):
        recall(truth, made[:3])
    with pytest.raises(Undefined, match="5 true images"):
        coverage(truth[:5], made)
    with pytest.raises(Undefined, match="no images"):
        nearest_distances(truth, made[:0])
    with pytest.raises(PredictionError, match="expected"):
        nearest_distances(truth, made[:, :2])
