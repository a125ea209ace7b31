"""From stored pixels and planes to an Image: the last step of single files, frames and series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medvfm.core.errors import UnreadableImage
from medvfm.core.image import Image
from medvfm.io.dicom import colour, header_facts, rescale
from medvfm.io.dicom.dictionary import NATIVE, RLE
from medvfm.io.dicom.header import DataSet, Header
from medvfm.io.dicom.pixel_format import PixelFormat


def image_of(
    header: Header,
    form: PixelFormat,
    stored: np.ndarray,
    affine: np.ndarray,
    repairs: list[str],
    *,
    has_spacing: bool = True,
    scales: Sequence[tuple[float, float]] | None = None,
    is_rescaled: bool = False,
    unit: str | None = None,
    instances: Sequence[str] = (),
    shown: DataSet | None = None,
    extra: dict[str, Any] | None = None,
) -> Image:
    """Stored pixels (frame, row, column[, 3]) as an Image (column, row, frame[, 3]).

    scales  slope and intercept of each frame; without them the header's own rescale or lookup table
    is_rescaled  whether that has been done
    unit    of the values; without it as the modality and the header say
    instances  SOP instance UID of each slice, where they are files of their own
    shown   where the windows are, if not in the header
    """
    found = header_facts.facts(header, form)
    found["uids"]["instances"] = tuple(instances) or (header.text("SOPInstanceUID"),)
    if form.samples == 3 or (form.photometric == "PALETTE COLOR" and not _is_supplemental(header)):
        return _colour(header, form, stored, affine, repairs, has_spacing, found | (extra or {}))
    unit = unit or unit_of(header)
    values, mirror, scale = stored, None, (scales or [(1.0, 0.0)])[0]
    if not is_rescaled:
        values, mirror, scale = _measured(header, form, stored, repairs, scales)
    function = (shown or header).text("VOILUTFunction", "LINEAR")
    found |= header_facts.intensity_facts(shown or header, unit, scale, mirror, function)
    if mirror is not None:
        found["inverted_about"] = mirror
    found |= _ends(header, form, scale)
    if item := header.item("VOILUTSequence"):
        found["voi_lut"] = rescale.lookup_table(item, header)
    voxels = values.transpose(2, 1, 0)
    return Image(voxels, affine, unit, has_spacing, tuple(dict.fromkeys(repairs)), found | (extra or {}))


def unit_of(header: Header) -> str:
    """What a value of 1 means after the rescale; nothing in values that are inverted for display."""
    if header.text("PhotometricInterpretation") == "MONOCHROME1":
        return "arbitrary"
    modality, kind = header.text("Modality"), header.text("RescaleType")
    if modality == "RTDOSE":
        return "Gy" if header.text("DoseUnits") == "GY" else "arbitrary"
    if modality == "CT" and kind in ("", "HU") and "LOCALIZER" not in header.texts("ImageType"):
        return "HU"
    if modality == "PT":
        return {"BQML": "Bq/ml", "GML": "SUV"}.get(header.text("Units"), "arbitrary")
    return "arbitrary"


def _is_supplemental(header: Header) -> bool:
    return header.text("PhotometricInterpretation") != "PALETTE COLOR"


def _colour(
    header: Header,
    form: PixelFormat,
    stored: np.ndarray,
    affine: np.ndarray,
    repairs: list[str],
    has_spacing: bool,
    found: dict[str, Any],
) -> Image:
    if form.photometric == "PALETTE COLOR":
        stored = colour.through_palette(stored, header)
    found["photometric"] = "RGB"
    found["value_range"] = (0, 255) if stored.dtype == np.uint8 else (0, (1 << form.bits_stored) - 1)
    unit = "RGB" if stored.dtype == np.uint8 else "arbitrary"
    voxels = stored.transpose(2, 1, 0, 3)
    return Image(voxels, affine, unit, has_spacing, tuple(dict.fromkeys(repairs)), found)


def _measured(
    header: Header,
    form: PixelFormat,
    stored: np.ndarray,
    repairs: list[str],
    scales: Sequence[tuple[float, float]] | None,
) -> tuple[np.ndarray, float | None, tuple[float, float]]:
    """Values, what MONOCHROME1 was mirrored about, and the first frame's slope and intercept (before mirroring)."""
    inverted = form.photometric == "MONOCHROME1" and not form.floating
    if inverted:
        repairs.append(rescale.INVERTED)
    table = rescale.modality_table(header) if scales is None else None
    if table is not None:
        values = table(stored)
        if inverted:
            mirror = int(table.values.min()) + int(table.values.max())
            return (mirror - values.astype(np.int32)).astype(values.dtype), mirror, (1.0, 0.0)
        return values, None, (1.0, 0.0)
    if scales is None:
        scales = [rescale.rescale(header, header.text("Modality"), repairs)] * len(stored)
    slope, intercept = scales[0]
    held = _held_range(header, form, stored)
    if not inverted:
        if held != form.stored_range:
            repairs.append(f"{_beyond(stored, form)} values beyond the {form.bits_stored} bits stored: kept")
        return rescale.rescaled(stored, scales, held), None, scales[0]
    if held != form.stored_range:
        count = _beyond(stored, form)
        repairs.append(f"{count} values beyond the {form.bits_stored} bits stored: set to the nearest, then inverted")
        np.clip(stored, *form.stored_range, out=stored)
    if len(set(scales)) > 1:
        what = "MONOCHROME1 with a rescale that changes from slice to slice: there is no one inversion"
        raise UnreadableImage(what, where=header.path)
    about = slope * sum(form.stored_range) + 2 * intercept
    flipped = [rescale.inverting(s, i, form.stored_range) for s, i in scales]
    return rescale.rescaled(stored, flipped, form.stored_range), about, scales[0]


def _held_range(header: Header, form: PixelFormat, stored: np.ndarray) -> tuple[int, int]:
    """The range that the stored bits can hold, widened where a codestream holds more than the header says.

    Of other pixels the unused bits have been cleared.
    """
    low, high = form.stored_range
    if form.floating or header.syntax in (*NATIVE, RLE) or form.bits_stored == 8 * stored.dtype.itemsize:
        return low, high
    return min(low, int(stored.min())), max(high, int(stored.max()))


def _beyond(stored: np.ndarray, form: PixelFormat) -> int:
    low, high = form.stored_range
    return int(((stored < low) | (stored > high)).sum())


def _ends(header: Header, form: PixelFormat, scale: tuple[float, float]) -> dict[str, Any]:
    """The padding range in the units of the voxels, and the range that 8-bit pixels can have."""
    found: dict[str, Any] = {}
    slope, intercept = scale
    mirror = slope * sum(form.stored_range) + 2 * intercept if form.photometric == "MONOCHROME1" else None
    if "ModalityLUTSequence" not in header:
        if (pad := rescale.padding(header, form)) is not None:
            low, high = form.stored_range
            pad = pad if mirror is None else (min(max(pad[0], low), high), min(max(pad[1], low), high))
            ends = [end * slope + intercept for end in pad]
            ends = ends if mirror is None else [mirror - end for end in ends]
            found["padding"] = (min(ends), max(ends))
        if form.bits_stored <= 8 and not form.floating:
            ends = [end * slope + intercept for end in form.stored_range]
            found["value_range"] = (min(ends), max(ends))
    return found
