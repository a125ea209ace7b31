"""What a 3D encoder expects of a volume, and the tiles that a volume is cut into."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from torch.nn import functional

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class VolumeContract:
    """A volume becomes model input in this order: orientation, spacing, crop to the body, intensities, tiles.

    orientation    where the three axes point, as `SPL`
    spacing_mm     distances along these axes
    range          the values that become 0 and 1; what lies beyond is cut off
    unit           of these values; images in another unit need a window of the recipe
    body_above     the volume is cut to the box around voxels above this value; None: it is not cut
    tile_vox       what the model sees at a time; smaller volumes are padded with 0
    origin         where these values were read
    """

    orientation: str
    spacing_mm: tuple[float, float, float]
    range: tuple[float, float]
    unit: str
    body_above: float | None
    tile_vox: tuple[int, int, int]
    origin: str = ""

    def as_record(self) -> dict[str, Any]:
        """Plain lists, numbers and strings, for run.json and for cache keys."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    def lines(self) -> list[str]:
        """For `medvfm contract`."""
        low, high = self.range
        body = "not cropped" if self.body_above is None else f"cropped to the box of voxels above {self.body_above:g}"
        return [
            f"  orientation   {self.orientation}: where the first, second and third axis point",
            f"  spacing       {' x '.join(f'{mm:g}' for mm in self.spacing_mm)} mm along these axes",
            f"  intensities   {low:g} to {high:g} {self.unit} become 0 to 1, after the volume is {body}",
            f"  size          any, read in tiles of {' x '.join(map(str, self.tile_vox))} voxels",
            f"  read from     {self.origin}",
        ]


def body_box(voxels: np.ndarray, above: float | None) -> Box:
    """The box around voxels (i, j, k) above a value; everything where there is none."""
    if above is None or not (inside := voxels > above).any():
        return slice(None), slice(None), slice(None)
    found = []
    for axis in range(3):
        filled = np.flatnonzero(inside.any(axis=tuple(other for other in range(3) if other != axis)))
        found.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return found[0], found[1], found[2]


def tile_starts(length: int, side: int) -> list[int]:
    """First voxels of the fewest tiles that cover a length, at even distances; the last ends where the volume ends."""
    count = max(1, math.ceil(length / side))
    return [round(step * (length - side) / (count - 1)) for step in range(count)] if count > 1 else [0]


def tiles(volume: torch.Tensor, side_vox: Sequence[int]) -> torch.Tensor:
    """(N, 1, *side_vox) of a volume (i, j, k), padded with zeros at the ends where it is smaller."""
    lacking = [max(0, side - have) for side, have in zip(side_vox, volume.shape, strict=True)]
    padded = functional.pad(volume, [part for lack in reversed(lacking) for part in (lack // 2, lack - lack // 2)])
    starts = [tile_starts(have, side) for have, side in zip(padded.shape, side_vox, strict=True)]
    cut = [
        padded[tuple(slice(first, first + side) for first, side in zip(place, side_vox, strict=True))]
        for place in product(*starts)
    ]
    return torch.stack(cut)[:, None]
