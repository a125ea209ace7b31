"""Properties of the input contract; parity with the libraries' own transforms stands in the tests of their encoders."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medvfm.models.inputs.contract import InputContract

RESIZES = ["squash", "shortest_then_crop", "squash_then_crop", "pad"]


@settings(deadline=None, max_examples=60)
@given(
    resize=st.sampled_from(RESIZES),
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    interpolation=st.sampled_from(["nearest", "bilinear", "bicubic"]),
)
def test_any_picture_comes_out_in_size_and_range(resize, height, width, size, interpolation):
    contract = InputContract(size, resize, (40, 44), interpolation)
    fitted = contract.fit(torch.rand(2, 1, height, width, generator=torch.Generator().manual_seed(height)))
    assert fitted.shape == (2, 1, *size) and fitted.min() >= 0 and fitted.max() <= 1
    assert contract.normalise(fitted).shape == (2, 3, *size)


@pytest.mark.parametrize("resize", RESIZES)
def test_a_flipped_picture_is_fitted_to_the_flipped(resize):
    """Nothing shifts to one side, as long as what is cut or added can be halved."""
    picture = torch.rand(1, 1, 60, 120, generator=torch.Generator().manual_seed(0))
    contract = InputContract((32, 32), resize, (40, 40))
    torch.testing.assert_close(contract.fit(picture.flip(2, 3)), contract.fit(picture).flip(2, 3), atol=1e-5, rtol=0)


def test_gray_is_repeated_and_normalised_by_channel():
    contract = InputContract((8, 8), mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.125))
    pixels = contract.apply(torch.full((1, 1, 8, 8), 0.6))
    torch.testing.assert_close(pixels[0, :, 0, 0], torch.tensor([1.0, 1.6, 2.4]))
    torch.testing.assert_close(contract.apply(torch.full((1, 3, 8, 8), 0.6)), pixels)
    assert InputContract((8, 8), channels=1, mean=(0.5,), std=(1.0,)).apply(torch.rand(1, 3, 9, 9)).shape == (
        1,
        1,
        8,
        8,
    )


def test_padding_keeps_the_whole_picture_and_its_aspect():
    fitted = InputContract((32, 32), "pad", interpolation="bilinear").fit(torch.ones(1, 1, 40, 80))
    expected = torch.zeros(32, 32)
    expected[8:24] = 1
    torch.testing.assert_close(fitted[0, 0], expected)


def test_another_size_crops_the_same_share():
    contract = InputContract((224, 224), "shortest_then_crop", (256, 256))
    larger = contract.with_size(518)
    assert larger.size_px == (518, 518) and larger.resize_px == (592, 592)
    assert contract.with_size(224) is contract
    assert contract.with_resize("pad").resize_px is None


def test_the_record_is_plain():
    record = InputContract((224, 224), "squash").as_record()
    assert json.loads(json.dumps(record)) == record and record["size_px"] == [224, 224]


def test_what_is_no_batch_of_pictures_is_refused():
    with pytest.raises(ValueError, match="H, W"):
        InputContract((8, 8)).apply(torch.rand(1, 8, 8))
    with pytest.raises(ValueError, match="H, W"):
        InputContract((8, 8)).apply(torch.rand(1, 2, 8, 8))


def test_eight_bit_values_survive_a_cache_in_half_precision():
    pictures = torch.rand(2, 1, 50, 70)
    plain = InputContract((32, 32), mean=(0.5,) * 3, std=(0.5,) * 3)
    rounded = InputContract((32, 32), mean=(0.5,) * 3, std=(0.5,) * 3, eight_bit=True)
    fitted = rounded.fit(pictures)
    assert torch.equal(fitted, (fitted * 255).round() / 255)
    assert torch.equal(rounded.normalise(fitted), rounded.normalise(fitted.half()))
    assert (fitted - plain.fit(pictures)).abs().max() < 8 / 255  # noise overshoots between the two sides
    assert (
        "eight_bit" not in plain.as_record() and rounded.as_record()["eight_bit"] is True
    )  # old records stay as they are
