"""Stored pixels of a DICOM file as an array: native ones read directly, compressed ones through a decoder."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from medvfm.core.errors import UnreadableImage
from medvfm.io.dicom import codecs, colour
from medvfm.io.dicom.dictionary import BIG_ENDIAN, NATIVE, RLE
from medvfm.io.dicom.header import UNDEFINED, Header
from medvfm.io.dicom.pixel_format import PixelFormat

_ITEM, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE0DD
_END_MARKS = (b"\xff\xd9",)  # JPEG, JPEG-LS and JPEG 2000 end alike


def read_stored(header: Header, form: PixelFormat, *, out: np.ndarray | None = None) -> tuple[np.ndarray, list[str]]:
    """Stored values (frame, row, column), or colour (frame, row, column, 3) as RGB; and the repairs made.

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
        stored, photometric = _compressed(header, form, repairs, out)
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
        what = f"the file ends early: {there:,} bytes of pixels, and its header declares {expected:,}"
        raise UnreadableImage(what, where=header.path)
    surplus = length - expected
    if surplus * form.frames >= expected:
        what = f"it holds {length:,} bytes of pixels, and its header declares {expected:,}"
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
    without_unused_bits(stored, header, form, repairs)
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


def without_unused_bits(stored: np.ndarray, header: Header, form: PixelFormat, repairs: list[str]) -> None:
    """Clear in place what lies outside the stored bits, and extend the sign.

    Overlays of old files lie there. Where the header states none, an unsigned value was too large: that is recorded,
    and in MONOCHROME1, where it would turn from the darkest into the brightest, it becomes the largest that fits.
    """
    if form.floating or form.bits_stored == form.bits_allocated or form.bits_allocated == 1:
        return
    below, above = form.high_bit + 1 - form.bits_stored, form.bits_allocated - 1 - form.high_bit
    if not form.signed and not below:
        most = stored.dtype.type(form.stored_range[1])
        if stored.size and stored.max() > most and not _has_overlay_in_pixels(header):
            nearest = form.photometric == "MONOCHROME1"
            done = "set to the nearest" if nearest else "the bits beyond were left out"
            repairs.append(f"{int((stored > most).sum())} values beyond the {form.bits_stored} bits stored: {done}")
            if nearest:
                np.minimum(stored, most, out=stored)
        stored &= most
        return
    low, high = form.stored_range
    if (
        not below and stored.size and (stored.min() < low or stored.max() > 2 * high + 1)
    ):  # up to there: no sign extended
        beyond = int(((stored < low) | (stored > 2 * high + 1)).sum())
        if not _has_overlay_in_pixels(header):
            repairs.append(f"{beyond} values beyond the {form.bits_stored} bits stored: the bits beyond were left out")
    stored <<= above
    stored >>= above + below


def _has_overlay_in_pixels(header: Header) -> bool:
    """PS3.5, 8.1.2: a group 60xx that names a bit of the pixels, and has no data of its own."""
    groups = [tag >> 16 for tag in header.elements if tag >> 24 == 0x60 and tag & 0xFFFF == 0x0102]
    return any(group << 16 | 0x3000 not in header.elements for group in groups)


def _compressed(
    header: Header, form: PixelFormat, repairs: list[str], out: np.ndarray | None
) -> tuple[np.ndarray, str]:
    choices = codecs.decoders(header.syntax, header.syntax_name, header.path)
    stored = np.empty(form.shape, form.dtype) if out is None else out.reshape(form.shape)
    colours: set[str] = set()
    for number, packed in enumerate(_frames(header, form.frames)):
        try:
            frame, photometric, mended = codecs.decoded(packed, form, choices)
            stored[number] = frame
            colours.add(photometric)
            repairs += [repair for repair in mended if repair not in repairs]
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
        without_unused_bits(stored, header, form, repairs)
    return stored, colours.pop()


def _frames(header: Header, count: int) -> Iterator[bytes]:
    """The compressed bytes of each frame (PS3.5, A.4): `count` of them, or UnreadableImage."""
    fragments, offsets = _fragments(header)
    where = header.path
    if len(fragments) < count:
        what = f"{len(fragments)} compressed fragments, and its header declares {count} frames"
        raise UnreadableImage(what, where=where)
    for group in _grouped(header, fragments, offsets, count):
        yield b"".join(_bytes_at(header, at, length) for at, length in group)


def _fragments(header: Header) -> tuple[list[tuple[int, int]], tuple[int, ...]]:
    """Place and length of every fragment, and the offsets of the basic table (from the first fragment's item on)."""
    pixels = header.pixels
    assert pixels is not None, "pixel_format() has looked"
    (_, at, length), where = pixels[1], header.path
    if length != UNDEFINED:
        raise UnreadableImage(f"its pixels are not packed as {header.syntax_name} should be", where=where)
    found: list[tuple[int, int]] = []
    while True:
        mark = _bytes_at(header, at, 8)
        group, number, length = struct.unpack("<HHL", mark)
        tag = group << 16 | number
        if tag == _SEQUENCE_END:
            break
        if tag != _ITEM or length == UNDEFINED:
            raise UnreadableImage("its compressed frames are damaged", where=where)
        found.append((at + 8, length))
        at += 8 + length
    if not found:
        raise UnreadableImage("it holds no compressed frame", where=where)
    at, length = found[0]
    table = _bytes_at(header, at, length // 4 * 4)
    return found[1:], struct.unpack(f"<{len(table) // 4}L", table)


def _grouped(
    header: Header, fragments: list[tuple[int, int]], offsets: tuple[int, ...], count: int
) -> list[list[tuple[int, int]]]:
    if count == 1:
        return [fragments]
    if len(fragments) == count:
        return [[one] for one in fragments]
    if len(offsets) == count:
        first = fragments[0][0] - 8
        starts = [at - 8 - first for at, _ in fragments]
        places = [starts.index(offset) if offset in starts else -1 for offset in offsets]
        if places[0] == 0 and places == sorted(set(places)):
            return [fragments[a:b] for a, b in zip(places, [*places[1:], len(fragments)], strict=True)]
        raise UnreadableImage("its table of frame offsets is damaged", where=header.path)
    groups: list[list[tuple[int, int]]] = [[]]
    for at, length in fragments:  # without a table: a frame ends where its codestream does
        groups[-1].append((at, length))
        if _bytes_at(header, at + max(0, length - 10), min(length, 10)).rstrip(b"\0").endswith(_END_MARKS):
            groups.append([])
    groups = groups[:-1] if not groups[-1] else groups
    if len(groups) != count:
        what = f"{len(groups)} compressed frames, and its header declares {count}"
        raise UnreadableImage(what, where=header.path)
    return groups


def _bytes_at(header: Header, at: int, length: int) -> bytes:
    size = header.source.size
    if size is not None and at + length > size:
        raise UnreadableImage("the file ends early, inside its compressed frames", where=header.path)
    out = np.empty(length, np.uint8)
    header.source.read_into(at, out)
    return out.tobytes()
