"""Positions of the frames of a multi-frame file: functional groups, dose grids, tomographic NM (PS3.3, C.7.6.16)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from medvfm.core.errors import UnreadableImage
from medvfm.io.dicom import rescale
from medvfm.io.dicom.geometry import Plane, normal, numbers_or_none, pixel_spacing
from medvfm.io.dicom.header import DataSet, Header
from medvfm.io.dicom.header_facts import clock_seconds, plane_of
from medvfm.io.dicom.pixel_format import PixelFormat

_DAY_S = 86_400.0
_COUNTS = (("temporal_position", "TemporalPositionIndex"), ("acquisition", "FrameAcquisitionNumber"))
_MOMENTS = (("acquisition_time", "FrameAcquisitionDateTime"), ("content_time", "FrameReferenceDateTime"))


def planes(header: Header, form: PixelFormat) -> list[Plane] | None:
    """The plane of each frame; None where frames are moments or views, which have no place along a third axis."""
    if "PerFrameFunctionalGroupsSequence" in header:
        found = _grouped_planes(header, form)
        if any(p.is_placed for p in found) or header.text("Modality") in ("CT", "MR", "PT"):
            return found
        return None
    if header.text("Modality") == "RTDOSE":
        return _dose_planes(header, form)
    if header.text("Modality") in ("NM", "PT") and "DetectorInformationSequence" in header:
        return _tomographic_planes(header, form)
    if form.frames > 1 and header.text("Modality") in ("CT", "MR", "PT"):  # to be refused: slices without a place
        return [Plane(n, (form.rows, form.columns)) for n in range(form.frames)]
    return None


def scales(header: Header, form: PixelFormat, repairs: list[str]) -> list[tuple[float, float]] | None:
    """Slope and intercept of each frame, None where the header's own hold for all."""
    if header.text("Modality") == "RTDOSE":
        scaling = header.number("DoseGridScaling")
        if not scaling or scaling < 0:
            raise UnreadableImage("a dose without a scaling", where=header.path)
        return [(scaling, 0.0)] * form.frames
    if "PerFrameFunctionalGroupsSequence" not in header:
        return None
    shared, frames = _groups(header, form)
    sequence = "PixelValueTransformationSequence"
    found = [_group(frame, shared, sequence) for frame in frames]
    if all(f is None for f in found):
        return None
    if any(f is None for f in found):
        raise UnreadableImage("some of its frames state a rescale, and some none", where=header.path)
    modality = header.text("Modality")
    return [rescale.rescale(f, modality, repairs) for f in found if f is not None]


def shown(header: Header, form: PixelFormat) -> DataSet | None:
    """Where the windows of the first frame are."""
    if "PerFrameFunctionalGroupsSequence" not in header:
        return None
    shared, frames = _groups(header, form)
    return _group(frames[0], shared, "FrameVOILUTSequence")


def _groups(header: Header, form: PixelFormat) -> tuple[DataSet | None, list[DataSet]]:
    frames = header.items("PerFrameFunctionalGroupsSequence")
    if len(frames) != form.frames:
        what = f"{form.frames} frames, and {len(frames)} descriptions of frames"
        raise UnreadableImage(what, where=header.path)
    return header.item("SharedFunctionalGroupsSequence"), frames


def _group(frame: DataSet, shared: DataSet | None, sequence: str) -> DataSet | None:
    """An item of a frame's own groups, or of those that all frames share."""
    own = frame.item(sequence)
    return own if own is not None or shared is None else shared.item(sequence)


def _grouped_planes(header: Header, form: PixelFormat) -> list[Plane]:
    shared, frames = _groups(header, form)
    common: dict[str, DataSet | None] = {}

    def group(frame: DataSet, sequence: str) -> DataSet | None:
        own = frame.item(sequence)
        if own is None and sequence not in common:
            common[sequence] = None if shared is None else shared.item(sequence)
        return own if own is not None else common[sequence]

    found = []
    for number, frame in enumerate(frames):
        position, across = group(frame, "PlanePositionSequence"), group(frame, "PlaneOrientationSequence")
        measures = group(frame, "PixelMeasuresSequence")
        thickness = None if measures is None else numbers_or_none(measures, "SliceThickness", 1)
        found.append(
            Plane(
                number,
                (form.rows, form.columns),
                None if position is None else numbers_or_none(position, "ImagePositionPatient", 3),
                None if across is None else numbers_or_none(across, "ImageOrientationPatient", 6),
                None if measures is None else pixel_spacing(measures),
                thickness[0] if thickness else None,
                header.text("FrameOfReferenceUID"),
                _frame_attributes(frame, group),
            )
        )
    return found


def _frame_attributes(frame: DataSet, group: Callable[[DataSet, str], DataSet | None]) -> dict[str, object]:
    found: dict[str, object] = {}
    if (content := group(frame, "FrameContentSequence")) is not None:
        found["stack"] = content.text("StackID")
        for name, keyword in _COUNTS:
            if values := numbers_or_none(content, keyword, 1):
                found[name] = values[0]
        for name, keyword in _MOMENTS:
            if (moment := _moment(content.text(keyword))) is not None:
                found[name] = moment
    for name, sequence, keyword in (
        ("echo_time", "MREchoSequence", "EffectiveEchoTime"),
        ("b_value", "MRDiffusionSequence", "DiffusionBValue"),
        ("trigger_time", "CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    ):
        item = group(frame, sequence)
        if item is not None and (values := numbers_or_none(item, keyword, 1)):
            found[name] = values[0]
    diffusion = group(frame, "MRDiffusionSequence")
    direction = diffusion.item("DiffusionGradientDirectionSequence") if diffusion is not None else None
    if direction is not None:
        found["gradient"] = numbers_or_none(direction, "DiffusionGradientOrientation", 3)
    for sequence in ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence"):
        if (kind := group(frame, sequence)) is not None:
            found["image_type"] = "\\".join(kind.texts("FrameType"))
    return found


def _moment(text: str) -> float | None:
    """Of a DICOM date and time, seconds since an arbitrary day."""
    seconds = clock_seconds(text[8:].split("+")[0].split("-")[0]) if len(text) > 8 else None
    return None if seconds is None or not text[:8].isdigit() else int(text[:8]) * _DAY_S + seconds


def _dose_planes(header: Header, form: PixelFormat) -> list[Plane]:
    """PS3.3, C.8.8.3.2: offsets from the position along the normal, or patient z coordinates if the first is not 0."""
    first = plane_of(header, form)
    if not first.is_placed or form.frames == 1:
        return [first] * form.frames
    offsets = numbers_or_none(header, "GridFrameOffsetVector", form.frames)
    if offsets is None:
        raise UnreadableImage("a dose grid without an offset for each of its frames", where=header.path)
    assert first.position_mm is not None
    across = normal(first)
    if offsets[0] != 0:
        if abs(abs(across[2]) - 1) > 1e-3:
            raise UnreadableImage("a dose grid with z coordinates that is not axial", where=header.path)
        offsets = tuple((z - first.position_mm[2]) * across[2] for z in offsets)
    return _along(first, offsets)


def _tomographic_planes(header: Header, form: PixelFormat) -> list[Plane] | None:
    """PS3.3, C.8.4.11: the first slice's place, and the distance of the others, of reconstructed tomography."""
    detector = header.item("DetectorInformationSequence")
    step = numbers_or_none(header, "SpacingBetweenSlices", 1)
    if detector is None or not step or "RECON TOMO" not in header.texts("ImageType"):
        return None
    first = plane_of(header, form)
    position = numbers_or_none(detector, "ImagePositionPatient", 3)
    across = numbers_or_none(detector, "ImageOrientationPatient", 6)
    first = Plane(0, first.size, position, across, first.spacing_mm, first.thickness_mm, first.frame_of_reference)
    numbers = numbers_or_none(header, "SliceVector", form.frames)
    if not first.is_placed or numbers is None:
        return None
    return _along(first, [(n - 1) * step[0] for n in numbers])


def _along(first: Plane, offsets_mm: Sequence[float]) -> list[Plane]:
    across, origin = normal(first), np.array(first.position_mm)
    return [
        Plane(
            n,
            first.size,
            tuple((origin + offset * across).tolist()),
            first.orientation,
            first.spacing_mm,
            first.thickness_mm,
            first.frame_of_reference,
        )
        for n, offset in enumerate(offsets_mm)
    ]
