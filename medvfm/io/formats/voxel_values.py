"""Validation of voxel values: finite, and whole numbers in a label map."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from medvfm.core.errors import UnreadableImage
from medvfm.core.image import Image

NAN_RULES = ("refuse", "zero")
_WHOLE_MOST = 2**24 - 1  # beyond it, float32 rounds whole numbers to their neighbours


def finite(voxels: np.ndarray, nan: str, where: object) -> tuple[np.ndarray, tuple[str, ...]]:
    """The voxels, refused where NaN or infinite unless `nan` is `zero`: then those are 0 and counted in the repairs."""
    if nan not in NAN_RULES:
        raise ValueError(f"nan={nan!r}: one of {', '.join(NAN_RULES)}")
    if not np.issubdtype(voxels.dtype, np.floating) or _all_finite(voxels):
        return voxels, ()
    bad = ~np.isfinite(voxels)
    count = int(bad.sum())
    if nan == "refuse":
        raise UnreadableImage(
            f"{count:,} voxels are NaN or infinite", where=where, remedy="mend the file, or read it with nan: zero"
        )
    voxels = voxels if voxels.flags.writeable else voxels.copy()
    voxels[bad] = 0
    return voxels, (f"{count:,} NaN or infinite voxels set to 0",)


def as_label_map(image: Image, values: Collection[int] | None, where: object) -> Image:
    """The image as a label map: one channel of whole numbers, each of them in `values` where that is given.

    Floating point that holds whole numbers becomes integers; colour whose three channels are equal becomes one.
    """
    voxels = image.voxels
    if voxels.ndim == 4:
        voxels = _one_channel(voxels, where)
    if np.issubdtype(voxels.dtype, np.floating):
        voxels = _whole(voxels, where)
    elif voxels.dtype == np.bool_:
        voxels = voxels.astype(np.uint8)
    if values is not None:
        _refuse_strange(voxels, values, where)
    return replace(image, voxels=voxels, unit="label")


def _all_finite(voxels: np.ndarray) -> bool:
    # the extremes carry NaN and infinity on, without a mask as large as the image
    return bool(np.isfinite(voxels.min()) and np.isfinite(voxels.max()))


def _one_channel(voxels: np.ndarray, where: object) -> np.ndarray:
    first = voxels[..., 0]
    if any((voxels[..., c] != first).any() for c in range(1, voxels.shape[3])):
        raise UnreadableImage(
            f"a label map of {voxels.shape[3]} channels that differ",
            where=where,
            remedy="give one channel of whole numbers",
        )
    return first


def _whole(voxels: np.ndarray, where: object) -> np.ndarray:
    if not _all_finite(voxels):
        raise UnreadableImage("a label map with NaN or infinite voxels", where=where)
    low, high = float(voxels.min()), float(voxels.max())
    if max(-low, high) > _WHOLE_MOST:
        what = f"a label map in floating point with values of {low:g} to {high:g}, not all of which it can hold"
        raise UnreadableImage(what, where=where, remedy="save it with whole numbers")
    kind = np.int16 if low >= -(2**15) and high < 2**15 else np.int32
    whole = voxels.astype(kind)
    if not np.array_equal(whole, voxels):
        raise UnreadableImage(
            "a label map whose values are not whole numbers",
            where=where,
            remedy="was it resampled by interpolation, or is it a probability map?",
        )
    return whole


def _refuse_strange(voxels: np.ndarray, values: Collection[int], where: object) -> None:
    present = label_values(voxels)
    strange = sorted(present - {int(v) for v in values})
    if strange:
        listed = ", ".join(map(str, strange[:8])) + (", ..." if len(strange) > 8 else "")
        raise UnreadableImage(
            f"a label map with {len(strange)} values that are not named: {listed}",
            where=where,
            remedy=f"named are {', '.join(map(str, sorted(values)))}",
        )


def label_values(voxels: np.ndarray) -> set[int]:
    """The distinct values of an integer array; counting beats sorting where the range is small."""
    low, high = int(voxels.min()), int(voxels.max())
    if high - low >= 2**16:
        return set(np.unique(voxels).tolist())
    seen = np.zeros(high - low + 1, dtype=bool)
    for k in range(voxels.shape[2]):
        seen[voxels[:, :, k].astype(np.int64) - low] = True
    return set((np.flatnonzero(seen) + low).tolist())
