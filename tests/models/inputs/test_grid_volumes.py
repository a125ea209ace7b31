"""Volumes on one grid: the middle stays, orientation of the file does not matter, and what is no volume is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medvfm.core import geometry
from medvfm.core.case import Case
from medvfm.core.errors import UnreadableImage
from medvfm.core.image import Image
from medvfm.core.recipe_sections import Prepare
from medvfm.models.inputs.grid_volumes import GridVolumePreparer, on_grid

WINDOW = Prepare(windows=(0.0, 1000.0))


def volume(size=(12, 16, 10), spacing=(1.0, 1.0, 2.0)) -> Image:
    """Columns to the left, rows to the back, slices to the head."""
    voxels = np.random.default_rng(0).integers(0, 1000, size).astype(np.int16)
    return Image(voxels, np.diag([-spacing[0], -spacing[1], spacing[2], 1.0]))


def preparer(size, spacing=(2.0, 1.0, 1.0), prepare=WINDOW) -> GridVolumePreparer:
    return GridVolumePreparer(size, spacing, prepare)


def test_at_its_own_spacing_and_size_it_is_what_is_stored():
    image = volume()
    found = preparer((10, 16, 12)).of_image(image)
    assert found.shape == (1, 10, 16, 12) and found.dtype == np.float32
    np.testing.assert_allclose(found[0], image.voxels.transpose(2, 1, 0) / 1000, atol=1e-6)


def test_larger_is_filled_with_0_and_smaller_is_cut_on_both_sides():
    image = volume()
    whole = preparer((10, 16, 12)).of_image(image)[0]
    found = preparer((14, 12, 12)).of_image(image)[0]
    np.testing.assert_array_equal(found[2:12], whole[:, 2:14])
    assert not found[:2].any() and not found[12:].any()
    odd = on_grid(np.arange(1.0, 6)[:, None, None], (1, 1, 1), (8, 1, 1), (1, 1, 1)).ravel()
    assert odd.tolist() == [0, 0, 1, 2, 3, 4, 5, 0]  # to half a voxel, and none is changed


@pytest.mark.parametrize("axes", ["RAS", "SAL", "PIR"])
def test_how_the_file_stores_it_does_not_matter(axes):
    image = volume()
    voxels, affine = geometry.reoriented(image.voxels, image.affine, axes)
    turned = Image(np.ascontiguousarray(voxels), affine)
    np.testing.assert_array_equal(preparer((12, 12, 12)).of_image(turned), preparer((12, 12, 12)).of_image(image))


def test_a_coarser_grid_holds_means_of_blocks_inside():
    """A gradient along each axis keeps its values at the places of the new voxels."""
    k, j, i = np.meshgrid(np.arange(8), np.arange(8), np.arange(8), indexing="ij")
    voxels = (100 * k + 10 * j + i).transpose(2, 1, 0).astype(np.float32)
    image = Image(voxels, np.diag([-1.0, -1.0, 1.0, 1.0]))
    found = preparer((4, 4, 4), (2.0, 2.0, 2.0), Prepare(windows=(0.0, 1000.0))).of_image(image)[0] * 1000
    places = 2 * np.arange(4) + 0.5
    wanted = 100 * places[:, None, None] + 10 * places[:, None] + places
    np.testing.assert_allclose(found[1:3, 1:3, 1:3], wanted[1:3, 1:3, 1:3], rtol=1e-4)


@pytest.mark.parametrize(
    ("size", "mm", "grid", "spacing"),
    [
        ((40, 40, 12), (5, 5, 12), (12, 20, 24), (12, 8, 8)),
        ((64, 64, 20), (1, 1, 6.5), (12, 64, 64), (10, 1, 1)),
        ((63, 65, 41), (2, 2, 3), (20, 32, 40), (5, 4, 3)),
        ((35, 51, 35), (1, 1, 1), (20, 28, 20), (2, 2, 2)),
    ],
)
def test_what_lies_somewhere_in_the_patient_lies_there_on_the_grid(size, mm, grid, spacing):
    """The middle of a blob, in mm about the middle of the image, is the same on a grid of the stated spacing."""
    away = [(np.arange(n) - (n - 1) / 2) * d for n, d in zip(size, mm, strict=True)]
    where = [0.2 * n * d for n, d in zip(size, mm, strict=True)]
    x, y, z = np.meshgrid(*away, indexing="ij")
    width = 2 * max(max(mm), max(spacing))
    blob = 1000 * np.exp(-((x - where[0]) ** 2 + (y - where[1]) ** 2 + (z - where[2]) ** 2) / (2 * width**2))
    image = Image(blob.astype(np.float32), np.diag([-mm[0], -mm[1], mm[2], 1.0]))
    found = GridVolumePreparer(grid, spacing, WINDOW).of_image(image)[0].astype(np.float64)
    for axis, wanted in ((0, where[2]), (1, where[1]), (2, where[0])):
        profile = found.sum(axis=tuple(a for a in range(3) if a != axis))
        places = (np.arange(grid[axis]) - (grid[axis] - 1) / 2) * spacing[axis]
        peak = int(profile.argmax())
        near = slice(max(0, peak - 2), peak + 3)
        top = np.polyfit(places[near], np.log(profile[near]), 2)  # the logarithm of a normal curve is a parabola
        assert -top[1] / (2 * top[0]) == pytest.approx(wanted, abs=0.12 * spacing[axis])


@pytest.mark.parametrize(("have", "size", "first"), [(600, 1024, 212), (1024, 600, -212), (7, 4, -1), (4, 7, 2)])
@pytest.mark.parametrize("spacing", [1.0, 1.0009, 0.9991])
def test_voxels_of_nearly_the_same_spacing_are_copied(have, size, first, spacing):
    values = np.arange(1.0, have + 1)[:, None, None]
    found = on_grid(values, (1, 1, 1), (size, 1, 1), (spacing, 1, 1)).ravel()
    wanted = [values[k - first, 0, 0] if 0 <= k - first < have else 0 for k in range(size)]
    assert found.tolist() == wanted


def test_an_oblique_scan_keeps_its_angle_and_takes_the_nearest_directions():
    image = volume()
    turn = np.deg2rad(20)
    oblique = image.affine.copy()
    oblique[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]] @ oblique[:2, :2]
    found = preparer((10, 16, 12)).of_image(Image(image.voxels, oblique))
    np.testing.assert_array_equal(found, preparer((10, 16, 12)).of_image(image))


def test_a_coarse_volume_has_the_spacing_that_is_asked_for():
    """Three slices of 5 mm on a grid of 10 mm: two new ones lie 5 mm from the middle, and not 3.75."""
    image = Image(np.broadcast_to([0.0, 500.0, 1000.0], (8, 8, 3)).astype(np.float32), np.diag([-1.0, -1.0, 5.0, 1.0]))
    found = GridVolumePreparer((2, 8, 8), (10.0, 1.0, 1.0), WINDOW).of_image(image)[0, :, 4, 4]
    assert found == pytest.approx([1 / 6, 5 / 6], abs=1e-5)  # triangles of 10 mm over 0, 500, 1000 at -5, 0, 5 mm


def test_channels_become_one():
    image = volume()
    several = Image(np.stack([image.voxels, image.voxels + 100], -1), image.affine)
    mean = preparer((10, 16, 12), prepare=Prepare(windows=(0.0, 2000.0))).of_image(several)[0]
    np.testing.assert_allclose(mean, (image.voxels.transpose(2, 1, 0) + 50) / 2000, atol=1e-6)


def test_a_picture_is_refused_and_a_case_without_images_has_none():
    flat = Image(np.zeros((12, 12, 1), np.uint8), np.eye(4))
    with pytest.raises(UnreadableImage, match="this has 12 × 12 × 1 voxels"):
        preparer((8, 8, 8)).of_image(flat)
    flat = Image(np.zeros((1, 12, 12), np.uint8), np.eye(4))
    with pytest.raises(UnreadableImage, match=r"one.nii.gz: .*this has 1 × 12 × 12 voxels"):
        preparer((8, 8, 8)).arrays([flat], Case("a", None, {"image": (Path("one.nii.gz"),)}))
    case = Case("a", None, {"image": (Path("a.nii.gz"), Path("b.nii.gz"))})
    with pytest.raises(UnreadableImage, match="a has 2 images in the role 'image', not one volume"):
        preparer((8, 8, 8)).files(case)
    asked = Case("prompt", None, {})
    assert preparer((8, 8, 8)).files(asked) == () and preparer((8, 8, 8)).arrays([], asked) == {}


def test_every_setting_has_a_cache_of_its_own():
    keys = {
        preparer((8, 8, 8)).key(),
        preparer((8, 8, 16)).key(),
        preparer((8, 8, 8), (1.0, 1.0, 1.0)).key(),
        preparer((8, 8, 8), prepare=Prepare()).key(),
    }
    assert len(keys) == 4
