"""Planes of a segmentation on a grid of voxels: exact places only, nothing is interpolated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medvfm.core.errors import UnreadableImage
from medvfm.io.dicom import geometry
from medvfm.io.dicom.geometry import Plane

_APART_VOX = 0.1  # by which a corner may miss a voxel's centre: what rounding in headers explains
_PLACE_MM = 1e-2


def planes_grid(planes: Sequence[Plane], repairs: list[str], where: Path) -> tuple[tuple[int, int, int], np.ndarray]:
    """Shape (i, j, k) and affine of the smallest grid that holds all planes, several at one place allowed."""
    first = planes[0]
    along = np.array([np.dot(p.position_mm or (), geometry.normal(first)) for p in planes])
    order = np.argsort(along, kind="stable")
    fresh = np.concatenate([[True], np.diff(along[order]) > _PLACE_MM])
    chosen = [planes[n] for n in order[fresh]]
    rows, columns = first.size
    if len(chosen) == 1:
        return (columns, rows, 1), geometry.single_affine(first, repairs, where)
    gaps = np.diff(along[order][fresh])
    counts = np.rint(gaps / gaps.min()).astype(int)
    if np.abs(gaps / gaps.min() - counts).max() > _APART_VOX:
        raise UnreadableImage("its frames are unevenly spaced", where=where, remedy="read it on the grid of its image")
    if counts.max() > 1:
        repairs.append(f"{int(counts.sum()) - len(gaps)} empty slices between its frames put in")
    start, end = (np.array(p.position_mm) for p in (chosen[0], chosen[-1]))
    filled = [
        Plane(n, first.size, tuple((start + (end - start) * n / counts.sum()).tolist()), first.orientation,
              first.spacing_mm, first.thickness_mm)
        for n in range(int(counts.sum()) + 1)
    ]  # fmt: skip
    for plane in chosen:
        if not (geometry.same_orientation(plane, first) and geometry.same_spacing(plane, first)):
            raise UnreadableImage("its frames lie on several grids", where=where)
    affine, _, noted = geometry.stacked(filled, where)
    repairs += noted
    return (columns, rows, len(filled)), affine


def painted_plane(labels: np.ndarray, affine: np.ndarray, plane: Plane, values: np.ndarray, where: Path) -> np.ndarray:
    """The view (column, row) of a volume (i, j, k) at which a plane lies; refused where it is not on the grid.

    The axes may run in another order or direction than the plane's. A plane may reach beyond the volume only where
    `values` are 0 all over it.
    """
    columns, rows = values.shape
    plane2ras = geometry.single_affine(plane, [], where)
    plane2vox = np.linalg.inv(affine) @ plane2ras
    steps, origin = plane2vox[:3, :2], plane2vox[:3, 3]
    whole = np.rint(steps)
    ends = np.array([[0, 0], [columns - 1, 0], [0, rows - 1], [columns - 1, rows - 1]], float).T
    off = np.abs(steps @ ends - whole @ ends).max() + np.abs(origin - np.rint(origin)).max()
    if sorted(np.abs(whole).sum(axis=0)) != [1, 1] or np.abs(whole).sum(axis=1).max() > 1 or off > _APART_VOX:
        raise UnreadableImage(
            "it does not lie on the voxels of the image", where=where, remedy="resample it, or give its own image"
        )
    along = [int(np.argmax(np.abs(whole[:, n]))) for n in range(2)]
    across = 3 - sum(along)
    start = np.rint(origin).astype(int)
    index: list[slice | int] = [0, 0, 0]
    for axis, count in zip(along, (columns, rows), strict=True):
        sign = 1 if whole[axis].sum() > 0 else -1
        last = int(start[axis]) + sign * (count - 1)
        if min(int(start[axis]), last) < 0 or max(int(start[axis]), last) >= labels.shape[axis]:
            raise UnreadableImage("it reaches beyond the image", where=where)
        stop = last + sign
        index[axis] = slice(int(start[axis]), None if stop < 0 else stop, sign)
    if not 0 <= start[across] < labels.shape[across]:
        if not values.any():
            return np.zeros_like(values)
        raise UnreadableImage("it reaches beyond the image", where=where)
    index[across] = int(start[across])
    view = labels[tuple(index)]
    return view if along[0] < along[1] else view.T
