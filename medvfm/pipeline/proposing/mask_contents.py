"""What masks hold: values of a label map, objects that are counted, or bright pixels of a picture."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medvfm.core.errors import UnreadableImage
from medvfm.io.read import read_image
from medvfm.pipeline.proposing.found import Files, unclear

SECONDS = 30.0  # for reading masks
OBJECTS_FROM = 12  # values in one mask, of which no other has as many


@dataclass(frozen=True)
class MaskContents:
    """kind as the card's masks.kind; values without the background; how many masks were read; images' in-plane sides"""

    kind: str
    values: tuple[int, ...]
    read: int
    longest_side: int
    is_volume: bool


def look(files: Files, examples: Sequence[tuple[str, str]]) -> MaskContents:
    """Read masks for up to half a minute, one image, and say what they are."""
    start, values, most, grey, read = time.monotonic(), set[int](), [], False, 0
    shape: tuple[int, ...] = (1, 1, 1)
    for _, mask in examples:
        try:
            image = read_image(files.root / mask)
        except UnreadableImage as broken:
            raise unclear(f"a mask cannot be read: {broken.what}", "mend it or take it out", mask) from broken
        voxels = image.voxels
        if voxels.ndim == 4:
            if (np.ptp(voxels, axis=3) > 0).any():
                raise unclear(
                    "masks are pictures in colours",
                    "write them as grey pictures with a number for each structure",
                    mask,
                )
            grey = True
            voxels = voxels[..., 0]
        found = np.unique(voxels)
        if not (found == np.round(found)).all():
            raise unclear("a mask holds fractions", "write whole numbers, one for each structure", mask)
        values |= {int(v) for v in found if v != 0}
        read += 1
        most.append(int(found.max()) if len(found) else 0)
        shape = voxels.shape
        if time.monotonic() - start > SECONDS:
            break
    flat = shape[2] == 1
    side = int(max(shape[:2])) if flat else int(sorted(shape)[-1])
    bright = flat and values and (values == {255} or grey or (len(values) > OBJECTS_FROM and max(values) == 255))
    if bright:
        return MaskContents("grey", (1,), read, side, not flat)
    if len(values) > OBJECTS_FROM and len(set(most)) > 1 and max(most) >= OBJECTS_FROM:
        return MaskContents("instances", (), read, side, not flat)
    return MaskContents("labels", tuple(sorted(values)), read, side, not flat)
