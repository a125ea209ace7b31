"""Run-length encoded masks (RLE), the text that competitions put into tables, decoded once to pictures in the cache."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from medvfm.core.errors import DataError
from medvfm.core.layout import RunLengths
from medvfm.io import cache
from medvfm.io.writers.masks import write_label_png

VERSION = 1  # to be raised when the same text gives another picture


def written(text: str, wanted: RunLengths, where: str) -> Path:
    """Path of the mask as a PNG of 0 and 255, written unless it exists."""
    digest = hashlib.sha256(f"{VERSION}|{wanted.model_dump_json()}|{text}".encode()).hexdigest()[:32]
    file = cache.folder("unpacked") / "run-lengths" / digest[:2] / f"{digest}.png"
    if not file.is_file():
        mask = decoded("" if text in map(str, wanted.nothing) else text, wanted, where)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_label_png(file, mask.T * np.uint8(255))
    return file


def decoded(text: str, wanted: RunLengths, where: str) -> np.ndarray:
    """(row, column) bool; refused where the text is no run lengths or leads out of the picture."""
    height, width = wanted.size_px
    try:
        numbers = np.array([int(word) for word in text.split()], np.int64)
    except (ValueError, OverflowError):
        raise DataError("run lengths that are no whole numbers", where=where) from None
    if len(numbers) % 2:
        raise DataError(f"{len(numbers)} numbers as run lengths: a start without its length", where=where)
    starts, lengths = numbers[::2], numbers[1::2]
    if wanted.start == "relative":
        starts = np.cumsum(starts) + np.cumsum(lengths) - lengths
    else:
        starts = starts - 1
    flat = np.zeros(height * width, bool)
    if len(starts) and (starts.min() < 0 or lengths.min() < 0 or (starts + lengths).max() > len(flat)):
        raise DataError(
            f"run lengths that lead out of a picture of {width} x {height}",
            where=where,
            remedy="size_px of the card's run_lengths is (height, width)",
        )
    for start, length in zip(starts, lengths, strict=True):
        flat[start : start + length] = True
    return flat.reshape(width, height).T if wanted.order == "down" else flat.reshape(height, width)
