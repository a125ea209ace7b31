"""Identifying content in pixel data: overlays in unused bits, bytes after the end, comments in compressed frames.

The samples of the picture stay as they are; nothing is decoded or compressed anew.
"""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import JPEG2000TransferSyntaxes, JPEGLSTransferSyntaxes, JPEGTransferSyntaxes

from medvfm.io.dicom import codestream

_JPEG = frozenset((*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, *JPEG2000TransferSyntaxes))
_KEPT_STARTS = {0xE0: b"JFIF\0", 0xE2: b"ICC_PROFILE\0", 0xE8: b"", 0xEE: b"Adobe"}  # they say how to show the samples
_COMMENT = 0xFE
_J2K_COMMENT, _J2K_TILE = b"\xff\x64", b"\xff\x90"
_OFFSET_TABLES = (0x7FE00001, 0x7FE00002)


def clean(dataset: Dataset) -> list[str]:
    """Remove identifying content in place; returns short names of what was found."""
    if not dataset.get("PixelData"):
        return []
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is None or not syntax.is_compressed:
        return [*_cut(dataset), *_overlays(dataset)]
    if syntax not in _JPEG:
        return []
    before = list(generate_frames(dataset.PixelData, number_of_frames=int(dataset.get("NumberOfFrames") or 1)))
    after = [_bare(frame) for frame in before]
    if after == before:
        return []
    had_table = dataset.PixelData[4:8] != b"\0\0\0\0"
    dataset.PixelData = encapsulate(after, has_bot=had_table)
    dataset["PixelData"].is_undefined_length = True
    for tag in _OFFSET_TABLES:
        dataset.pop(tag, None)
    return ["comments in compressed frames"]


def _cut(dataset: Dataset) -> list[str]:
    try:
        needed = get_expected_length(dataset)
    except (AttributeError, KeyError, TypeError, ValueError):  # sizes that no reader can use
        return []
    if not isinstance(needed, int):  # of a header whose numbers are text
        return []
    needed += needed % 2
    if len(dataset.PixelData) <= needed:
        return []
    dataset.PixelData = dataset.PixelData[:needed]
    return ["bytes after the pixels"]


def _overlays(dataset: Dataset) -> list[str]:
    """Bits above or below the stored ones that a retired overlay uses (PS3.5-2004, 8.1.2)."""
    bits, stored = dataset.get("BitsAllocated"), dataset.get("BitsStored")
    high = dataset.get("HighBit")
    if bits not in (8, 16) or not stored or high is None:
        return []
    picture = range(high - stored + 1, high + 1)
    named = [dataset.get((group, 0x0102)) for group in range(0x6000, 0x6100, 2) if (group, 0x3000) not in dataset]
    own = {int(e.value) for e in named if e is not None and not e.is_empty} - set(picture)
    mask = sum(1 << bit for bit in own if 0 <= bit < bits)
    if not mask:
        return []
    big = not dataset.original_encoding[1]
    dtype = np.dtype(f"{'>' if big else '<'}u{bits // 8}")
    whole = len(dataset.PixelData) // dtype.itemsize * dtype.itemsize
    samples = np.frombuffer(dataset.PixelData, dtype, whole // dtype.itemsize) & dtype.type((1 << bits) - 1 - mask)
    dataset.PixelData = samples.astype(dtype).tobytes() + dataset.PixelData[whole:]
    return ["overlays in the pixels"]


def _bare(frame: bytes) -> bytes:
    """By its first bytes and not by the header: files that name the wrong syntax are met."""
    if frame.startswith(b"\xff\xd8"):
        return _jpeg(frame)
    return _jpeg2000(frame) if frame.startswith(b"\xff\x4f\xff\x51") else frame


def _jpeg(data: bytes) -> bytes:
    """ITU-T T.81, B.2.4: comments, and what applications wrote, but for what leads to the colours."""
    kept, start = [data[:2]], None
    for mark, at, end in codestream.segments(data):
        if mark == 0xDA:
            start = at
            break
        told = data[at + 4 : end]
        application = 0xE0 <= mark <= 0xEF
        if mark != _COMMENT and (not application or told.startswith(_KEPT_STARTS.get(mark, b"\0none"))):
            kept.append(data[at:end])
    if start is None:
        return data
    last = data.rfind(b"\xff\xd9")
    changed = b"".join((*kept, data[start : last + 2 if last > start else None]))
    return changed if len(changed.rstrip(b"\0")) < len(data.rstrip(b"\0")) else data


def _jpeg2000(data: bytes) -> bytes:
    """ISO/IEC 15444-1, A.9.2: comments of the main header."""
    at, kept = 2, [data[:2]]
    while data[at : at + 2] != _J2K_TILE:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at : at + 1] != b"\xff" or end <= at + 3 or end >= len(data):
            return data
        if data[at : at + 2] != _J2K_COMMENT:
            kept.append(data[at:end])
        at = end
    return b"".join((*kept, data[at:]))
