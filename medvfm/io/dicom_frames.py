"""The compressed frames of a DICOM file, one after the other (PS3.5, A.4)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from medvfm.core.errors import UnreadableImage
from medvfm.io.dicom.header import UNDEFINED, Header

_ITEM, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE0DD
_END_MARKS = (b"\xff\xd9",)  # JPEG, JPEG-LS and JPEG 2000 end alike


def frames(header: Header, count: int) -> Iterator[bytes]:
    """The bytes of each frame: `count` of them, or UnreadableImage."""
    fragments, offsets = _fragments(header)
    where = header.path
    if len(fragments) < count:
        what = f"{len(fragments)} compressed fragments, and its header announces {count} frames"
        raise UnreadableImage(what, where=where)
    for group in _grouped(header, fragments, offsets, count):
        yield b"".join(_read(header, at, length) for at, length in group)


def _fragments(header: Header) -> tuple[list[tuple[int, int]], tuple[int, ...]]:
    """Place and length of every fragment, and the offsets of the basic table (from the first fragment's item on)."""
    pixels = header.pixels
    assert pixels is not None, "pixel_format() has looked"
    (_, at, length), where = pixels[1], header.path
    if length != UNDEFINED:
        raise UnreadableImage(f"its pixels are not packed as {header.syntax_name} should be", where=where)
    found: list[tuple[int, int]] = []
    while True:
        mark = _read(header, at, 8)
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
    table = _read(header, at, length // 4 * 4)
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
        if _read(header, at + max(0, length - 10), min(length, 10)).rstrip(b"\0").endswith(_END_MARKS):
            groups.append([])
    groups = groups[:-1] if not groups[-1] else groups
    if len(groups) != count:
        what = f"{len(groups)} compressed frames, and its header announces {count}"
        raise UnreadableImage(what, where=header.path)
    return groups


def _read(header: Header, at: int, length: int) -> bytes:
    size = header.source.size
    if size is not None and at + length > size:
        raise UnreadableImage("the file ends early, inside its compressed frames", where=header.path)
    out = np.empty(length, np.uint8)
    header.source.read_into(at, out)
    return out.tobytes()
