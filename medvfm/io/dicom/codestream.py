"""Headers of JPEG, JPEG-LS and JPEG 2000 codestreams, read before any decoder gets them.

Decoders take memory on the codestream's word and fill what a cut one lacks with grey: both are refused here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from medvfm.core.errors import UnreadableImage

_SOF = frozenset((*range(0xC0, 0xD0), 0xF7)) - {0xC4, 0xC8, 0xCC}  # ITU-T T.81, B.1.1.3; T.87 for F7
_TABLES = frozenset((0xC4, 0xDB, 0xDD))  # Huffman and quantisation tables, restart interval
_UNTRANSFORMED = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0"
_ALONE = frozenset((0x01, *range(0xD0, 0xD9)))
_J2K_START = b"\xff\x4f\xff\x51"


@dataclass(frozen=True)
class Codestream:
    """Size and sample type; `ids`, `jfif` and `transform` (Adobe's) give the colour space of a JPEG.

    transform  of JPEG 2000: 0 where its components are stored without a colour transform
    kind  the mark of the JPEG's frame: its process
    bare  the JPEG without application segments, marked as RGB where it has colour: decoded, it gives the samples as
          they are stored. What other applications wrote cannot lead a decoder astray
    """

    rows: int
    columns: int
    samples: int
    precision: int
    signed: bool = False
    ids: tuple[int, ...] = ()
    jfif: bool = False
    transform: int | None = None
    kind: int = 0
    bare: bytes = b""


def jpeg(data: bytes) -> Codestream:
    """Of JPEG and JPEG-LS: ITU-T T.81, B.2.2."""
    frame, bare, jfif, transform = b"", [b"\xff\xd8"], False, None
    for mark, at, end in segments(data):
        body = data[at + 4 : end]
        if mark == 0xE0 and body.startswith(b"JFIF"):
            jfif = True
        elif mark == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
            transform = body[11]
        elif mark in _SOF:
            frame, kind = body, mark
        if mark in _TABLES or mark in _SOF:
            bare.append(data[at:end])
        if mark == 0xDA:
            if len(frame) < 9 or len(frame) != 6 + 3 * frame[5] or data.rfind(b"\xff\xd9") <= at:
                break
            precision, rows, columns, samples = struct.unpack_from(">BHHB", frame)
            if samples == 3:
                bare.insert(1, _UNTRANSFORMED)
            ids = tuple(frame[6::3])
            whole = b"".join((*bare, data[at:]))
            return Codestream(rows, columns, samples, precision, False, ids, jfif, transform, kind, whole)
    raise UnreadableImage("a compressed frame is truncated or damaged: its end marker is missing")


def without_zeros_at_end(data: bytes) -> bytes:
    """The codestream without zero bytes right before its end mark (and what lies behind it), where there are any."""
    end = data.rfind(b"\xff\xd9")
    body = data[:end].rstrip(b"\0") if end > 0 else b""
    return body + b"\xff\xd9" if end > 0 and len(body) < end else data


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Mark, start and end of each segment up to the first scan."""
    if data[:2] != b"\xff\xd8":
        raise UnreadableImage("a compressed frame is damaged: it is no JPEG")
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        mark = data[at + 1]
        if mark == 0xFF or mark in _ALONE:
            at += 1 if mark == 0xFF else 2
            continue
        end = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
        if end > len(data) or end < at + 4:
            return
        yield mark, at, end
        at = end


def jpeg2000(data: bytes) -> Codestream:
    """JPEG 2000 and HTJ2K (ISO/IEC 15444-1, A.5.1): tile parts have their declared length, an end marker is present."""
    start = data.find(_J2K_START, 0, 4096)
    if start < 0 or start + 42 > len(data):
        raise UnreadableImage("a compressed frame is damaged: it is no JPEG 2000")
    length, _, x, y, x0, y0 = struct.unpack_from(">HHLLLL", data, start + 4)
    (samples,) = struct.unpack_from(">H", data, start + 40)
    depths = data[start + 42 : start + 42 + 3 * samples : 3]
    if len(depths) != samples or not samples or len(set(depths)) > 1:
        raise UnreadableImage("a compressed frame is damaged: its samples differ in depth")
    transform = _check_tiles(data, start + 4 + length)
    signed = bool(depths[0] & 0x80)
    return Codestream(y - y0, x - x0, samples, (depths[0] & 0x7F) + 1, signed=signed, transform=transform)


def _check_tiles(data: bytes, at: int) -> int | None:
    """The multiple component transform of the coding style (A.6.1), None where no style is stated."""
    transform = None
    cut = UnreadableImage("a compressed frame is truncated or damaged: its end marker is missing")
    while at + 12 <= len(data) and data[at : at + 2] not in (b"\xff\x90", b"\xff\xd9"):
        if data[at : at + 2] == b"\xff\x52":
            transform = data[at + 8]
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    while data[at : at + 2] == b"\xff\x90":
        if at + 12 > len(data):
            raise cut
        length = struct.unpack_from(">L", data, at + 6)[0]
        at = data.rfind(b"\xff\xd9") if length == 0 else at + length
    if at < 0 or not data[at:].lstrip(b"\0").startswith(b"\xff\xd9"):  # some encoders pad before the end mark
        raise cut
    return transform
