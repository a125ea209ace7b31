"""Images that a model made for one condition, with what it was asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class MadeImages:
    """The answer of a model that makes images.

    pixels  (N, H, W, C) float32 in [0, 1], C 1 or 3; of volumes (N, S, H, W, C): axial slices from the feet up, rows to
            the back, columns to the left
    asked   the condition in words, as it is shown and written to files; empty without a condition
    seeds   (N,) what each image's noise was drawn from: the same seed and condition give the same image
    how     guidance, steps, ... as files state it
    spacing_mm  of volumes, between slices, rows and columns; None of pictures, which have none
    """

    pixels: np.ndarray
    asked: str
    seeds: tuple[int, ...]
    how: str = ""
    spacing_mm: tuple[float, float, float] | None = None

    def planes(self, channels: int) -> np.ndarray:
        """(N, C, H, W) or (N, C, S, H, W) with 1 channel, the mean of colours, or 3."""
        found = np.moveaxis(self.pixels, -1, 1)
        if found.shape[1] == channels:
            return found
        return found.mean(axis=1, keepdims=True) if channels == 1 else np.repeat(found[:, :1], channels, axis=1)
