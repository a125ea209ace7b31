"""What a JPEG, JPEG-LS or JPEG 2000 codestream says of itself, read before any decoder sees it.

Decoders take memory on the codestream's word and fill what a cut one lacks with grey: both are refused here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from medvfm.core.errors import UnreadableImage

_SOF = frozenset((*range(0xC0, 0xD0), 0xF7)) - {0xC4, 0xC8, 0xCC}  # ITU-T T.81, B.1.1.3; T.87 for F7
_ALONE = frozenset((0x01, *range(0xD0, 0xD9)))
_J2K_START = b"\xff\x4f\xff\x51"


@dataclass(frozen=True)
class Codestream:
    """Size and sample type; `ids` and `jfif` tell the colour space of a JPEG."""

    rows: int
    columns: int
    samples: int
    precision: int
    signed: bool = False
    ids: tuple[int, ...] = ()
    jfif: bool = False


def jpeg(data: bytes) -> Codestream:
    """Of JPEG and JPEG-LS: ITU-T T.81, B.2.2."""
    if data[:2] != b"\xff\xd8":
        raise UnreadableImage("a compressed frame is damaged: it is no JPEG")
    at, found, jfif = 2, None, False
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            break
        mark = data[at + 1]
        if mark == 0xFF or mark in _ALONE:
            at += 1 if mark == 0xFF else 2
            continue
        length = struct.unpack_from(">H", data, at + 2)[0]
        if mark == 0xE0 and data[at + 4 : at + 8] == b"JFIF":
            jfif = True
        if mark in _SOF and at + 10 <= len(data):
            precision, rows, columns, samples = struct.unpack_from(">BHHB", data, at + 4)
            ids = tuple(data[at + 10 : at + 10 + 3 * samples : 3])
            found = Codestream(rows, columns, samples, precision, ids=ids)
        if mark == 0xDA:
            if found is None or data.rfind(b"\xff\xd9") <= at:
                break
            return Codestream(found.rows, found.columns, found.samples, found.precision, ids=found.ids, jfif=jfif)
        at += 2 + length
    raise UnreadableImage("a compressed frame is truncated or damaged: its end mark is missing")


def jpeg2000(data: bytes) -> Codestream:
    """Of JPEG 2000 and HTJ2K: ISO/IEC 15444-1, A.5.1; tile parts are as long as they say, and the end mark is there."""
    start = data.find(_J2K_START, 0, 4096)
    if start < 0 or start + 42 > len(data):
        raise UnreadableImage("a compressed frame is damaged: it is no JPEG 2000")
    length, _, x, y, x0, y0 = struct.unpack_from(">HHLLLL", data, start + 4)
    (samples,) = struct.unpack_from(">H", data, start + 40)
    depths = data[start + 42 : start + 42 + 3 * samples : 3]
    if len(depths) != samples or not samples or len(set(depths)) > 1:
        raise UnreadableImage("a compressed frame is damaged: its samples differ in depth")
    _check_tiles(data, start + 4 + length)
    return Codestream(y - y0, x - x0, samples, (depths[0] & 0x7F) + 1, signed=bool(depths[0] & 0x80))


def _check_tiles(data: bytes, at: int) -> None:
    cut = UnreadableImage("a compressed frame is truncated or damaged: its end mark is missing")
    while at + 12 <= len(data) and data[at : at + 2] not in (b"\xff\x90", b"\xff\xd9"):
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    while data[at : at + 2] == b"\xff\x90":
        if at + 12 > len(data):
            raise cut
        length = struct.unpack_from(">L", data, at + 6)[0]
        at = data.rfind(b"\xff\xd9") if length == 0 else at + length
    if at < 0 or data[at : at + 2] != b"\xff\xd9":
        raise cut
