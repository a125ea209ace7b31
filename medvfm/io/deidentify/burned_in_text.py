"""Burned-in text: where to expect it in the pixels, and blanking of the regions that a header or a rule names."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from medvfm.core import yaml_source
from medvfm.core.errors import DataError, nearest

_MODALITIES = frozenset(("US", "IVUS", "SC", "OT", "ES", "XC", "GM", "DOC", "OP", "SM", "BI"))
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_PHOTOGRAPHY = "1.2.840.10008.5.1.4.1.1.77.1."  # endoscopy, microscopy, photographs, videos
_SCREENS = frozenset(("SCREEN SAVE", "SCREENSHOT", "SCREEN", "DOSE", "DOSE_INFO", "REPORT", "OVERVIEW", "LABEL"))
_EDGES = ("left", "top", "right", "bottom")


class Box(NamedTuple):
    """A rectangle in pixels, `right` and `bottom` not included; columns grow to the right, rows downwards."""

    left: int
    top: int
    right: int
    bottom: int


class Rule(NamedTuple):
    """Images whose header matches, and what to blank in them."""

    match: dict[str, object]
    blank: list[Box]


def read_rules(path: Path) -> list[Rule]:
    """A YAML list of {match: {Keyword: value, ...}, blank: [{left, top, right, bottom}, ...]}."""
    found = yaml_source.read_list(path, DataError)
    return [_rule(entry, f"{path}, rule {n}") for n, entry in enumerate(found, 1)]


def _rule(entry: object, where: str) -> Rule:
    from pydicom.datadict import tag_for_keyword

    if not isinstance(entry, dict) or set(entry) != {"match", "blank"}:
        raise DataError("a rule has the keys match and blank, and no others", where=where)
    match, blank = entry["match"], entry["blank"]
    if not isinstance(match, dict) or not match or not isinstance(blank, list) or not blank:
        raise DataError("match is a table of header values and blank a list of boxes, neither empty", where=where)
    for keyword in match:
        if tag_for_keyword(str(keyword)) is None:
            raise DataError(f"{keyword!r} is no keyword of DICOM", where=where)
    return Rule(match, [_box(box, where) for box in blank])


def _box(box: object, where: str) -> Box:
    if not isinstance(box, dict) or set(box) != set(_EDGES):
        unknown = next((k for k in box if k not in _EDGES), "") if isinstance(box, dict) else box
        raise DataError(f"a box has left, top, right and bottom; {nearest(unknown, _EDGES)}", where=where)
    edges = [box[k] for k in _EDGES]
    if not all(isinstance(e, int) and not isinstance(e, bool) for e in edges):
        raise DataError("the edges of a box are whole numbers of pixels", where=where)
    made = Box(*edges)
    if not (0 <= made.left < made.right and 0 <= made.top < made.bottom):
        raise DataError("a box has 0 <= left < right and 0 <= top < bottom", where=where)
    return made


def risk(dataset: Dataset) -> str | None:
    """Why these pixels may hold text, without any value of the header; None where none is expected."""
    if "Rows" not in dataset:
        return None
    kinds = {str(k).strip().upper() for k in _several(dataset.get("ImageType"))}
    said = str(dataset.get("BurnedInAnnotation") or "").strip().upper()
    if said == "YES":
        return "the header says so"
    sop_class = str(dataset.get("SOPClassUID") or "")
    if sop_class.startswith(_SECONDARY_CAPTURE + ".") or sop_class == _SECONDARY_CAPTURE:
        return "secondary capture"
    if kinds & _SCREENS:
        return "screen, report or label image"
    if said == "NO":
        return None
    if "ConversionType" in dataset:
        return "converted from another medium"
    if sop_class.startswith(_PHOTOGRAPHY) or str(dataset.get("Modality") or "").strip() in _MODALITIES:
        return "a modality that writes text into its pixels"
    return None


def is_label(dataset: Dataset) -> bool:
    """A photograph of a slide's label: nothing but identifying text."""
    return "LABEL" in {str(k).strip().upper() for k in _several(dataset.get("ImageType"))}


def boxes(dataset: Dataset, rules: Iterable[Rule], around: bool = True) -> list[Box]:
    """Boxes to blank: those of the rules that match, and everything outside the ultrasound regions (PS3.3, C.8.5.5)."""
    named = [box for rule in rules if _matches(dataset, rule) for box in rule.blank]
    return named + (_around_regions(dataset) if around else [])


def _matches(dataset: Dataset, rule: Rule) -> bool:
    for keyword, wanted in rule.match.items():
        held = [str(v).strip() for v in _several(dataset.get(keyword))]
        if not set(held) & {str(w) for w in (wanted if isinstance(wanted, list) else [wanted])}:
            return False
    return True


def _around_regions(dataset: Dataset) -> list[Box]:
    """The image without the smallest rectangle that holds every ultrasound region."""
    regions = dataset.get("SequenceOfUltrasoundRegions") or []
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    try:
        edges = np.array(
            [
                [r.RegionLocationMinX0, r.RegionLocationMinY0, r.RegionLocationMaxX1, r.RegionLocationMaxY1]
                for r in regions
            ]
        ).reshape(-1, 4)
    except (AttributeError, TypeError, ValueError):
        return []
    if not len(edges):
        return []
    left, top = np.maximum(edges[:, :2].min(axis=0), 0)
    right, bottom = np.minimum(edges[:, 2:].max(axis=0) + 1, (columns, rows))
    if left >= right or top >= bottom:
        return []
    around = [
        Box(0, 0, columns, int(top)),
        Box(0, int(bottom), columns, rows),
        Box(0, int(top), int(left), int(bottom)),
        Box(int(right), int(top), columns, int(bottom)),
    ]
    return [box for box in around if box.left < box.right and box.top < box.bottom]


def blank(dataset: Dataset, where: Iterable[Box]) -> None:
    """Paint the boxes black in every frame, in place; compressed pixels are stored without compression afterwards.

    Raises whatever the decoder raises: then the image cannot be made safe.
    """
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        dataset.decompress(generate_instance_uid=False)
    if str(dataset.PhotometricInterpretation).startswith("YBR") and dataset.PhotometricInterpretation != "YBR_FULL":
        raise ValueError("subsampled colours")
    if dataset.BitsAllocated not in (8, 16, 32):
        raise ValueError("packed bits")
    samples, frames = int(dataset.SamplesPerPixel), int(dataset.get("NumberOfFrames") or 1)
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    big = not dataset.original_encoding[1]
    dtype = np.dtype(f"{'>' if big else '<'}u{dataset.BitsAllocated // 8}")
    planes = samples > 1 and int(dataset.get("PlanarConfiguration") or 0) == 1
    shape = (frames, samples, rows, columns) if planes else (frames, rows, columns, samples)
    count = int(np.prod(shape))
    raw = bytearray(dataset.PixelData)
    pixels = np.frombuffer(raw, dtype, count).reshape(shape)
    if not planes:
        pixels = pixels.transpose(0, 3, 1, 2)
    black = _black(dataset, samples)
    for box in where:
        pixels[:, :, box.top : box.bottom, box.left : box.right] = black.astype(dtype)[None, :, None, None]
    dataset.PixelData = bytes(raw)


def _black(dataset: Dataset, samples: int) -> np.ndarray:
    """Black for each channel, as stored: (samples,)."""
    bits, signed = int(dataset.BitsStored), bool(dataset.get("PixelRepresentation"))
    if dataset.PhotometricInterpretation == "YBR_FULL":
        return np.array([0, 1 << bits - 1, 1 << bits - 1])
    lowest, highest = (1 << bits - 1, (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    if signed and bits < int(dataset.BitsAllocated):  # the sign fills the bits above
        lowest = (1 << int(dataset.BitsAllocated)) - (1 << bits - 1)
    return np.full(samples, highest if dataset.PhotometricInterpretation == "MONOCHROME1" else lowest, np.int64)


def _several(value: object) -> list[object]:
    if value is None:
        return []
    return list(value) if isinstance(value, MultiValue | list | tuple) else [value]
