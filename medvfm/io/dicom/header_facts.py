"""Acquisition facts from a DICOM header, patient data left out: for the record and for models."""

from __future__ import annotations

from typing import Any

from medvfm.core.errors import UnreadableImage
from medvfm.io.dicom import rescale
from medvfm.io.dicom.dictionary import TAGS
from medvfm.io.dicom.geometry import Plane, numbers_or_none, pixel_spacing
from medvfm.io.dicom.header import DataSet, Header
from medvfm.io.dicom.pixel_format import PixelFormat

PROJECTIONS = ("CR", "DX", "MG", "PX", "IO", "XA", "RF", "RG", "DF")
_KEYS = {
    "modality": "Modality",
    "body_part": "BodyPartExamined",
    "view_position": "ViewPosition",
    "patient_position": "PatientPosition",
    "manufacturer": "Manufacturer",
    "model": "ManufacturerModelName",
    "kernel": "ConvolutionKernel",
    "burned_in": "BurnedInAnnotation",
    "spacing_calibration": "PixelSpacingCalibrationType",
}
_NUMBERS = {
    "kvp": "KVP",
    "slice_thickness_mm": "SliceThickness",
    "gantry_tilt_deg": "GantryDetectorTilt",
    "repetition_time_ms": "RepetitionTime",
    "echo_time_ms": "EchoTime",
}
_UIDS = {
    "study": "StudyInstanceUID",
    "series": "SeriesInstanceUID",
    "frame_of_reference": "FrameOfReferenceUID",
}


def facts(header: Header, form: PixelFormat) -> dict[str, Any]:
    """The header of an Image. `uids` is for matching files and never for a report."""
    found: dict[str, Any] = {"format": "dicom"}
    found |= {key: value for key, keyword in _KEYS.items() if (value := header.text(keyword))}
    for key, keyword in _NUMBERS.items():
        values = numbers_or_none(header, keyword, 1)
        if values is not None:
            found[key] = values[0]
    if side := header.text("ImageLaterality") or header.text("Laterality"):
        found["laterality"] = side
    if kinds := header.texts("ImageType"):
        found["image_type"] = kinds
    if toward := header.texts("PatientOrientation"):
        found["patient_orientation"] = toward
    found["transfer_syntax"] = header.syntax_name
    found["stored_photometric"] = form.photometric
    found["photometric"] = "MONOCHROME2" if form.samples == 1 else "RGB"
    found["bits_stored"] = form.bits_stored
    found["uids"] = {key: value for key, keyword in _UIDS.items() if (value := header.text(keyword))}
    return found


def intensity_facts(
    header: DataSet, unit: str, scale: tuple[float, float], inverted_about: float | None, function: str
) -> dict[str, Any]:
    """Windows in the units of the voxels, as (centre, width) and the first as (low, high); the VOI function."""
    shown = rescale.windows(header)
    if inverted_about is not None:  # a window mirrored with its values: PS3.3, C.11.2.1.2.1 keeps half a step
        half_step = 1.0 if function == "LINEAR" else 0.0
        shown = tuple((inverted_about - centre + half_step, width) for centre, width in shown)
    found: dict[str, Any] = {"voi_function": function} if shown else {}
    if shown:
        found["windows"] = shown
        found["window_hu" if unit == "HU" else "window"] = rescale.window_range(*shown[0], function)
    return found


def plane_of(header: Header, form: PixelFormat, number: int = 0) -> Plane:
    """The plane of a single-frame file, as far as its header gives it."""
    return Plane(
        number,
        (form.rows, form.columns),
        position_mm=numbers_or_none(header, "ImagePositionPatient", 3),
        orientation=numbers_or_none(header, "ImageOrientationPatient", 6),
        spacing_mm=pixel_spacing(header),
        thickness_mm=(numbers_or_none(header, "SliceThickness", 1) or (None,))[0],
        frame_of_reference=header.text("FrameOfReferenceUID"),
        attributes=attributes(header),
    )


def attributes(header: DataSet) -> dict[str, object]:
    """Attributes that may distinguish the volumes of a series."""
    found: dict[str, object] = {}
    elements = header.elements
    for name, keyword, tag in _NUMERIC_ATTRIBUTES:
        if tag in elements and (values := _tolerant(header, keyword)):
            found[name] = values[0] if len(values) == 1 else values
    for name, keyword, tag in _CLOCKS:
        if tag in elements and (seconds := clock_seconds(header.text(keyword))) is not None:
            found[name] = seconds
    found["image_type"] = "\\".join(header.texts("ImageType"))
    found["kernel"] = header.text("ConvolutionKernel")
    return found


def _with_tags(pairs: dict[str, str]) -> tuple[tuple[str, str, int], ...]:
    return tuple((name, keyword, TAGS[keyword][0]) for name, keyword in pairs.items())


_NUMERIC_ATTRIBUTES = _with_tags(
    {
        "echo": "EchoNumbers",
        "echo_time": "EchoTime",
        "b_value": "DiffusionBValue",
        "gradient": "DiffusionGradientOrientation",
        "inversion_time": "InversionTime",
        "flip_angle": "FlipAngle",
        "repetition_time": "RepetitionTime",
        "kvp": "KVP",
        "temporal_position": "TemporalPositionIdentifier",
        "acquisition": "AcquisitionNumber",
        "phase_time": "FrameReferenceTime",
        "trigger_time": "TriggerTime",
    }
)
_CLOCKS = _with_tags(
    {"content_time": "ContentTime", "acquisition_time": "AcquisitionTime", "series_time": "SeriesTime"}
)


def _tolerant(header: DataSet, keyword: str) -> tuple[float, ...]:
    try:
        return header.numbers(keyword)
    except UnreadableImage:
        return ()


def clock_seconds(text: str) -> float | None:
    """Of a DICOM time HHMMSS.FFFFFF, seconds since midnight; None where it is none."""
    digits = text.replace(":", "")
    try:
        hours, minutes, seconds = int(digits[:2]), int(digits[2:4] or 0), float(digits[4:] or 0)
    except ValueError:
        return None
    return hours * 3600 + minutes * 60 + seconds
