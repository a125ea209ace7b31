"""Axial slices of a simulated scan, each with what is seen in that very slice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from medvfm.core import geometry
from medvfm.io.virtual_brain.scanner import Scan

VISIBLE_MM2 = 20.0  # of lesion in a slice: a disc of 5 mm, below which a reader takes it for noise
AXES = "LPS"  # columns to the patient's left, rows to the back: as a radiologist looks at an axial slice
# Median area in mm2 of the lateral ventricles in each slice within SPAN, by scanner: the first slice, counted from the
# foot, and its area and those above. From the first 240 patients of seed 20261129, each on all three, so that no
# scanner has the older ones. Scanners differ in thickness and tilt, and the area that is seen with them; between
# slices it changes too fast to be interpolated.
_MEDIAN_MM2: dict[str, tuple[int, tuple[float, ...]]] = {
    "A": (13, (518, 645, 758, 870, 817, 309)),
    "B": (36, (499, 557, 613, 654, 683, 723, 755, 838, 910, 952, 925, 781, 683, 538, 341)),
    "C": (11, (315, 411, 606, 806, 858, 240)),
}


@dataclass(frozen=True, eq=False)
class AxialSlice:
    """One slice of a scan, turned to AXES: columns, rows, 1.

    level         its place among the slices of the patient, from 1, the lowest
    index         its place in the whole scan, from the foot, from 0
    stored        (i, j, 1) uint16; tissues and lesions (i, j, 1) uint8 truth
    affine        (4, 4) voxel index to RAS+ mm; the third edge of a voxel is the slice's thickness
    thickness_mm  as acquired; where the scanner's own slices lie otherwise, the voxel's edge
    lesion_mm2, ventricles_mm2  area in this slice
    """

    level: int
    index: int
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
            stored=of["stored"],
            tissues=of["tissues"],
            lesions=of["lesions"],
            affine=own,
            thickness_mm=thickness,
            lesion_mm2=float(of["lesions"].sum() * spacing[0] * spacing[1]),
            ventricles_mm2=float(of["ventricles"].sum() * spacing[0] * spacing[1]),
        )


def median_mm2(scanner: str, index: int) -> float:
    """The usual area of the lateral ventricles in a slice of a scanner: a constant, of no cohort."""
    first, areas = _MEDIAN_MM2[scanner]
    return areas[index - first]
