"""Colour of DICOM pixels as RGB: YBR spaces and palettes (PS3.3, C.7.6.3.1.2 and C.7.9)."""

from __future__ import annotations

import struct

import numpy as np

from medvfm.core.errors import UnreadableImage
from medvfm.io.dicom.header import Header

# PS3.3, C.7.6.3.1.2: R = Y + 1.402 (Cr - 128) and so on
_RED_CR, _GREEN_CB, _GREEN_CR, _BLUE_CB = 1.402, 0.114 * 1.772 / 0.587, 0.299 * 1.402 / 0.587, 1.772
_ENTRIES_MOST = 1 << 16
_BYTE = 255


def as_rgb(pixels: np.ndarray, photometric: str, bits: int, where: object) -> np.ndarray:
    """(frame, row, column, 3) in `photometric` as RGB; the decoder has undone the transforms of JPEG 2000."""
    if photometric in ("RGB", "YBR_RCT", "YBR_ICT"):
        return pixels
    if photometric not in ("YBR_FULL", "YBR_FULL_422"):
        raise UnreadableImage(f"colour of kind {photometric} is not read", where=where)
    if bits != 8:
        raise UnreadableImage(f"colour of kind {photometric} with {bits} bits is not read", where=where)
    out = np.empty(pixels.shape, np.uint8)
    for number, frame in enumerate(pixels):
        y, cb, cr = (frame[..., c].astype(np.float32) for c in range(3))
        cb -= 128
        cr -= 128
        for c, channel in enumerate((y + _RED_CR * cr, y - _GREEN_CB * cb - _GREEN_CR * cr, y + _BLUE_CB * cb)):
            out[number, ..., c] = np.clip(np.floor(channel + np.float32(0.5)), 0, 255)
    return out


def upsampled_422(raw: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Y Y Cb Cr for two neighbours, as (frame, row, column, 3)."""
    out = np.empty(shape, np.uint8)
    pairs = raw.reshape(-1, 4)
    flat = out.reshape(-1, 2, 3)
    flat[:, :, 0] = pairs[:, :2]
    flat[:, :, 1] = pairs[:, 2:3]
    flat[:, :, 2] = pairs[:, 3:4]
    return out


def palette(header: Header) -> np.ndarray:
    """(entry, 3) uint8 and nothing but colours: the tables of PALETTE COLOR, 16-bit entries by their upper byte.

    Entries that are said to have 16 bits and use 8 throughout are taken as they are: their upper bytes are black.
    """
    table = np.stack([_channel(header, name) for name in ("Red", "Green", "Blue")], axis=1)
    if _descriptor(header, "Red")[2] == 16 and table.max() > _BYTE:
        table = table >> 8
    return table.astype(np.uint8)


def first_entry(header: Header) -> int:
    """The stored value to which the first entry of the palette belongs."""
    return _descriptor(header, "Red")[1]


def through_palette(stored: np.ndarray, header: Header) -> np.ndarray:
    """Stored indices (frame, row, column) as colour (frame, row, column, 3) uint8; beyond the ends the end entry."""
    table = palette(header)
    index = np.clip(stored.astype(np.int32) - first_entry(header), 0, len(table) - 1)
    return table[index]


def _descriptor(header: Header, name: str) -> tuple[int, int, int]:
    values = header.numbers(f"{name}PaletteColorLookupTableDescriptor")
    if len(values) != 3 or values[2] not in (8, 16):
        raise UnreadableImage("PALETTE COLOR without a lookup table that can be read", where=header.path)
    entries, first, bits = (int(v) for v in values)
    if header.signed and first >= 1 << 15:
        first -= 1 << 16
    return entries or _ENTRIES_MOST, first, bits


def _channel(header: Header, name: str) -> np.ndarray:
    entries, _, bits = _descriptor(header, name)
    raw = header.raw(f"{name}PaletteColorLookupTableData")
    if raw:
        if len(raw) >= 2 * entries:
            values = np.frombuffer(raw, header.order + "u2", entries)
        else:
            values = np.frombuffer(raw, np.uint8)[:entries]
    else:
        raw = header.raw(f"Segmented{name}PaletteColorLookupTableData")
        code = f"{header.order}{len(raw) // 2}H" if bits == 16 else f"{len(raw)}B"
        values = np.array(_expanded(struct.unpack_from(code, raw), entries, header.path))
    if len(values) != entries:
        raise UnreadableImage("the lookup table of its palette is too short", where=header.path)
    return values.astype(np.uint16) if bits == 16 else values.astype(np.uint8)


def _expanded(codes: tuple[int, ...], entries: int, where: object) -> list[int]:
    """PS3.3, C.7.9.2: discrete, linear and indirect segments."""
    out: list[int] = []
    at, returns = 0, 0
    pending: list[tuple[int, int]] = []  # where to go on after an indirect segment, and how many it still runs
    while (at < len(codes) or pending) and len(out) <= entries:
        if pending and pending[-1][1] == 0:
            at = pending.pop()[0]
            continue
        if at + 2 > len(codes):
            break
        kind, length = codes[at], codes[at + 1]
        if pending:
            pending[-1] = (pending[-1][0], pending[-1][1] - 1)
        if kind == 0:
            out += codes[at + 2 : at + 2 + length]
            at += 2 + length
        elif kind == 1 and out and at + 2 < len(codes):
            out += np.rint(np.linspace(out[-1], codes[at + 2], length + 1))[1:].astype(int).tolist()
            at += 3
        elif kind == 2 and not pending and at + 3 < len(codes) and returns < entries:
            pending.append((at + 4, length))
            at, returns = codes[at + 2] | codes[at + 3] << 16, returns + 1
        else:
            raise UnreadableImage("the segments of its palette are damaged", where=where)
    return out
