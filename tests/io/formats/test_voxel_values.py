"""Label maps hold whole numbers that are named; nothing else passes."""

from __future__ import annotations

import numpy as np
import pytest

from medvfm.core.errors import UnreadableImage
from medvfm.core.image import Image
from medvfm.io.formats.voxel_values import as_label_map, finite, label_values


def image(voxels: np.ndarray) -> Image:
    return Image(voxels, np.eye(4))


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "float64", "uint64", "bool"])
def test_whole_numbers_of_any_type(dtype):
    voxels = np.random.default_rng(0).integers(0, 2, (3, 4, 5)).astype(dtype)
    labels = as_label_map(image(voxels), None, "f")
    assert labels.unit == "label" and labels.voxels.dtype.kind in "iu"
    assert np.array_equal(labels.voxels, voxels)


@pytest.mark.parametrize("bad", [0.5, 1e-3, np.nan, np.inf, 3e9, 2.0**24])
def test_other_numbers_are_refused(bad):
    voxels = np.zeros((3, 3, 3), np.float32)
    voxels[1, 1, 1] = bad
    with pytest.raises(UnreadableImage, match="label map"):
        as_label_map(image(voxels), None, "f")


def test_values_must_be_named():
    voxels = np.zeros((3, 3, 3), np.int16)
    voxels[0, 0] = [1, 2, 7]
    assert as_label_map(image(voxels), [0, 1, 2, 7, 9], "f").voxels is voxels
    with pytest.raises(UnreadableImage, match=r"f: .* 2 values that are not named: 2, 7; named are 0, 1"):
        as_label_map(image(voxels), {0, 1}, "f")


def test_colour_is_a_label_map_where_its_channels_are_equal():
    grey = np.random.default_rng(0).integers(0, 3, (4, 5, 1)).astype(np.uint8)
    colour = np.repeat(grey[..., None], 3, axis=3)
    assert np.array_equal(as_label_map(image(colour), None, "f").voxels, grey)
    colour[0, 0, 0, 1] += 1
    with pytest.raises(UnreadableImage, match="3 channels that differ"):
        as_label_map(image(colour), None, "f")


@pytest.mark.parametrize("dtype, top", [("uint8", 255), ("int16", 30000), ("int32", 10**9), ("uint64", 2**40)])
def test_label_values_as_numpy_finds_them(dtype, top):
    voxels = np.random.default_rng(0).integers(0, top, (6, 5, 4)).astype(dtype)
    assert label_values(voxels) == set(np.unique(voxels).tolist())
    if np.dtype(dtype).kind == "i":
        assert label_values(-voxels) == set(np.unique(-voxels).tolist())


def test_finite_counts_what_it_mends_and_keeps_the_rest():
    voxels = np.array([1.0, np.nan, np.inf, -np.inf, 2.0], np.float32).reshape(5, 1, 1)
    voxels.setflags(write=False)
    mended, repairs = finite(voxels, "zero", "f")
    assert mended.ravel().tolist() == [1, 0, 0, 0, 2] and repairs == ("3 NaN or infinite voxels set to 0",)
    with pytest.raises(ValueError, match="refuse, zero"):
        finite(voxels, "mean", "f")
