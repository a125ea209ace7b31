"""Assembles per-slice object logits into one label map on the image grid."""

from __future__ import annotations

import numpy as np
import torch

from medvfm.core.slice_grid import SliceGrid

ABSENT = -30.0  # the logit of a structure without a prompt in a slice


class MaskAssembler:
    """Collects logits of objects, slices in any order and repeatedly; `result` is (i, j, k), or (i, j, k, T) of bool,
    on the image's grid.

    instances    the object's number where its logit is above 0 and the highest
    semantic     the structure of the highest logit above 0; where the grid was resampled, logits are kept in half
                 precision and compared after resampling to the image's grid
    multi_label  each structure where its logit is above 0
    """

    def __init__(self, grid: SliceGrid, kind: str, classes: int) -> None:
        self._grid, self._kind = grid, kind
        self._whole = kind == "instances" or (kind == "semantic" and not grid.is_resampled)
        if self._whole:
            self._labels = np.zeros(grid.shape, np.int32 if kind == "instances" else np.uint16)
            self._best = np.zeros(grid.shape, np.float16)
        else:
            count = classes + (kind == "semantic")
            self._scores = np.full((count, *grid.shape), ABSENT, np.float16)
            if kind == "semantic":
                self._scores[0] = 0.0

    def add(self, s: int, values: list[int], logits: torch.Tensor) -> None:
        """logits (M, H, W) of all objects of slice `s`; values are their numbers, or structures from 1."""
        if not values:
            return
        if self._whole:
            best, which = logits.clamp(ABSENT, -ABSENT).max(0)
            names = torch.tensor(values, device=logits.device)[which].cpu().numpy()
            height = best.half().cpu().numpy()
            higher = height > self._best[s]
            self._labels[s][higher], self._best[s][higher] = names[higher], height[higher]
            return
        first = 0 if self._kind == "semantic" else 1
        for value, layer in zip(values, logits.clamp(ABSENT, -ABSENT).half().cpu().numpy(), strict=True):
            here = self._scores[value - first, s]
            np.maximum(here, layer, out=here)

    def result(self) -> np.ndarray:
        if self._kind == "multi_label":
            return self._grid.above(self._scores)
        if not self._whole:
            return self._grid.labels_from(self._scores)
        labels = self._grid.to_source(self._labels)
        return labels.astype(np.uint16) if labels.max(initial=0) < 2**16 else labels
