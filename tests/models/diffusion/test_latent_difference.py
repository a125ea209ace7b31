"""What is made where images are restored: differences of unit size, from which the true latents come back."""

from __future__ import annotations

import pytest
import torch

from medvfm.models.diffusion.difference import Difference


@pytest.fixture(params=[(40,), (40, 6, 5)], ids=["global", "spatial"])
def pair(request):
    """True latents of three channels (n, 3, ...), and degraded ones with a bias, in one channel next to no noise."""
    count, *places = request.param
    draw = torch.Generator().manual_seed(4)
    clean = torch.randn(count, 3, *places, generator=draw) * 5
    noise = torch.randn(count, 3, *places, generator=draw)
    by_channel = torch.tensor([2.0, 0.5, 0.0]).view(1, 3, *[1] * len(places))
    return clean, clean + by_channel * noise - 0.7


def test_differences_have_mean_0_and_deviation_1_in_every_channel_that_differs(pair):
    clean, given = pair
    found = Difference(3)
    found.fit(clean, given)
    made = found.of(clean, given).transpose(0, 1).flatten(1)
    assert made.mean(1) == pytest.approx([0, 0, 0], abs=1e-3)
    assert made[:2].std(1, unbiased=False) == pytest.approx([1, 1], abs=1e-3)
    assert made[2].abs().max() < 0.1  # what hardly differs is not blown up
    assert found.read(given).transpose(0, 1).flatten(1).std(1, unbiased=False) == pytest.approx([1] * 3, abs=1e-3)
    torch.testing.assert_close(found.restored(found.of(clean, given), given), clean, atol=1e-4, rtol=0)


def test_of_no_difference_the_degraded_image_comes_less_its_usual_bias(pair):
    clean, given = pair
    found = Difference(3)
    found.fit(clean, given)
    apart = (found.restored(torch.zeros_like(given), given) - given).transpose(0, 1).flatten(1)
    torch.testing.assert_close(apart, (clean - given).transpose(0, 1).flatten(1).mean(1)[:, None].expand_as(apart))
