"""Structures are told apart by their colours whatever a reader's colour vision."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from medvfm.io.rendering import palette

VISION = {  # Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}
TO_LMS = np.array(
    [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
     [0.0883024619, 0.2817188376, 0.6299787005]]
)  # fmt: skip  # Ottosson 2020, OKLab
TO_LAB = np.array(
    [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
     [0.0259040371, 0.7827717662, -0.8086757660]]
)  # fmt: skip


def seen(colour: palette.Colour, vision: str) -> np.ndarray:
    part = np.array(colour) / 255
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    return TO_LAB @ np.cbrt(TO_LMS @ np.clip(VISION[vision] @ linear, 0, 1))


def apart(one: palette.Colour, other: palette.Colour, vision: str) -> float:
    return float(np.linalg.norm(seen(one, vision) - seen(other, vision)))


@pytest.mark.parametrize("vision", VISION)
def test_any_two_structures_are_told_apart(vision):
    assert min(apart(a, b, vision) for a, b in itertools.combinations(palette.PALETTE, 2)) > 0.17
    assert apart(palette.TRUTH, palette.PREDICTION, vision) > 0.17


def test_the_simulation_finds_what_merges():
    bluish_green, reddish_purple = (0, 158, 115), (204, 121, 167)  # of Okabe and Ito, which stood here before
    assert apart(bluish_green, reddish_purple, "deuteranopia") < 0.12 < apart(bluish_green, reddish_purple, "normal")


def test_lines_are_seen_on_black():
    assert min(seen(colour, "normal")[0] for colour in palette.PALETTE) > 0.55
