"""Affines against nibabel, which had them first."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from medvfm.core import geometry
from medvfm.core.errors import UnreadableImage
from medvfm.core.image import Image


@st.composite
def affines(draw):
    seed = draw(st.integers(0, 10**6))
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = q * rng.uniform(0.3, 6, 3) * rng.choice([-1, 1], 3)
    affine[:3, 3] = rng.normal(size=3) * 50
    return affine


@settings(max_examples=200, deadline=None)
@given(affines())
def test_spacing_volume_and_orientation_as_nibabel(affine):
    image = nib.Nifti1Image(np.zeros((2, 3, 4), np.uint8), affine)
    assert geometry.spacing_mm(affine) == pytest.approx(nib.affines.voxel_sizes(affine))
    assert geometry.voxel_volume_mm3(affine) == pytest.approx(np.prod(nib.affines.voxel_sizes(affine)))
    nearest = np.abs(affine[:3, :3] / nib.affines.voxel_sizes(affine)).argmax(axis=0)
    assume(len(set(nearest)) == 3)  # where two axes lean to one side of the patient, releases of nibabel differ
    codes = nib.orientations.io_orientation(affine)
    assert geometry.axis_directions(affine) == tuple((int(p), int(s)) for p, s in codes)
    assert geometry.orientation(affine) == "".join(nib.aff2axcodes(image.affine))


@settings(max_examples=200, deadline=None)
@given(affines(), st.sampled_from(["RAS", "LPS", "PIR", "SLA"]))
def test_reorienting_moves_no_voxel_in_the_patient(affine, axes):
    voxels = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    view, new = geometry.reoriented(voxels, affine, axes)
    assert geometry.orientation(new) == axes
    assert np.shares_memory(view, voxels)
    for index in np.ndindex(view.shape):
        at_mm = new @ [*index, 1]
        back = np.rint(np.linalg.inv(affine) @ at_mm)[:3].astype(int)
        assert voxels[tuple(back)] == view[index]


@settings(max_examples=200, deadline=None)
@given(affines(), st.tuples(*[st.floats(0.4, 5)] * 3))
def test_a_resliced_grid_covers_the_same_field_of_view(affine, spacing):
    old_shape = (20, 31, 9)
    shape, new = geometry.reslice_grid(old_shape, affine, spacing)
    assert geometry.spacing_mm(new) == pytest.approx(spacing)
    centre = lambda a, s: a @ [*((np.array(s) - 1) / 2), 1]  # noqa: E731
    assert np.allclose(centre(affine, old_shape), centre(new, shape))
    assert np.all(
        np.abs(np.array(shape) * spacing - np.array(old_shape) * geometry.spacing_mm(affine)) <= np.array(spacing)
    )


def test_the_native_slices_are_those_of_the_best_resolution():
    assert geometry.slice_axis(np.diag([1, 1, 5, 1.0]), "native") == 2
    assert geometry.slice_axis(np.diag([4, 1, 1, 1.0]), "native") == 0
    assert geometry.slice_axis(np.diag([1, 1, 1, 1.0]), "native") == 2
    assert geometry.slice_axis(np.diag([1, 1, 5, 1.0]), "sagittal") == 0


@pytest.mark.parametrize("affine", [np.eye(3), np.zeros((4, 4)), np.full((4, 4), np.nan), np.diag([1, 0, 1, 1.0])])
def test_an_affine_that_places_nothing_is_refused(affine):
    with pytest.raises(UnreadableImage):
        Image(np.zeros((2, 2, 2)), affine)


def test_an_image_without_a_size_says_so():
    image = Image(np.zeros((2, 3, 1)), np.eye(4), has_spacing=False)
    assert image.spacing_mm is None
    assert not image.is_volume
