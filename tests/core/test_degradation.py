"""Noise of a stated level, and blocks of a lower resolution."""

from __future__ import annotations

import numpy as np
import pytest

from medvfm.core.degradation import Degradation, blocks, coarse

GREY = np.full((1, 200, 200), 0.5, np.float32)


def test_noise_has_its_level():
    spoilt = Degradation("gaussian", 0.1)(GREY, np.random.default_rng(0))
    assert spoilt.dtype == np.float32 and spoilt.shape == GREY.shape
    assert spoilt.std() == pytest.approx(0.1, rel=0.02) and spoilt.mean() == pytest.approx(0.5, abs=0.002)


def test_rician_noise_without_signal_has_the_mean_of_rayleigh():
    spoilt = Degradation("rician", 0.1)(np.zeros_like(GREY), np.random.default_rng(0))
    assert spoilt.mean() == pytest.approx(0.1 * np.sqrt(np.pi / 2), rel=0.01) and spoilt.min() >= 0


def test_blocks_keep_their_means():
    pixels = np.random.default_rng(0).random((3, 8, 12), np.float32)
    low = coarse(pixels, 4)
    assert low.shape == (3, 2, 3) and low[1, 0, 2] == pytest.approx(pixels[1, :4, 8:].mean())
    spoilt = Degradation("lower_resolution", factor=4)(pixels, np.random.default_rng(0))
    np.testing.assert_array_equal(spoilt, blocks(pixels, 4))
    np.testing.assert_allclose(coarse(spoilt, 4), low, rtol=1e-6)


def test_a_case_is_spoilt_the_same_way_again_and_another_in_another_way():
    spoil = Degradation("gaussian", 0.2)
    np.testing.assert_array_equal(spoil.of_case(GREY, "a"), spoil.of_case(GREY, "a"))
    assert not np.array_equal(spoil.of_case(GREY, "a"), spoil.of_case(GREY, "b"))
