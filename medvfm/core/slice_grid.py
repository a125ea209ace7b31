"""Slice grid of a volume: reorient and resample to the model's grid, and map masks and logits back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medvfm.core import geometry

_LARGEST_BYTE = 255


@dataclass(frozen=True, eq=False)
class SliceGrid:
    """A model's grid in an image: slices (S, H, W) in radiological orientation, resampled where a spacing is set.

    source_shape_vox, source_affine  the image's own grid (i, j, k)
    axes        directions of columns, rows and slices, as `LPS`; None for the stored axes of a 2D image
    view_shape  (S, H, W) of the image's voxels in these axes, before resampling
    shape       (S, H, W) of the model's grid
    spacing_mm  (S, H, W) distances on the model's grid; None where the file states none
    """

    source_shape_vox: tuple[int, int, int]
    source_affine: np.ndarray
    axes: str | None
    view_shape: tuple[int, int, int]
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float] | None

    @classmethod
    def of(
        cls,
        shape_vox: tuple[int, int, int],
        affine: np.ndarray,
        has_spacing: bool,
        axis: str = "native",
        spacing_mm: tuple[float, ...] | None = None,
    ) -> SliceGrid:
        """The grid of an image, slices across `axis` (axial, coronal, sagittal, or native: best resolution in plane).

        spacing_mm  target spacing: one number for all directions, two for (in plane, between slices), or
                    three for (between slices, rows, columns)
        """
        axes = geometry.picture_axes(affine, axis) if shape_vox[2] > 1 and has_spacing else None
        view, view_affine = _view(np.empty(shape_vox, np.uint8), affine, axes)
        columns, rows, slices = view.shape
        view_shape = (slices, rows, columns)
        if not has_spacing:
            return cls(shape_vox, np.asarray(affine), axes, view_shape, view_shape, None)
        have = geometry.spacing_mm(view_affine)[::-1]
        target = _target_mm(spacing_mm, have, slices)
        shape = tuple(max(1, round(n * h / w)) for n, h, w in zip(view_shape, have, target, strict=True))
        exact = tuple(n * h / s for n, h, s in zip(view_shape, have, shape, strict=True))
        return cls(shape_vox, np.asarray(affine), axes, view_shape, shape, exact)

    @property
    def is_resampled(self) -> bool:
        return self.shape != self.view_shape

    def to_model(self, voxels: np.ndarray, *, linear: bool) -> np.ndarray:
        """(i, j, k) as (S, H, W), or (i, j, k, C) as (C, S, H, W); label maps take the nearest (`linear` False)."""
        view, _ = _view(voxels, self.source_affine, self.axes)
        stacked = view.transpose(2, 1, 0) if view.ndim == 3 else view.transpose(3, 2, 1, 0)
        if not self.is_resampled:
            return stacked
        return _resampled(stacked, self.shape, linear=linear)

    def to_source(self, labels: np.ndarray) -> np.ndarray:
        """Labels (S, H, W) on the model's grid to (i, j, k) on the image's, by nearest neighbour."""
        if self.is_resampled:
            labels = _resampled(labels, self.view_shape, linear=False)
        return self._placed(labels)

    def labels_from(self, scores: np.ndarray) -> np.ndarray:
        """(i, j, k): at each voxel of the image the class with the highest of scores (K, S, H, W).

        Where the grid was resampled, scores are interpolated and then compared, class by class, so that a boundary
        may fall between the model's voxels, and memory holds one class at a time.
        """
        best = _resampled(scores[0], self.view_shape, linear=True).astype(np.float32, copy=True)
        kind = np.uint8 if len(scores) <= _LARGEST_BYTE + 1 else np.uint16
        labels = np.zeros(self.view_shape, kind)
        for number in range(1, len(scores)):
            one = _resampled(scores[number], self.view_shape, linear=True)
            higher = one > best
            labels[higher] = number
            np.copyto(best, one, where=higher)
        return self._placed(labels)

    def above(self, scores: np.ndarray, threshold: float = 0.0) -> np.ndarray:
        """(i, j, k, T) of bool: where each of scores (T, S, H, W) is above the threshold, on the image's grid."""
        return np.stack(
            [self._placed(_resampled(s, self.view_shape, linear=True) > threshold) for s in scores], axis=-1
        )

    def mirrored(self, voxels: np.ndarray) -> np.ndarray:
        """(i, j, k, ...) of the image with the columns of its slices in reverse order: what a model that saw each slice
        mirrored has drawn, put back, or the other way round. Exact on any grid, since outer faces stay."""
        turned = np.empty_like(voxels)
        view, _ = _view(voxels, self.source_affine, self.axes)
        into, _ = _view(turned, self.source_affine, self.axes)
        into[...] = view[::-1]
        return turned

    def _placed(self, stacked: np.ndarray) -> np.ndarray:
        """(S, H, W) of the view as (i, j, k), by permutation and flips alone."""
        placed = np.empty(self.source_shape_vox, stacked.dtype)
        view, _ = _view(placed, self.source_affine, self.axes)
        view[...] = stacked.transpose(2, 1, 0)
        return placed


def _view(voxels: np.ndarray, affine: np.ndarray, axes: str | None) -> tuple[np.ndarray, np.ndarray]:
    return (voxels, np.asarray(affine)) if axes is None else geometry.reoriented(voxels, affine, axes)


def _target_mm(
    spacing_mm: tuple[float, ...] | None, have: tuple[float, ...], slices: int
) -> tuple[float, float, float]:
    """(S, H, W) distances; a 2D image is never resampled across its single slice."""
    if spacing_mm is None:
        between, down, across = have
    elif len(spacing_mm) == 3:
        between, down, across = spacing_mm
    else:
        between, down, across = spacing_mm[-1], spacing_mm[0], spacing_mm[0]
    return (have[0] if slices == 1 else between), down, across


def _resampled(array: np.ndarray, shape: tuple[int, int, int], *, linear: bool) -> np.ndarray:
    """The last three axes at another size over the same field of view: voxels are cells, and outer faces stay.

    Linear in each direction, widened to a triangle over the new voxel where it is the larger (no aliasing), or the
    nearest cell.
    """
    for axis, size in zip((-3, -2, -1), shape, strict=True):
        have = array.shape[axis]
        if have == size:
            continue
        if linear:
            moved = np.moveaxis(array, axis, -1).astype(np.float32, copy=False)
            array = np.moveaxis(moved @ _weights(have, size).T, -1, axis)
        else:
            nearest = np.floor((np.arange(size) + 0.5) * have / size).astype(int)
            array = np.take(array, np.minimum(nearest, have - 1), axis=axis)
    return array


def _weights(have: int, size: int) -> np.ndarray:
    """(size, have) float32: rows sum to 1."""
    centres = (np.arange(size) + 0.5) * have / size - 0.5
    reach = max(1.0, have / size)
    weights = np.maximum(0.0, 1.0 - np.abs(centres[:, None].clip(0, have - 1) - np.arange(have)) / reach)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
