"""Axial slices of a simulated scan, each with what is seen in that very slice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from medvfm.core import geometry
from medvfm.io.virtual_brain.scanner import Scan

VISIBLE_MM2 = 20.0  # of lesion in a slice: a disc of 5 mm, below which a reader takes it for noise
AXES = "LPS"  # columns to the patient's left, rows to the back: as a radiologist looks at an axial slice
# Median area in mm2 of the lateral ventricles in a slice at these shares of the height of a scan, over 480 patients of
# seed 20261129, by scanner: their slices differ in thickness and tilt, and the area that is seen with them.
_HEIGHTS = (0.40, 0.42, 0.44, 0.46, 0.48, 0.50, 0.52, 0.54, 0.56)
_MEDIAN_MM2 = {
    "A": (365, 494, 602, 675, 737, 796, 764, 580, 242),
    "B": (479, 613, 718, 772, 866, 979, 921, 669, 335),
    "C": (340, 398, 503, 616, 744, 845, 849, 743, 399),
}


@dataclass(frozen=True, eq=False)
class AxialSlice:
    """One slice of a scan, turned to AXES: columns, rows, 1.

    level         its place among the slices of the patient, from 1, the lowest
    index         its place in the whole scan, from the foot, from 0
    height        middle of the slice as a share of the height of the scan
    stored        (i, j, 1) uint16; tissues and lesions (i, j, 1) uint8 truth
    affine        (4, 4) voxel index to RAS+ mm; the third edge of a voxel is the slice's thickness
    thickness_mm  as acquired; where the scanner's own slices lie otherwise, the voxel's edge
    lesion_mm2, ventricles_mm2  area in this slice
    """

    level: int
    index: int
    height: float
    stored: np.ndarray
    tissues: np.ndarray
    lesions: np.ndarray
    affine: np.ndarray
    thickness_mm: float
    lesion_mm2: float
    ventricles_mm2: float

    @property
    def shows_lesion(self) -> bool:
        return self.lesion_mm2 >= VISIBLE_MM2


def heights(count: int, span: Sequence[float]) -> list[float]:
    """The middles of `count` equal parts of a span, as `prepare.slices` spreads them."""
    low, high = span
    return [low + (n + 0.5) / count * (high - low) for n in range(count)]


def cut(scan: Scan, wanted: Sequence[float]) -> Iterator[AxialSlice]:
    """The slices of a scan that hold these shares of its height; nothing is interpolated."""
    views = {
        name: geometry.reoriented(getattr(scan, name), scan.affine, AXES)[0]
        for name in ("stored", "tissues", "lesions", "ventricles")
    }
    _, affine = geometry.reoriented(scan.stored, scan.affine, AXES)
    spacing = geometry.spacing_mm(affine)
    is_native = geometry.slice_axis(scan.affine, "axial") == 2
    thickness = scan.scanner.thickness_mm if is_native else spacing[2]
    count = views["stored"].shape[2]
    for level, share in enumerate(wanted, 1):
        k = min(int(share * count), count - 1)
        of = {name: np.ascontiguousarray(view[:, :, k : k + 1]) for name, view in views.items()}
        own = affine.copy()
        own[:3, 3] += affine[:3, 2] * k
        own[:3, 2] *= thickness / spacing[2]  # a slice alone has no gap to the next
        yield AxialSlice(
            level=level,
            index=k,
            height=(k + 0.5) / count,
            stored=of["stored"],
            tissues=of["tissues"],
            lesions=of["lesions"],
            affine=own,
            thickness_mm=thickness,
            lesion_mm2=float(of["lesions"].sum() * spacing[0] * spacing[1]),
            ventricles_mm2=float(of["ventricles"].sum() * spacing[0] * spacing[1]),
        )


def median_mm2(scanner: str, height: float) -> float:
    """The usual area of the lateral ventricles in a slice at a height: a constant of the generator, not of a cohort."""
    return float(np.interp(height, _HEIGHTS, _MEDIAN_MM2[scanner]))
