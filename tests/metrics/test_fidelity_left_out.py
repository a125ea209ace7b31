"""Leaving out groups quickly against making each number anew from what remains."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medvfm.core.errors import Undefined
from medvfm.metrics import fidelity, fidelity_left_out, neighbourhoods
from medvfm.metrics.fidelity_left_out import leave_out, leave_out_each, leave_out_pairs
from medvfm.metrics.image_pairs import pair_similarities

FEATURES = [name for name in fidelity_left_out.BY_GROUP if name != "nearest_ratio"]


def dealt(n: int, m: int, d: int, groups: int = 6, seed: int = 0, gather: bool = False):
    """Two sets and their groups; `gather`: images of a group lie near each other, as those of a patient do."""
    rng = np.random.default_rng(seed)
    truth, made = rng.normal(size=(n, d)), rng.normal(size=(m, d)) * 1.2 + 0.5
    of_truth, of_made = rng.integers(0, groups, n), rng.integers(0, groups, m)
    if gather:
        centres = 8 * rng.normal(size=(groups, d))
        truth, made = truth + centres[of_truth], made + centres[of_made]
    return tuple(torch.from_numpy(x) for x in (truth, made, of_truth, of_made))


def slow(name: str, truth, made, of_truth, of_made, groups: int) -> list[float]:
    found = []
    for g in range(groups):
        try:
            found.append(fidelity.METRICS[name].function(truth[of_truth != g], made[of_made != g]).item())
        except Undefined:
            found.append(float("nan"))
    return found


@pytest.mark.parametrize("gather", [False, True])
@pytest.mark.parametrize(("n", "m", "d"), [(120, 90, 8), (40, 50, 30), (200, 25, 30), (300, 20, 4), (150, 150, 40)])
@pytest.mark.parametrize("name", FEATURES)
def test_it_is_what_remains_made_anew(name, n, m, d, gather):
    sets = dealt(n, m, d, gather=gather)
    found = leave_out(name, *sets)
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(slow(name, *sets, 6), rel=1e-8, abs=1e-10, nan_ok=True)


def test_several_at_once_in_blocks_are_the_same(monkeypatch):
    sets = dealt(120, 90, 8, gather=True)
    one_by_one = {name: leave_out(name, *sets) for name in FEATURES}
    monkeypatch.setattr(neighbourhoods, "BLOCK", 500)
    monkeypatch.setattr("medvfm.metrics.kernel_distance.BLOCK", 500)
    together = leave_out_each(FEATURES, *sets)
    assert list(together) == FEATURES
    for name, values in together.items():
        torch.testing.assert_close(values, one_by_one[name], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", FEATURES)
def test_a_group_of_one_side_alone_and_one_without_images(name):
    truth, made, of_truth, of_made = dealt(60, 50, 5)
    of_made[of_made == 2] = 3
    found = leave_out(name, truth, made, of_truth, of_made, groups=7)
    assert found.tolist() == pytest.approx(slow(name, truth, made, of_truth, of_made, 7), rel=1e-8)
    assert found[6].item() == pytest.approx(fidelity.METRICS[name].function(truth, made).item(), rel=1e-8)


@pytest.mark.parametrize("name", FEATURES)
def test_what_remains_of_too_little_has_no_value(name):
    truth, made, of_truth, of_made = dealt(60, 50, 5, groups=2)
    of_truth[:] = 0
    of_truth[0] = 1
    found = leave_out(name, truth, made, of_truth, of_made)
    assert found.isnan().tolist() == [True, False]


def test_nearest_ratio():
    rng = torch.Generator().manual_seed(0)
    real, made = torch.rand(50, generator=rng), torch.rand(40, generator=rng)
    of_real, of_made = torch.randint(0, 6, (50,), generator=rng), torch.randint(0, 6, (40,), generator=rng)
    found = leave_out("nearest_ratio", real, made, of_real, of_made)
    assert found.tolist() == pytest.approx(slow("nearest_ratio", real, made, of_real, of_made, 6))


def test_pairs_of_which_neither_is_left_out():
    rng = torch.Generator().manual_seed(0)
    images, groups = torch.rand(12, 1, 16, 16, generator=rng), torch.arange(12) % 4
    pairs, values = pair_similarities(images)
    found = leave_out_pairs(values, groups[pairs[:, 0]], groups[pairs[:, 1]])
    expected = [pair_similarities(images[groups != g])[1].mean().item() for g in range(4)]
    assert found.tolist() == pytest.approx(expected)


def test_it_is_refused_by_name():
    sets = dealt(20, 20, 3)
    with pytest.raises(ValueError, match="ssim is not"):
        leave_out("ssim", *sets)
    with pytest.raises(ValueError, match="takes distances"):
        leave_out_each(["fid", "nearest_ratio"], *sets)
    with pytest.raises(ValueError, match="groups of 19 and 20 for 20 and 20"):
        leave_out("fid", sets[0], sets[1], sets[2][1:], sets[3])
