"""From positions and orientations of DICOM planes (LPS mm) to the affine of a volume (RAS+ mm): PS3.3, C.7.6.2.1.1.

Slices are ordered along the normal of the plane (row direction x column direction), and the step between them is
measured from the positions: never taken from SliceThickness, from SpacingBetweenSlices or from a number of the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from medvfm.core.errors import UnreadableImage
from medvfm.core.geometry import LPS_TO_RAS
from medvfm.io.dicom.header import DataSet

_UNIT_TOLERANCE = 1e-2  # of a direction cosine's length, and of the right angle between two
_GAP_TOLERANCE = 0.02  # of a step, by which a gap may differ from the mean one
_ROUNDING_MM = 0.01  # what positions written with two decimals explain
_SAME_PLACE_MM = 1e-3
_TILT_DEG = 0.1
_OFF_STEPS = 0.1  # of a step, by which a slice may lie before or behind its place between the first and the last
_ALIGNED_MM = 0.02  # by which a position may lie off the straight line through all


@dataclass(frozen=True)
class Plane:
    """Position and orientation of one image plane (a file of a series, or a frame), in LPS mm."""

    number: int
    size: tuple[int, int]  # rows, columns
    position_mm: tuple[float, ...] | None = None
    orientation: tuple[float, ...] | None = None  # direction of a row (along columns), then of a column
    spacing_mm: tuple[float, ...] | None = None  # between rows, between columns, as PixelSpacing has them
    thickness_mm: float | None = None
    frame_of_reference: str = ""
    attributes: Mapping[str, object] = field(default_factory=dict)  # echo, phase, ...: what may tell volumes apart

    @property
    def is_placed(self) -> bool:
        """Whether position, orientation and spacing are all known."""
        return self.position_mm is not None and self.orientation is not None and self.spacing_mm is not None


def numbers_or_none(data: DataSet, keyword: str, count: int) -> tuple[float, ...] | None:
    """`count` numbers, None where they are absent, of another count, or no numbers."""
    try:
        values = data.numbers(keyword)
    except UnreadableImage:
        return None
    return values if len(values) == count else None


def pixel_spacing(data: DataSet, keyword: str = "PixelSpacing") -> tuple[float, ...] | None:
    """Between rows and between columns in mm, None where absent or not positive."""
    values = numbers_or_none(data, keyword, 2)
    return values if values is not None and min(values) > 0 else None


def in_plane(plane: Plane, where: object) -> np.ndarray:
    """(3, 2) LPS mm: the steps of one column index and of one row index."""
    assert plane.orientation is not None and plane.spacing_mm is not None
    along = np.array(plane.orientation, float).reshape(2, 3)
    lengths = np.linalg.norm(along, axis=1)
    if np.abs(lengths - 1).max() > _UNIT_TOLERANCE or abs(along[0] @ along[1]) > _UNIT_TOLERANCE:
        raise UnreadableImage("its orientation is no pair of perpendicular directions", where=where)
    along /= lengths[:, None]
    between_rows, between_columns = plane.spacing_mm
    return np.stack([along[0] * between_columns, along[1] * between_rows], axis=1)


def normal(plane: Plane) -> np.ndarray:
    """(3,) unit vector: row direction x column direction."""
    assert plane.orientation is not None
    across = np.cross(plane.orientation[:3], plane.orientation[3:])
    return across / np.linalg.norm(across)


def single_affine(plane: Plane, repairs: list[str], where: object) -> np.ndarray:
    """Of one plane; the third axis is as long as the slice is thick."""
    thickness = plane.thickness_mm
    if thickness is None or not thickness > 0:
        thickness = 1.0
        repairs.append("slice thickness not stated: the voxel is taken as 1 mm deep")
    return _affine(in_plane(plane, where), normal(plane) * thickness, plane.position_mm)


def flat_affine(spacing_mm: tuple[float, ...] | None) -> np.ndarray:
    """Affine of an image without a position: columns to the left, rows to posterior, from the origin."""
    between_rows, between_columns = spacing_mm or (1.0, 1.0)
    return LPS_TO_RAS @ np.diag([between_columns, between_rows, 1.0, 1.0])


def stacked(planes: Sequence[Plane], where: object) -> tuple[np.ndarray, list[int], list[str]]:
    """Affine (4, 4), the order of the planes along the normal, and what was noted; refused where they are no grid."""
    _refuse_mixed(planes, where)
    first = planes[0]
    positions = np.array([p.position_mm for p in planes], float)
    along = positions @ normal(first)
    order = np.argsort(along, kind="stable")
    positions, along = positions[order], along[order]
    gaps = np.diff(along)
    if along[-1] - along[0] < _SAME_PLACE_MM:
        raise UnreadableImage(f"all {len(planes)} slices lie at one position", where=where)
    if gaps.min() < _SAME_PLACE_MM:
        count = int((gaps < _SAME_PLACE_MM).sum())
        raise UnreadableImage(f"{count} slices have the same position as another one", where=where)
    step = (positions[-1] - positions[0]) / (len(planes) - 1)
    _refuse_gaps(gaps, where)
    line = positions[0] + np.arange(len(planes))[:, None] * step
    _refuse_drift((positions - line) @ normal(first), gaps, where)
    off = np.abs(positions - line)
    across = off - np.abs((positions - line) @ normal(first))[:, None] * np.abs(normal(first))
    if across.max() > max(_ALIGNED_MM, 0.1 * min(first.spacing_mm or (1.0,))):
        raise UnreadableImage("its slices are shifted against each other by changing amounts", where=where)
    repairs = []
    tilt = np.degrees(np.arccos(np.clip(step @ normal(first) / np.linalg.norm(step), -1, 1)))
    if tilt > _TILT_DEG:
        repairs.append(f"gantry tilt: slices are shifted against each other, the affine sheared by {tilt:.1f} degrees")
    return _affine(in_plane(first, where), step, positions[0]), order.tolist(), repairs


def _refuse_mixed(planes: Sequence[Plane], where: object) -> None:
    first = planes[0]
    if any(p.size != first.size for p in planes):
        sizes = sorted({p.size for p in planes})
        listed = ", ".join(f"{columns} x {rows}" for rows, columns in sizes)
        raise UnreadableImage(f"its slices are of several sizes: {listed}", where=where)
    if any(p.position_mm is None or p.orientation is None for p in planes):
        count = sum(p.position_mm is None or p.orientation is None for p in planes)
        raise UnreadableImage(f"{count} of {len(planes)} slices state no position or orientation", where=where)
    if any(p.spacing_mm is None for p in planes):
        raise UnreadableImage("its slices state no pixel spacing that can be read", where=where)
    if not all(same_spacing(p, first) for p in planes):
        raise UnreadableImage("its slices have several pixel spacings", where=where)
    if not all(same_orientation(p, first) for p in planes):
        raise UnreadableImage("its slices are oriented in several ways", where=where)


def same_spacing(a: Plane, b: Plane) -> bool:
    """Equal but for rounding."""
    if a.spacing_mm is None or b.spacing_mm is None or a.spacing_mm == b.spacing_mm:
        return a.spacing_mm == b.spacing_mm
    return all(abs(x - y) <= 1e-4 * y for x, y in zip(a.spacing_mm, b.spacing_mm, strict=True))


def same_orientation(a: Plane, b: Plane) -> bool:
    """Equal but for rounding."""
    if a.orientation is None or b.orientation is None or a.orientation == b.orientation:
        return a.orientation == b.orientation
    return all(abs(x - y) <= 1e-3 for x, y in zip(a.orientation, b.orientation, strict=True))


def _refuse_gaps(gaps: np.ndarray, where: object) -> None:
    usual = float(np.median(gaps))
    wrong = np.abs(gaps - usual) > max(_GAP_TOLERANCE * usual, 2 * _ROUNDING_MM)
    drift = abs(float(gaps.mean()) - usual) * len(gaps)
    if not wrong.any() and drift <= max(0.5 * usual, _ROUNDING_MM):
        return
    whole = gaps / gaps.min()
    missing = np.rint(whole) - 1
    if wrong.any() and missing.any() and np.abs(whole - np.rint(whole)).max() <= 2 * _GAP_TOLERANCE * whole.max():
        at = int(np.flatnonzero(missing)[0]) + 1
        raise UnreadableImage(
            f"{int(missing.sum())} slices are missing: the first behind slice {at} of {len(gaps) + 1}", where=where
        )
    raise _uneven(gaps, where)


def _refuse_drift(off_mm: np.ndarray, gaps: np.ndarray, where: object) -> None:
    """Gaps that each differ little from the usual one may add up: no slice may lie far from its place on the grid."""
    if np.abs(off_mm).max() > max(_OFF_STEPS * float(gaps.mean()), 2 * _ROUNDING_MM):
        raise _uneven(gaps, where)


def _uneven(gaps: np.ndarray, where: object) -> UnreadableImage:
    low, high = gaps.min(), gaps.max()
    return UnreadableImage(f"its slices are unevenly spaced: {low:.2f} to {high:.2f} mm", where=where)


def _affine(steps: np.ndarray, across: np.ndarray, origin: Sequence[float] | np.ndarray | None) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :2], affine[:3, 2], affine[:3, 3] = steps, across, np.asarray(origin, float)
    return LPS_TO_RAS @ affine
