"""Images without a position in the patient: radiographs, ultrasound, photographs, and frames over time.

Their spacing is of the patient's plane where it was calibrated, else of the detector, which is flagged: structures
in the patient are smaller than they are projected.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from medvfm.core.geometry import LPS_TO_RAS
from medvfm.io.dicom import geometry
from medvfm.io.dicom.header import Header
from medvfm.io.dicom.header_facts import PROJECTIONS
from medvfm.io.dicom.pixel_format import PixelFormat

AT_DETECTOR = "pixel spacing is at the detector, not in the patient"
_CENTIMETRES = 3  # PS3.3, C.8.5.5.1.15
_TO_MM = 10.0


def flat(
    header: Header, form: PixelFormat, repairs: list[str], *, one_picture: bool = False
) -> tuple[np.ndarray, bool, dict[str, Any]]:
    """Affine, whether its millimetres are stated, and what is to be noted in the header.

    one_picture  the frames are tiles of one picture
    """
    spacing, source = _spacing(header, form)
    extra: dict[str, Any] = {"placed": False}
    if source:
        extra["spacing_source"] = source
    if source == "ImagerPixelSpacing":
        repairs.append(AT_DETECTOR)
    if form.frames > 1 and not one_picture:
        extra["frames"] = "moments or views without a stated distance"
        if spacing is not None:
            extra["pixel_spacing_mm"] = spacing
        return LPS_TO_RAS, False, extra
    return geometry.flat_affine(spacing), spacing is not None, extra


def _spacing(header: Header, form: PixelFormat) -> tuple[tuple[float, ...] | None, str]:
    """Between rows and between columns, and the attribute that says so."""
    if header.text("Modality") in ("US", "IVUS") or "SequenceOfUltrasoundRegions" in header:
        found = _ultrasound(header, form)
        if found is not None:
            return found, "SequenceOfUltrasoundRegions"
    spacing = geometry.pixel_spacing(header)
    detector = geometry.pixel_spacing(header, "ImagerPixelSpacing")
    if spacing is not None:
        uncalibrated = header.text("Modality") in PROJECTIONS and spacing == detector
        if uncalibrated and not header.text("PixelSpacingCalibrationType"):
            return spacing, "ImagerPixelSpacing"
        return spacing, "PixelSpacing"
    if detector is not None:
        return detector, "ImagerPixelSpacing"
    shared = header.item("SharedFunctionalGroupsSequence")
    measures = shared.item("PixelMeasuresSequence") if shared is not None else None
    if measures is not None and (common := geometry.pixel_spacing(measures)) is not None:
        return common, "PixelMeasuresSequence"
    scanned = geometry.pixel_spacing(header, "NominalScannedPixelSpacing")
    return (scanned, "NominalScannedPixelSpacing") if scanned is not None else (None, "")


def _ultrasound(header: Header, form: PixelFormat) -> tuple[float, float] | None:
    """Of the region of tissue: one spacing, if all regions in centimetres agree (PS3.3, C.8.5.5)."""
    found = set()
    for region in header.items("SequenceOfUltrasoundRegions"):
        units = (region.integer("PhysicalUnitsXDirection", 0), region.integer("PhysicalUnitsYDirection", 0))
        x, y = region.number("PhysicalDeltaX"), region.number("PhysicalDeltaY")
        if units == (_CENTIMETRES, _CENTIMETRES) and x and y:
            found.add((round(abs(y) * _TO_MM, 6), round(abs(x) * _TO_MM, 6)))
    return found.pop() if len(found) == 1 else None
