"""An image of an array: as its file would be read, with the place that is said, or refused."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as pillow

import medvfm
from medvfm.core.errors import UnreadableImage

PIXELS = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)


@pytest.mark.parametrize("pixels", [PIXELS, PIXELS[..., 0]])
def test_a_picture_is_what_its_file_is(tmp_path, pixels):
    pillow.fromarray(pixels).save(tmp_path / "x.png")
    read, made = medvfm.read_image(tmp_path / "x.png"), medvfm.Image.from_array(pixels)
    assert np.array_equal(read.voxels, made.voxels) and np.array_equal(read.affine, made.affine)
    assert (read.unit, read.has_spacing) == (made.unit, made.has_spacing)


def test_fractions_and_yes_or_no_become_eight_bits():
    assert np.array_equal(medvfm.Image.from_array(PIXELS / 255).voxels, medvfm.Image.from_array(PIXELS).voxels)
    assert set(np.unique(medvfm.Image.from_array(PIXELS[..., 0] > 9).voxels)) <= {0, 255}


def test_a_volume_has_the_place_and_the_unit_that_are_said():
    made = medvfm.Image.from_array(np.zeros((4, 5, 6)), spacing_mm=(1, 2, 3), unit="HU")
    assert made.spacing_mm == (1, 2, 3) and made.orientation == "RAS" and made.unit == "HU" and made.is_volume
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    assert medvfm.Image.from_array(np.zeros((4, 5, 6)), affine=affine).orientation == "LPS"
    assert len(repr(made)) < 120


@pytest.mark.parametrize(
    ("array", "more", "said"),
    [
        (np.zeros((4, 5, 6)), {}, "a volume"),
        (np.zeros((4, 5)), {"spacing_mm": (1, 1, 1)}, "no volume"),
        (np.zeros((4, 5, 3)) - 1, {}, "fractions from 0 to 1"),
        (np.full((4, 5), np.nan), {}, "NaN"),
        (np.array([["a"]]), {}, "holds no numbers"),
        (np.zeros((4, 5, 6)), {"spacing_mm": (1, 1, 1), "affine": np.eye(4)}, "one of them"),
    ],
)
def test_what_is_no_image_is_refused(array, more, said):
    with pytest.raises(UnreadableImage, match=said):
        medvfm.Image.from_array(array, **more)
