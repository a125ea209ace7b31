"""From stored pixels to physical values: modality rescale or lookup table, MONOCHROME1, padding, windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from medvfm.core.errors import UnreadableImage
from medvfm.core.image import Image
from medvfm.io.dicom.header import DataSet, Header
from medvfm.io.dicom.pixel_format import PixelFormat

INVERTED = "MONOCHROME1: values inverted, so that larger is brighter"
NO_RESCALE = "CT without rescale: taken as slope 1 and intercept 0"


@dataclass(frozen=True)
class LookupTable:
    """A lookup table: `values` for the stored values from `first` on; the end entries go on beyond."""

    first: int
    values: np.ndarray
    bits: int

    def __call__(self, stored: np.ndarray) -> np.ndarray:
        index = np.clip(np.floor(stored).astype(np.int64) - self.first, 0, len(self.values) - 1)
        return self.values[index]


def lookup_table(item: DataSet, header: Header) -> LookupTable:
    """Of an item of a Modality or VOI LUT sequence: PS3.3, C.11.1.1.1 and C.11.2.1.1."""
    descriptor = item.numbers("LUTDescriptor")
    raw = item.raw("LUTData")
    if len(descriptor) != 3 or not raw:
        raise UnreadableImage("its lookup table cannot be read", where=header.path)
    count, first, bits = (int(v) for v in descriptor)
    count = (count & 0xFFFF) or 1 << 16
    if header.signed and first >= 1 << 15:
        first -= 1 << 16
    if len(raw) >= 2 * count:
        values = np.frombuffer(raw, item.order + "u2", count).astype(np.uint16)
    elif len(raw) >= count and bits <= 8:
        values = np.frombuffer(raw, np.uint8, count)
    else:
        raise UnreadableImage("its lookup table is shorter than it says", where=header.path)
    return LookupTable(first, values, bits)


def modality_table(header: Header) -> LookupTable | None:
    """The Modality LUT, None where the header has none."""
    item = header.item("ModalityLUTSequence")
    return None if item is None else lookup_table(item, header)


def rescale(data: DataSet, modality: str, repairs: list[str]) -> tuple[float, float]:
    """Slope and intercept of a header or of a frame; 1 and 0 where there are none."""
    slope, intercept = data.number("RescaleSlope"), data.number("RescaleIntercept")
    if slope == 0:
        raise UnreadableImage("its rescale slope is 0", where=data.path)
    if modality == "CT" and (slope is None or intercept is None):
        repairs.append(NO_RESCALE)
    return 1.0 if slope is None else slope, 0.0 if intercept is None else intercept


def inverting(slope: float, intercept: float, stored_range: tuple[int, int]) -> tuple[float, float]:
    """The rescale whose values run the other way over the range that the stored bits can hold."""
    return -slope, slope * sum(stored_range) + intercept


def rescaled(stored: np.ndarray, scales: Sequence[tuple[float, float]], stored_range: tuple[int, int]) -> np.ndarray:
    """Stored (frame, row, column) times slope plus intercept, frame by frame; integers as long as they are exact.

    The array is used again where its type can hold the result. Fractions become float32, computed in float64.
    """
    if all(scale == (1.0, 0.0) for scale in scales):
        return stored
    if stored.dtype.kind == "f" or not all(float(v).is_integer() for scale in scales for v in scale):
        out = np.empty(stored.shape, np.float32)
        for number, (slope, intercept) in enumerate(scales):
            out[number] = stored[number] * np.float64(slope) + intercept
        return out
    ends = [end * slope + intercept for slope, intercept in set(scales) for end in stored_range]
    low, high = min(ends), max(ends)
    signed = low < 0
    if not _fits(low, high, signed, stored.dtype.itemsize):
        low, high = _actual(stored, scales)
    width = next((w for w in (1, 2, 4) if w >= stored.dtype.itemsize and _fits(low, high, signed, w)), None)
    if width is None:
        return np.stack([(f * np.float64(s) + b) for f, (s, b) in zip(stored, scales, strict=True)]).astype(np.float32)
    kind = np.dtype(f"{'i' if signed else 'u'}{max(width, 2 if signed else 1)}")
    if kind.itemsize != stored.dtype.itemsize:
        out = np.empty(stored.shape, kind)
    else:
        out = stored.view(kind)
    for number, (slope, intercept) in enumerate(scales):
        frame = stored[number]
        if slope == 1 and out.dtype.itemsize == stored.dtype.itemsize:
            out[number] += _wrapped(intercept, kind)  # exact: the result fits, so that wrapping around comes right
        else:
            out[number] = frame.astype(np.int64) * int(slope) + int(intercept)
    return out


def is_shift(form: PixelFormat, scales: Sequence[tuple[float, float]]) -> bool:
    """Whether the rescale of 16-bit pixels is a step down by whole numbers, as in nearly every CT."""
    plain = form.dtype.kind in "iu" and form.dtype.itemsize == 2 and form.photometric == "MONOCHROME2"
    return plain and all(slope == 1 and intercept < 0 and intercept.is_integer() for slope, intercept in scales)


def shifted(stored: np.ndarray, intercept: float) -> bool:
    """Add the intercept in place if the sums fit int16, which the array then holds; False, and nothing done, if not.

    What `rescaled` does, for a slice that has just been read: while it is in the cache this costs next to nothing.
    The intercept is negative (`is_shift`), so that only one end of the values has to be looked up.
    """
    least, most = -(1 << 15), (1 << 15) - 1
    if stored.dtype.kind == "u":
        fits = intercept >= least and int(stored.max()) + intercept <= most
    else:
        fits = int(stored.min()) + intercept >= least
    if not fits:
        return False
    values = stored.view(np.int16)
    values += _wrapped(intercept, values.dtype)
    return True


def shifted_back(stored: np.ndarray, intercept: float) -> None:
    """Undo `shifted`: exact, since both wrap around."""
    values = stored.view(np.int16)
    values -= _wrapped(intercept, values.dtype)


def _wrapped(value: float, kind: np.dtype) -> np.ndarray:
    return np.array(int(value) % (1 << (8 * kind.itemsize)), np.uint64).astype(f"u{kind.itemsize}").view(kind)


def _fits(low: float, high: float, signed: bool, width: int) -> bool:
    info = np.iinfo(f"{'i' if signed else 'u'}{width}")
    return bool(info.min <= low and high <= info.max)


def _actual(stored: np.ndarray, scales: Sequence[tuple[float, float]]) -> tuple[float, float]:
    ends = [
        float(end) * slope + intercept
        for frame, (slope, intercept) in zip(stored, scales, strict=True)
        for end in (frame.min(), frame.max())
    ]
    return min(ends), max(ends)


def windows(data: DataSet) -> tuple[tuple[float, float], ...]:
    """(centre, width) of each window that the header suggests; those that are none are left out."""
    try:
        centres, widths = data.numbers("WindowCenter"), data.numbers("WindowWidth")
    except UnreadableImage:
        return ()
    return tuple((c, w) for c, w in zip(centres, widths, strict=False) if w > 0)


def window_range(centre: float, width: float, function: str) -> tuple[float, float]:
    """(low, high) that become black and white: PS3.3, C.11.2.1.2.1 (LINEAR) and C.11.2.1.3.2 (LINEAR_EXACT)."""
    if function == "LINEAR" and width > 1:
        return centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2
    return centre - width / 2, centre + width / 2


def padding(header: Header, form: PixelFormat) -> tuple[float, float] | None:
    """(low, high) of the stored values that mean no pixel (PS3.3, C.7.5.1.1.2), None where none do."""
    try:
        value, limit = header.number("PixelPaddingValue"), header.number("PixelPaddingRangeLimit")
    except UnreadableImage:
        return None
    if value is None or form.samples != 1:
        return None
    ends = sorted(_as_stored(v, form) for v in (value, value if limit is None else limit))
    return ends[0], ends[1]


def _as_stored(value: float, form: PixelFormat) -> float:
    """A negative number that some write as if it were unsigned, or the other way round."""
    half = 1 << (form.bits_allocated - 1)
    if form.signed and value >= half:
        return value - 2 * half
    return value + 2 * half if not form.signed and not form.floating and value < 0 else value


def padding_mask(image: Image) -> np.ndarray:
    """(i, j, k) bool: True where the file says that there is no pixel, by the padding range in the image's header."""
    stated = image.header.get("padding")
    if stated is None:
        return np.zeros(image.shape_vox, bool)
    low, high = cast("tuple[float, float]", stated)
    return (image.voxels >= low) & (image.voxels <= high)


def without_padding(image: Image, value: float | None = None) -> Image:
    """The image with padding set to `value`: without one, -1024 HU in a CT, else the lowest value of the picture."""
    mask = padding_mask(image)
    if not mask.any():
        return image
    if value is None:
        value = -1024.0 if image.unit == "HU" or mask.all() else float(image.voxels[~mask].min())
    voxels = image.voxels.copy()
    voxels[mask] = value
    noted = f"{int(mask.sum()):,} padded voxels set to {value:g}"
    return replace(image, voxels=voxels, repairs=(*image.repairs, noted))


def voi(image: Image) -> np.ndarray:
    """Voxels as the header's VOI lookup table or first window shows them: float32 in [0, 1] (PS3.3, C.11.2).

    A VOI LUT comes before windows, as most viewers have it. Without either, the range of the values.
    """
    values = image.voxels
    table, mirror = image.header.get("voi_lut"), image.header.get("inverted_about")
    if isinstance(table, LookupTable):
        stored = values if not isinstance(mirror, int | float) else mirror - values.astype(np.float64)
        shown = table(stored).astype(np.float32)
        shown /= np.float32((1 << table.bits) - 1)
        return shown if mirror is None else 1 - shown
    stated = image.header.get("windows")
    if not stated:
        low, high = float(values.min()), float(values.max())
        return (values.astype(np.float32) - low) / max(high - low, 1e-12)
    centre, width = cast("tuple[tuple[float, float], ...]", stated)[0]
    function = str(image.header.get("voi_function", "LINEAR"))
    if function == "SIGMOID":
        return (1 / (1 + np.exp(-4 * (values.astype(np.float32) - centre) / width))).astype(np.float32)
    low, high = window_range(centre, width, function)
    return np.clip((values.astype(np.float32) - low) / max(high - low, 1e-12), 0, 1)
