"""The Dice that a model expects of its own mask, from its probabilities."""

from __future__ import annotations

import torch
from torch import Tensor


class ExpectedDice:
    """Sums over the slices of a case: 2 sum(p m) / (sum(p) + sum(m)), p the probability of a structure and m the mask
    that is drawn of it. That is the expected intersection beside the expected sizes, voxels taken as independent.

    exclusive  channel 0 is the background, and the mask is the highest channel; else each channel is a structure of its
               own, drawn where its logit is above 0
    """

    def __init__(self, structures: int, exclusive: bool) -> None:
        self._exclusive = exclusive
        self._sums = torch.zeros(3, structures, dtype=torch.float64)

    def add(self, logits: Tensor) -> None:
        """logits (n, K, ...) of some slices."""
        flat = logits.float().flatten(2)
        if self._exclusive:
            chance = flat.softmax(1)[:, 1:]
            drawn = torch.nn.functional.one_hot(flat.argmax(1), flat.shape[1]).transpose(1, 2)[:, 1:].bool()
        else:
            chance, drawn = flat.sigmoid(), flat > 0
        parts = [chance.where(drawn, 0), chance, drawn]
        self._sums += torch.stack([part.sum((0, 2), dtype=torch.float64).cpu() for part in parts])

    def value(self) -> Tensor:
        """(T,) float64 in [0, 1]; NaN of a structure of which nothing was drawn."""
        both, chance, drawn = self._sums
        return torch.where(drawn > 0, 2 * both / (chance + drawn), torch.nan)
