"""Slices as sheets of tiles: every voxel stands where a radiologist expects it, and labels survive exactly."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image as pillow

from medvfm.core.image import Image
from medvfm.io.rendering import slice_strips


def tile(found: slice_strips.SliceStrips, number: int, part: str) -> np.ndarray:
    """(height, width, 3) of one slice."""
    sheet = np.asarray(pillow.open(io.BytesIO(getattr(found, part))).convert("RGB"))
    width, height = found.size_px
    row, column = divmod(number, found.columns)
    return sheet[row * height : (row + 1) * height, column * width : (column + 1) * width]


def volume(shape: tuple[int, int, int], spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Image:
    voxels = np.random.default_rng(0).random(shape).astype(np.float32) * 50
    voxels[: shape[0] // 2] += 200  # the half at low i is bright
    return Image(voxels, np.diag([*spacing, 1.0]), "arbitrary")


def test_labels_of_truth_and_prediction_come_back_unchanged_on_their_slice():
    image = volume((20, 30, 10))
    truth, predicted = np.zeros((2, 20, 30, 10), np.uint8)
    truth[2:6, 3:9, 4], predicted[3:7, 3:9, 5] = 3, 2
    found = slice_strips.strips(image, truth, predicted, (3, 4, 4))
    assert found is not None and found.plane == "axial" and found.size_px == (20, 30)
    assert found.slices == tuple(range(1, 11)) and found.first == 4 and found.total == 10
    # RAS voxels: on the screen the patient's right (high i) is at the left edge, anterior (high j) above
    assert np.array_equal(tile(found, 4, "labels")[..., 0], truth[::-1, ::-1, 4].T)
    assert np.array_equal(tile(found, 5, "labels")[..., 1], predicted[::-1, ::-1, 5].T)
    assert tile(found, 4, "labels")[..., 1].max() == 0
    bright = tile(found, 0, "picture").mean(axis=2)
    assert bright[:, 10:].mean() > bright[:, :10].mean() + 50


def test_a_flipped_file_gives_the_same_sheets():
    image = volume((20, 30, 10))
    mask = (np.arange(20 * 30 * 10).reshape(20, 30, 10) % 7 == 0).astype(np.uint8)
    affine = image.affine @ np.diag([-1.0, 1, 1, 1])
    affine[0, 3] = 19
    turned = Image(image.voxels[::-1], affine, "arbitrary")
    one, other = slice_strips.strips(image, mask, mask), slice_strips.strips(turned, mask[::-1], mask[::-1])
    assert one is not None and other is not None
    assert one.labels == other.labels and one.picture == other.picture


@pytest.mark.parametrize(("spacing", "plane"), [((1, 1, 5), "axial"), ((1, 5, 1), "coronal"), ((5, 1, 1), "sagittal")])
def test_the_cut_is_across_the_thickest_slices(spacing, plane):
    image = volume((8, 9, 10), spacing)
    empty = np.zeros(image.shape_vox, np.uint8)
    found = slice_strips.strips(image, empty, empty)
    assert found is not None and found.plane == plane
    assert found.total == image.shape_vox[spacing.index(5)]


def test_large_volumes_are_reduced_and_the_first_slice_is_among_them():
    image = volume((300, 250, 150), (0.5, 0.5, 0.6))
    truth = np.zeros((300, 250, 150, 2), bool)
    truth[100:200, 100:200, 70:75, 1] = True
    found = slice_strips.strips(image, truth, np.zeros_like(truth), (150, 150, 73))
    assert found is not None
    assert max(found.size_px) == slice_strips.LONGEST_PX and found.size_px[0] * 250 == pytest.approx(
        found.size_px[1] * 300, rel=0.02
    )
    assert len(found.slices) == slice_strips.MOST_SLICES and found.slices[found.first] == 74
    assert found.mm_per_px == pytest.approx(150 / slice_strips.LONGEST_PX)
    assert set(np.unique(tile(found, found.first, "labels")[..., 0])) == {0, 2}
    assert len(found.labels) < 60_000


def test_what_is_no_volume_has_no_slices():
    flat = Image(np.zeros((20, 30, 1), np.float32), np.eye(4), "arbitrary")
    assert slice_strips.strips(flat, np.zeros((20, 30, 1), np.uint8), np.zeros((20, 30, 1), np.uint8)) is None
