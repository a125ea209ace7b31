"""Stored pixels of a DICOM file as an array: native ones straight from the file, compressed ones through a decoder."""

from __future__ import annotations

import numpy as np

from medvfm.core.errors import UnreadableImage
from medvfm.io import dicom_frames
from medvfm.io.dicom import codecs, colour
from medvfm.io.dicom.dictionary import BIG_ENDIAN, NATIVE, RLE
from medvfm.io.dicom.header import UNDEFINED, Header
from medvfm.io.dicom.pixel_format import PixelFormat


def read_stored(header: Header, form: PixelFormat, *, out: np.ndarray | None = None) -> tuple[np.ndarray, list[str]]:
    """Stored values (frame, row, column), or colour (frame, row, column, 3) as RGB; and what was mended.

    out  a contiguous array of the shape and dtype to read into, for a slice of a volume
    """
    pixels = header.pixels
    assert pixels is not None, "pixel_format() has looked"
    vr, at, length = pixels[1]
    repairs: list[str] = []
    if header.syntax in NATIVE:
        if length == UNDEFINED:
            what = f"its pixels are compressed, and its transfer syntax says {header.syntax_name}"
            raise UnreadableImage(what, where=header.path)
        stored = _native(header, form, at, length, vr, repairs, out)
        photometric = form.photometric
    else:
        stored, photometric = _compressed(header, form, out)
    if form.samples == 3:
        stored = colour.as_rgb(stored, photometric, form.bits_stored, header.path)
    if out is not None:
        whole = out.reshape(form.shape)
        if stored.strides != whole.strides or not np.may_share_memory(stored, whole):
            whole[...] = stored  # planes of colour lie in `out` in another order, converted colour lies elsewhere
    return stored, repairs


def _native(
    header: Header,
    form: PixelFormat,
    at: int,
    length: int,
    vr: bytes | None,
    repairs: list[str],
    out: np.ndarray | None,
) -> np.ndarray:
    expected = form.native_bytes
    size = header.source.size
    if length < expected or (size is not None and size < at + expected):
        there = length if size is None else max(0, min(length, size - at))
        what = f"the file ends early: {there:,} bytes of pixels, and its header announces {expected:,}"
        raise UnreadableImage(what, where=header.path)
    surplus = length - expected
    if surplus * form.frames >= expected:
        what = f"it holds {length:,} bytes of pixels, and its header announces {expected:,}"
        raise UnreadableImage(what, where=header.path)
    if surplus > 1:
        repairs.append(f"{surplus:,} bytes behind the pixels ignored")
    swapped = header.syntax == BIG_ENDIAN and vr == b"OW" and form.bits_allocated <= 8  # bytes lie in words of two
    if form.bits_allocated == 1 or form.photometric == "YBR_FULL_422" or swapped:
        raw = np.empty(expected + expected % 2 * (length > expected), np.uint8)
        header.source.read_into(at, raw)
        if swapped and len(raw) % 2 == 0:
            raw = raw.reshape(-1, 2)[:, ::-1].reshape(-1)
        stored = _unpacked(raw[:expected], form, header.path)
    else:
        stored = np.empty(form.shape, form.dtype) if out is None else out.reshape(form.shape)
        header.source.read_into(at, stored)
        if header.syntax == BIG_ENDIAN:
            stored.byteswap(inplace=True)
    without_unused_bits(stored, form)
    if form.planar and form.samples == 3 and form.photometric != "YBR_FULL_422":
        frames, rows, columns, _ = form.shape
        stored = stored.reshape(frames, 3, rows, columns).transpose(0, 2, 3, 1)
    return stored


def _unpacked(raw: np.ndarray, form: PixelFormat, where: object) -> np.ndarray:
    if form.bits_allocated == 1:
        return np.unpackbits(raw, bitorder="little", count=form.count).reshape(form.shape)
    if form.bits_allocated != 8:
        raise UnreadableImage("subsampled colour of more than 8 bits is not read", where=where)
    if form.photometric == "YBR_FULL_422":
        return colour.upsampled_422(raw, form.shape)
    return raw.view(form.dtype).reshape(form.shape).copy()


def without_unused_bits(stored: np.ndarray, form: PixelFormat) -> None:
    """Clear in place what lies outside the stored bits (overlays, in old files), and extend the sign."""
    if form.floating or form.bits_stored == form.bits_allocated or form.bits_allocated == 1:
        return
    below, above = form.high_bit + 1 - form.bits_stored, form.bits_allocated - 1 - form.high_bit
    if not form.signed and not below:
        stored &= stored.dtype.type((1 << form.bits_stored) - 1)
        return
    stored <<= above
    stored >>= above + below


def _compressed(header: Header, form: PixelFormat, out: np.ndarray | None) -> tuple[np.ndarray, str]:
    decode = codecs.decoder(header.syntax, header.syntax_name, header.path)
    stored = np.empty(form.shape, form.dtype) if out is None else out.reshape(form.shape)
    colours: set[str] = set()
    for number, packed in enumerate(dicom_frames.frames(header, form.frames)):
        try:
            frame, photometric = decode(packed, form)
            stored[number] = frame
            colours.add(photometric)
        except UnreadableImage as error:
            raise UnreadableImage(error.what, where=header.path, remedy=error.remedy) from error
        except Exception as error:  # decoders raise whatever damaged data makes them trip over
            what = f"frame {number + 1} cannot be decoded as {header.syntax_name}: damaged"
            raise UnreadableImage(what, where=header.path) from error
    if len(colours) > 1:
        raise UnreadableImage(
            f"its frames are in several colour spaces: {', '.join(sorted(colours))}", where=header.path
        )
    if header.syntax == RLE:
        without_unused_bits(stored, form)
    return stored, colours.pop()
