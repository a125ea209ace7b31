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
from medvfm.models.inputs.grid_volumes import GridVolumePreparer, centred

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
    odd = centred(np.arange(5.0), (8,))
    assert odd.tolist() == [0, 0, 1, 2, 3, 4, 0, 0] and centred(np.arange(5.0), (2,)).tolist() == [1, 2]


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


def test_channels_become_one():
    image = volume()
    several = Image(np.stack([image.voxels, image.voxels + 100], -1), image.affine)
    mean = preparer((10, 16, 12), prepare=Prepare(windows=(0.0, 2000.0))).of_image(several)[0]
    np.testing.assert_allclose(mean, (image.voxels.transpose(2, 1, 0) + 50) / 2000, atol=1e-6)


def test_a_picture_is_refused_and_a_case_without_images_has_none():
    flat = Image(np.zeros((12, 12, 1), np.uint8), np.eye(4))
    with pytest.raises(UnreadableImage, match="this is a picture"):
        preparer((8, 8, 8)).of_image(flat)
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
