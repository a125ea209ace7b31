"""Writes label maps as DICOM SEG that references the segmented images (PS3.3, A.51), for a PACS or a viewer.

Only headers of the images are read. What a segmentation takes over from them is built anew and checked, so that a
source without a patient's name, or with a date that is none, still gives a valid object.
"""

from __future__ import annotations

import copy
import importlib.metadata
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medvfm.core.data_card import Code, Label
from medvfm.core.errors import MedvfmError, UnreadableImage
from medvfm.io import read
from medvfm.io.atomic_write import atomic_write
from medvfm.io.dicom import slice_files
from medvfm.io.dicom.dictionary import DICOM_SUFFIXES
from medvfm.io.dicom.header import Header
from medvfm.io.dicom.slice_files import SourceSlices
from medvfm.io.formats import zip_archive
from medvfm.io.rendering import palette

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# where the card names no concept: "Tissue", the neutral one of PS3.16, CID 7150 (3D Slicer's default too)
_UNCODED = Code(value="85756007", meaning="Tissue")
_OTHERS = "write NIfTI (--format nifti) or pictures (--format png) for it"
_SERIES_STEP = 1000  # added to the number of the source's series, so that both do not share one in a worklist
_SERIES_MOST = 2**31 - 1 - _SERIES_STEP  # an IS holds 32 bits
_LONG_STRING = 64  # characters of an LO
_DEFLATED, _PLAIN = b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.1\0\0\0"
_TYPE_2 = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
_TAKEN_OVER = (
    *_TYPE_2, "IssuerOfPatientID", "PatientAge", "PatientSize", "PatientWeight", "PatientIdentityRemoved",
    "DeidentificationMethod", "StudyDescription", "PositionReferenceIndicator", "LossyImageCompression",
    "LossyImageCompressionRatio", "LossyImageCompressionMethod",
)  # fmt: skip
_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")


def write_segmentation(
    labels: np.ndarray,
    series: str | Path,
    names: Mapping[int, Label],
    path: str | Path,
    *,
    model: str,
    version: str = "",
    description: str = "",
    series_uid: str | None = None,
    limit_gib: float = 4.0,
) -> Path:
    """A binary, multi-segment SEG of the study and frame of reference of `series`.

    labels   on the grid that `read_image(series)` has: (i, j, k) whole numbers, 0 for none; or (i, j, k, T) booleans
             that may overlap, layer n for label value n + 1
    series   the folder of one DICOM series, or one DICOM file: slices, frames of an enhanced object, or a picture
             without a place in the patient
    names    label value to name and coded concepts. Segments are numbered 1, 2, ... in the order of the values, as
             PS3.3, C.8.20.2 demands; where that changes a number, the segment's description says the value. A label
             that nothing is labelled with stays a segment without frames, so that numbers mean the same in all files
    model, version, description  what made the labels, its version, and words on the segmentation

    A segment's frames lie in the order in which the source counts its slices (instance or frame numbers; along the
    normal where those say nothing); empty ones are left out. Where nothing at all is labelled there is one empty frame
    a segment, on the first slice.
    """
    series, path = Path(series), Path(path)
    if not series.is_dir() and read.image_kind(series) == "zip":
        with zip_archive.unpacked(series, suffixes=DICOM_SUFFIXES, limit_gib=limit_gib) as inner:
            return write_segmentation(
                labels, inner, names, path, model=model, version=version, description=description,
                series_uid=series_uid, limit_gib=limit_gib,
            )  # fmt: skip
    if not series.is_dir() and read.image_kind(series) != "dicom":
        raise MedvfmError("no DICOM image, which a DICOM SEG has to refer to", where=series, remedy=_OTHERS)
    try:
        slices = slice_files.slices_of(series, series_uid=series_uid, limit_gib=limit_gib)
    except UnreadableImage as error:
        raise MedvfmError(error.what, where=error.where, remedy=error.remedy or _OTHERS) from error
    _refuse_unreferable(slices, series)
    values = sorted(names)
    frames = _numbered(labels, values, slices, series)
    try:
        seg = _segmentation(frames, slices, names, values, model, version, description)
        data = io.BytesIO()
        seg.save_as(data, enforce_file_format=True)
    except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:  # highdicom's and pydicom's refusals
        what = f"its header allows no DICOM SEG ({type(error).__name__})"  # their message may quote the patient
        raise MedvfmError(what, where=series, remedy=_OTHERS) from error
    with atomic_write(path, sync=True) as part:
        part.write_bytes(data.getvalue())
    return path


def _numbered(labels: np.ndarray, values: list[int], slices: SourceSlices, where: Path) -> np.ndarray:
    """(k, j, i) segment numbers, or (k, j, i, T) booleans, checked against grid and names."""
    if labels.shape[:3] != slices.shape_vox or labels.ndim not in (3, 4):
        raise ValueError(f"labels of shape {labels.shape} for slices of {slices.shape_vox}: {where}")
    if not values or values[0] < 1:
        raise ValueError(f"label values {values}: at least one, and all above 0")
    if labels.ndim == 4:
        if values != list(range(1, labels.shape[3] + 1)) or labels.dtype != np.bool_:
            raise ValueError(f"{labels.shape[3]} layers of {labels.dtype} for the label values {values}")
        return labels.transpose(2, 1, 0, 3)
    if labels.dtype.kind not in "iub":
        raise ValueError(f"labels of type {labels.dtype}; whole numbers are needed")
    number_of = np.zeros(values[-1] + 1, np.uint16)
    number_of[values] = np.arange(1, len(values) + 1)
    if unnamed := _unnamed(labels, number_of):
        raise MedvfmError(f"label values without a name: {', '.join(map(str, unnamed[:8]))}", where=where)
    planes = labels.transpose(2, 1, 0)
    if values != list(range(1, len(values) + 1)):
        return np.ascontiguousarray(number_of[planes])
    return np.ascontiguousarray(planes, np.uint8 if labels.dtype == np.bool_ else None)  # twice as fast to write


def _unnamed(labels: np.ndarray, number_of: np.ndarray) -> list[int]:
    """Values above 0 that occur and have no number; slice by slice, since counting takes eight bytes a voxel."""
    ends = {int(labels.min()), int(labels.max())}
    if beyond := sorted(v for v in ends if not 0 <= v < len(number_of)):
        return beyond
    counts = sum(np.bincount(labels[:, :, k].ravel(), minlength=len(number_of)) for k in range(labels.shape[2]))
    return [v for v in np.flatnonzero(counts).tolist() if v and not number_of[v]]


def _refuse_unreferable(slices: SourceSlices, where: Path) -> None:
    if slices.headers[0].text("Modality") == "SEG":
        raise MedvfmError("it is a segmentation itself, and no image", where=where, remedy=_OTHERS)
    for header in slices.headers:
        missing = [keyword for keyword in _NEEDED if not header.text(keyword)]
        if slices.is_placed and not header.text("FrameOfReferenceUID"):
            missing.append("FrameOfReferenceUID")
        if missing:
            what = f"it states no {missing[0]}, and a DICOM SEG has to refer to it"
            raise MedvfmError(what, where=where, remedy=_OTHERS)


def _segmentation(
    frames: np.ndarray,
    slices: SourceSlices,
    names: Mapping[int, Label],
    values: list[int],
    model: str,
    version: str,
    description: str,
) -> Any:
    import highdicom  # imports for a second, and few calls write a segmentation
    from pydicom.uid import generate_uid

    common = _common(slices.headers[0])
    source, numbers = _source_images(slices, common), [plane.number for plane in slices.planes]
    own = importlib.metadata.version("medvfm")
    segments = [_segment(n, value, names[value], model, version or own) for n, value in enumerate(values, 1)]
    placed = slices.is_placed
    keep_empty = not frames.any()
    if slices.is_multiframe:
        frames = frames[np.argsort(numbers)]  # in the order of the file, which highdicom refers to by frame number
    positions = None
    if keep_empty and placed:
        frames, positions = frames[:1], [_position(slices.planes[0].position_mm)]
    counted = slices.headers[0].number("SeriesNumber") or 0
    seg = highdicom.seg.Segmentation(
        source,
        frames,
        highdicom.seg.SegmentationTypeValues.BINARY,
        segments,
        series_instance_uid=generate_uid(prefix=None),
        series_number=_SERIES_STEP + (int(counted) if 0 < counted <= _SERIES_MOST else 1),
        sop_instance_uid=generate_uid(prefix=None),
        instance_number=1,
        manufacturer="medvfm",
        manufacturer_model_name=_long(model),
        software_versions=own,
        device_serial_number=_long(version or own),
        content_label="SEGMENTATION",
        content_description=_long(description) or None,
        series_description=_long(description or f"Segmentation by {model}"),
        specific_character_set="ISO_IR 192",
        omit_empty_frames=not keep_empty,
        plane_positions=positions,
    )
    if "PixelMeasuresSequence" in (shared := seg.SharedFunctionalGroupsSequence[0]):
        _mend_measures(shared, slices)
    if not placed:
        seg.PatientOrientation = list(
            slices.headers[0].texts("PatientOrientation")
        )  # PS3.3, C.7.6.1: 2C without a place
    elif _counts_along_normal(slices):
        _reverse(seg)
    seg.PatientName = common.PatientName
    return seg


def _mend_measures(shared: Dataset, slices: SourceSlices) -> None:
    """An object without spacing has no measures; and slices are as far apart as their positions are."""
    if not shared.PixelMeasuresSequence:
        del shared.PixelMeasuresSequence
    elif slices.step_mm is not None:
        shared.PixelMeasuresSequence[0].SpacingBetweenSlices = _decimal(slices.step_mm)


def _segment(number: int, value: int, label: Label, model: str, version: str) -> Any:
    import highdicom
    from pydicom.sr.codedict import codes

    made = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=_long(label.name),
        segmented_property_category=_concept(label.category),
        segmented_property_type=_concept(label.type),
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=_long(model), version=_long(version), family=codes.DCM.ArtificialIntelligence
        ),
        display_color=highdicom.color.CIELabColor.from_rgb(*palette.label_colour(number)),
    )
    if value != number:
        made.SegmentDescription = f"label value {value}"
    return made


def _concept(code: Code | None) -> Any:
    from highdicom.sr import CodedConcept

    code = code or _UNCODED
    return CodedConcept(code.value, code.scheme, code.meaning)


# the source, as much of it as a segmentation refers to


def _source_images(slices: SourceSlices, common: Dataset) -> list[Dataset]:
    """A small data set for each file, in the order of the slices."""
    found = []
    for n, header in enumerate(slices.headers):
        made = copy.deepcopy(common)
        made.PatientName = ""  # put in at the end: highdicom warns of odd names, and quotes them
        made.SOPClassUID, made.SOPInstanceUID = header.text("SOPClassUID"), header.text("SOPInstanceUID")
        made.SeriesInstanceUID, made.Modality = header.text("SeriesInstanceUID"), header.text("Modality")
        made.Rows, made.Columns = slices.planes[0].size
        if slices.is_placed:
            made.FrameOfReferenceUID = header.text("FrameOfReferenceUID")
            made.ImagePositionPatient = [_decimal(v) for v in slices.planes[n].position_mm or ()]
            made.ImageOrientationPatient = [_decimal(v) for v in slices.planes[0].orientation or ()]
        if (spacing := slices.planes[0].spacing_mm) is not None:
            made.PixelSpacing = [_decimal(v) for v in spacing]
        made.SliceThickness = _decimal(slices.planes[0].thickness_mm or slices.step_mm or 1.0)
        found.append(made)
    _add_groups(found[0], slices)
    return found


def _add_groups(source: Dataset, slices: SourceSlices) -> None:
    """The functional groups that highdicom looks into for objects that may have several frames."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    shared, measures, across = Dataset(), Dataset(), Dataset()
    if "PixelSpacing" in source:
        measures.PixelSpacing, measures.SliceThickness = source.PixelSpacing, source.SliceThickness
    shared.PixelMeasuresSequence = Sequence([measures] if len(measures) else [])
    if slices.is_placed:
        across.ImageOrientationPatient = source.ImageOrientationPatient
        shared.PlaneOrientationSequence = Sequence([across])
    source.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for plane in sorted(slices.planes, key=lambda p: p.number) if slices.is_multiframe else slices.planes[:1]:
        frame = Dataset()
        if slices.is_placed:
            frame.PlanePositionSequence = _position(plane.position_mm)
        frames.append(frame)
    source.PerFrameFunctionalGroupsSequence = Sequence(frames)
    source.NumberOfFrames = len(frames)


def _common(header: Header) -> Dataset:
    """What the patient's and the study's modules take from the source, without values that no standard allows."""
    from pydicom.dataset import Dataset

    whole, made = _parsed(header), Dataset()
    for keyword in _TAKEN_OVER:
        value = _valid(whole, keyword)
        if value is not None or keyword in _TYPE_2:
            setattr(made, keyword, "" if value is None else value)
    if made.PatientSex not in ("M", "F", "O", ""):
        made.PatientSex = ""
    if "PatientIdentityRemoved" in made and "DeidentificationMethod" not in made:
        made.DeidentificationMethod = "as the source states"  # PS3.3, C.7.1.1: required with the former
    made.StudyInstanceUID = header.text("StudyInstanceUID")
    return made


def _parsed(header: Header) -> Dataset:
    """By pydicom, which knows every character set, and from bytes that were read within bounds: up to the pixels."""
    import pydicom

    assert header.pixels is not None, "a volume has pixels"
    at = header.pixels[1][1]
    data = bytes(header.source.data[:at])
    if header.source.is_deflated:  # already inflated there
        data = data.replace(_DEFLATED, _PLAIN, 1)
    return pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, force=True)


def _valid(data: Dataset, keyword: str) -> Any:
    """A value as its representation allows it, else None."""
    import warnings

    from pydicom.config import RAISE
    from pydicom.valuerep import PersonName, validate_value

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, which may quote the value
        try:
            element = data[keyword]
            parts = element.value if element.VM > 1 else [element.value]
            texts = [str(part) for part in parts]
            for text in texts:
                validate_value(element.VR, text, RAISE)
        except (KeyError, ValueError, TypeError, AttributeError, NotImplementedError, UnicodeError):
            return None
    if not any(texts):
        return None
    if element.VR == "PN":
        return PersonName(texts[0])
    return texts if len(texts) > 1 else texts[0]


def _position(position_mm: tuple[float, ...] | None) -> Any:
    from highdicom import PlanePositionSequence

    assert position_mm is not None, "a placed slice has a position"
    return PlanePositionSequence("PATIENT", [_decimal(v) for v in position_mm])


def _decimal(number: float) -> Any:
    from pydicom.valuerep import DSfloat

    return DSfloat(float(number), auto_format=True)


def _long(text: str) -> str:
    return " ".join(text.replace("\\", "/").split())[:_LONG_STRING]


# the order of the frames


def _counts_along_normal(slices: SourceSlices) -> bool:
    """Whether the source counts its slices along their normal; so too where its numbers run neither way."""
    if slices.is_multiframe:
        numbers = [plane.number for plane in slices.planes]
    else:
        numbers = [header.integer("InstanceNumber", 0) for header in slices.headers]
    return not (len(numbers) > 1 and (np.diff(numbers) < 0).all())


def _reverse(seg: Dataset) -> None:
    """The frames of each segment the other way round: highdicom orders them against the normal of their plane."""
    groups = seg.PerFrameFunctionalGroupsSequence
    places = [list(_dimensions(group)) for group in groups]
    most = max(place[-1] for place in places)
    for group, place in zip(groups, places, strict=True):
        group.FrameContentSequence[0].DimensionIndexValues = [*place[:-1], most + 1 - place[-1]]
    order = sorted(range(len(groups)), key=lambda n: list(_dimensions(groups[n])))
    seg.PerFrameFunctionalGroupsSequence = [groups[n] for n in order]
    size = seg.Rows * seg.Columns
    if size % 8 == 0:
        packed = np.frombuffer(seg.PixelData, np.uint8)[: len(groups) * size // 8].reshape(len(groups), -1)[order]
    else:  # PS3.5, 8.1.1: frames follow each other without filling bits
        bits = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), count=len(groups) * size, bitorder="little")
        packed = np.packbits(bits.reshape(len(groups), size)[order].ravel(), bitorder="little")
    data = packed.tobytes()
    seg.PixelData = data + b"\0" * (len(data) % 2)


def _dimensions(group: Dataset) -> Any:
    values = group.FrameContentSequence[0].DimensionIndexValues
    return [values] if isinstance(values, int) else values
