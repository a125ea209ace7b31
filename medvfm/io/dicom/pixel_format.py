"""The format of stored pixels as a DICOM header gives it, checked before memory is allocated (PS3.3, C.7.6.3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medvfm.core.errors import UnreadableImage
from medvfm.io.dicom.dictionary import DOUBLE_PIXEL_DATA, NATIVE, PIXEL_DATA
from medvfm.io.dicom.header import Header
from medvfm.io.formats import bounded_read

COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT", "YBR_PARTIAL_420", "YBR_PARTIAL_422")
_GREYS = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
_LARGEST = 65535


@dataclass(frozen=True)
class PixelFormat:
    """Format of the stored pixels from the header (PS3.3, C.7.6.3), checked."""

    rows: int
    columns: int
    frames: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    photometric: str
    planar: bool
    floating: bool

    @property
    def dtype(self) -> np.dtype:
        """Of one stored sample in memory; single bits become bytes."""
        if self.floating:
            return np.dtype(np.float32 if self.bits_allocated == 32 else np.float64)
        return np.dtype(f"{'i' if self.signed else 'u'}{max(1, self.bits_allocated // 8)}")

    @property
    def shape(self) -> tuple[int, ...]:
        """(frame, row, column) or (frame, row, column, sample)."""
        grid = (self.frames, self.rows, self.columns)
        return grid if self.samples == 1 else (*grid, self.samples)

    @property
    def count(self) -> int:
        """Samples in all frames."""
        return self.frames * self.rows * self.columns * self.samples

    @property
    def stored_range(self) -> tuple[int, int]:
        """Smallest and largest value that BitsStored can hold."""
        if self.signed:
            return -(1 << (self.bits_stored - 1)), (1 << (self.bits_stored - 1)) - 1
        return 0, (1 << self.bits_stored) - 1

    @property
    def native_bytes(self) -> int:
        """Length of the pixel data where they are not compressed."""
        if self.photometric == "YBR_FULL_422":
            return self.count // 3 * 2 * self.bits_allocated // 8
        return (self.count * self.bits_allocated + 7) // 8


def pixel_format(header: Header, limit_gib: float) -> PixelFormat:
    """The format, refused where it contradicts itself or needs more memory than the limit."""
    where = header.path
    pixels = header.pixels
    if pixels is None:
        kind = header.text("Modality") or "unknown"
        raise UnreadableImage(f"it holds no pixels (modality {kind})", where=where)
    tag, _ = pixels
    if "SOPInstanceUIDOfConcatenationSource" in header:
        raise UnreadableImage("one part of an object that is spread over several files", where=where)
    floating = tag != PIXEL_DATA
    allocated = header.integer("BitsAllocated", (64 if tag == DOUBLE_PIXEL_DATA else 32) if floating else None)
    stored = allocated if floating else header.integer("BitsStored", allocated)
    samples = header.integer("SamplesPerPixel", 1)
    found = PixelFormat(
        rows=header.integer("Rows"),
        columns=header.integer("Columns"),
        frames=header.integer("NumberOfFrames", 1),
        samples=samples,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=header.integer("HighBit", stored - 1),
        signed=not floating and header.signed,
        photometric=header.text("PhotometricInterpretation", "RGB" if samples == 3 else ""),
        planar=header.integer("PlanarConfiguration", 0) == 1,
        floating=floating,
    )
    _check(found, where)
    bounded_read.refuse_larger(found.count * _bytes_held(header, found), limit_gib, where)
    return found


def missing(header: Header, form: PixelFormat) -> str | None:
    """What is missing of native pixels, by lengths alone."""
    pixels, size = header.pixels, header.source.size
    if pixels is None or size is None or header.syntax not in NATIVE:
        return None
    _, at, length = pixels[1]
    if length < form.native_bytes:
        return f"its pixel data have {length:,} bytes, and its header declares {form.native_bytes:,}"
    if at + form.native_bytes > size:
        return f"the file ends early: {max(0, size - at):,} bytes of {form.native_bytes:,} of the pixels are there"
    return None


def _bytes_held(header: Header, form: PixelFormat) -> int:
    """Bytes for each sample at the most: as stored, and beside that what it is turned into."""
    if form.photometric == "PALETTE COLOR":
        return form.dtype.itemsize + 3
    if form.photometric.startswith("YBR"):
        return 2 * form.dtype.itemsize
    fractions = any(
        not value.is_integer() for value in header.numbers("RescaleSlope") + header.numbers("RescaleIntercept")
    )
    return form.dtype.itemsize + (4 if fractions else 0)


def _check(found: PixelFormat, where: object) -> None:
    for name, value in (("Rows", found.rows), ("Columns", found.columns), ("NumberOfFrames", found.frames)):
        if value < 1 or (name != "NumberOfFrames" and value > _LARGEST):
            raise UnreadableImage(f"{name} is {value}", where=where)
    if found.bits_allocated not in ((32, 64) if found.floating else (1, 8, 16, 32)):
        raise UnreadableImage(f"{found.bits_allocated} bits allocated a sample are not read", where=where)
    if not 1 <= found.bits_stored <= found.bits_allocated:
        what = f"{found.bits_stored} bits stored of {found.bits_allocated} allocated"
        raise UnreadableImage(what, where=where)
    if not found.bits_stored - 1 <= found.high_bit < found.bits_allocated:
        what = f"high bit {found.high_bit} with {found.bits_stored} bits stored of {found.bits_allocated}"
        raise UnreadableImage(what, where=where)
    if found.photometric not in (*_GREYS, *COLOURS):
        raise UnreadableImage("its photometric interpretation is missing or unknown", where=where)
    if found.samples != (3 if found.photometric in COLOURS else 1):
        what = f"{found.samples} samples per pixel, and its photometric interpretation is {found.photometric}"
        raise UnreadableImage(what, where=where)
    if found.samples == 3 and (found.bits_allocated == 1 or found.floating or found.signed):
        raise UnreadableImage("colour that is signed, floating or of single bits is not read", where=where)
