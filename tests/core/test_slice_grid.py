"""The way from an image to a model's slices and back: exact without resampling, true in millimetres with it."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from medvfm.core.slice_grid import SliceGrid

SHAPE = (14, 9, 11)


def planted(shape: tuple[int, int, int]) -> np.ndarray:
    """An asymmetric shape with three labels, so that no flip or permutation maps it onto itself."""
    labels = np.zeros(shape, np.uint8)
    labels[2:9, 3:5, 1:8] = 1
    labels[2:4, 3:8, 1:3] = 2
    labels[8, 7, 9] = 3
    return labels


def oblique(codes: str, spacing_mm: tuple[float, float, float], degrees: float) -> np.ndarray:
    """An affine whose voxel axes point to `codes`, turned about two axes, with spacing by voxel axis."""
    axes = nibabel.orientations.inv_ornt_aff(nibabel.orientations.axcodes2ornt(codes), (1, 1, 1))[:3, :3]
    a, b = np.radians([degrees, degrees / 2])
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ tilt @ axes @ np.diag(spacing_mm)
    affine[:3, 3] = 13.0, -40.0, 7.5
    return affine


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "ASL", "SLP", "IRA"])
@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal", "native"])
def test_labels_come_back_to_the_same_voxels(codes, axis):
    labels = planted(SHAPE)
    grid = SliceGrid.of(SHAPE, oblique(codes, (0.7, 2.5, 1.1), 17), True, axis)
    there = grid.to_model(labels, linear=False)
    assert there.shape == grid.shape and there.flags.owndata is False
    assert np.array_equal(grid.to_source(there), labels)
    scores = np.stack([there == value for value in range(4)]).astype(np.float32)
    assert np.array_equal(grid.labels_from(scores), labels)
    above = grid.above(scores[1:], 0.5)
    assert np.array_equal(above, np.stack([labels == v for v in (1, 2, 3)], axis=-1))


def test_axial_pictures_have_the_patients_right_at_the_left_edge_and_anterior_up():
    voxels = np.zeros(SHAPE, np.float32)
    voxels[0, -1, 5] = 1  # RAS: leftmost index is the patient's left, last j is anterior
    grid = SliceGrid.of(SHAPE, np.diag([-1.0, 1, 2, 1]), True, "axial")  # i points to the left
    s, row, column = np.argwhere(grid.to_model(voxels, linear=True))[0]
    assert (s, row, column) == (5, 0, 0)


@pytest.mark.parametrize("spacing_mm", [(1.0,), (0.8, 2.0), (2.0, 0.8, 0.9)])
def test_a_ball_survives_resampling_where_it_lies(spacing_mm):
    shape, affine = (40, 30, 20), oblique("LPS", (0.9, 0.9, 2.4), 12)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    centre = np.array([17.3, 14.2, 9.6])
    ball = (((index - centre) * (0.9, 0.9, 2.4)) ** 2).sum(-1) < 9.0**2
    grid = SliceGrid.of(shape, affine, True, "axial", spacing_mm)
    assert grid.is_resampled
    soft = grid.to_model(ball.astype(np.float32), linear=True)
    back = grid.labels_from(np.stack([1 - soft, soft]))
    assert 2 * (back & ball).sum() / (back.sum() + ball.sum()) > 0.94
    assert np.abs(np.argwhere(back).mean(0) - np.argwhere(ball).mean(0)).max() < 0.1
    nearest = grid.to_source(grid.to_model(ball.astype(np.uint8), linear=False))
    assert 2 * (nearest & ball).sum() / (nearest.sum() + ball.sum()) > 0.9


def test_a_constant_stays_constant_and_a_ramp_a_ramp():
    grid = SliceGrid.of((12, 10, 6), np.diag([2.0, 2, 3, 1]), True, "axial", (1.0,))
    assert np.allclose(grid.to_model(np.full((12, 10, 6), 7.0), linear=True), 7.0)
    ramp = np.broadcast_to(np.arange(12.0)[:, None, None], (12, 10, 6))
    column = grid.to_model(ramp, linear=True)[3, 4][::-1]  # columns point to the left, i to the right
    assert np.allclose(column[1:-1], (np.arange(24) * 0.5 - 0.25)[1:-1], atol=1e-5)


def test_pictures_without_spacing_stay_as_they_are():
    grid = SliceGrid.of((8, 6, 1), np.eye(4), False, "axial", (0.5,))
    assert not grid.is_resampled and grid.spacing_mm is None
    picture = np.random.default_rng(0).random((8, 6, 1, 3))
    assert np.array_equal(grid.to_model(picture, linear=True)[:, 0], picture[:, :, 0].transpose(2, 1, 0))
