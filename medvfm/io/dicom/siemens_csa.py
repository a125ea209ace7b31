"""Siemens' private image header (0029,1010), "CSA": named lists of short texts.

The layout is published nowhere; this follows nibabel's description of it (doc/source/dicom/siemens_csa.rst). Of the two
versions the later begins with SV10.
"""

from __future__ import annotations

import struct

_MOST_TAGS, _MOST_ITEMS = 1000, 10_000


def values(data: bytes) -> dict[str, tuple[str, ...]]:
    """Name to its texts, those that are empty left out; nothing of what is no such header."""
    try:
        return _values(data)
    except (struct.error, ValueError):
        return {}


def numbers(found: dict[str, tuple[str, ...]], name: str, count: int) -> tuple[float, ...] | None:
    """`count` numbers, None where there are fewer or others."""
    try:
        known = tuple(map(float, found.get(name, ())[:count]))
    except ValueError:
        return None
    return known if len(known) == count else None


def _values(data: bytes) -> dict[str, tuple[str, ...]]:
    later = data.startswith(b"SV10")
    at = 8 if later else 0
    (tags, _), at = struct.unpack_from("<2L", data, at), at + 8
    if not 0 < tags < _MOST_TAGS:
        raise ValueError("no number of tags")
    found: dict[str, tuple[str, ...]] = {}
    first_items: int | None = None
    for _ in range(tags):
        name, _, _, _, items, _ = struct.unpack_from("<64sl4s3l", data, at)
        at += struct.calcsize("<64sl4s3l")
        if not 0 <= items < _MOST_ITEMS:
            raise ValueError("no number of items")
        first_items = items if first_items is None else first_items
        texts = []
        for _ in range(items):
            lengths, at = struct.unpack_from("<4l", data, at), at + 16
            length = lengths[1] if later else lengths[0] - first_items
            if not 0 <= length <= len(data) - at:
                raise ValueError("an item leads out of the header")
            texts.append(_text(data[at : at + length]))
            at += -(-length // 4) * 4
        found[_text(name)] = tuple(text for text in texts if text)
    return found


def _text(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode("latin-1").strip()
