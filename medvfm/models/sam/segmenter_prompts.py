"""Prompts from another model that segments the slices while SAM runs: words become boxes, and boxes masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch

from medvfm.core.capabilities import Shown
from medvfm.core.case import Case
from medvfm.core.item import Item
from medvfm.core.protocols import Record
from medvfm.models.sam.prompt_sources import Kind, ObjectPrompt, around, have_none


class SliceSegmenter(Protocol):
    """A model that segments the slices of a case as they are prepared for SAM."""

    @property
    def module(self) -> torch.nn.Module: ...

    def slice_labels(self, item: Item, s: int) -> np.ndarray:
        """(H, W) values or (T, H, W) of bool, on the model's grid."""
        ...

    def record(self) -> Record:
        """See core.protocols.Adapter."""
        ...


@dataclass(frozen=True, eq=False)
class FromSegmenter:
    """Boxes, points or masks from what another model finds in a slice, while SAM runs."""

    segmenter: SliceSegmenter
    prompt: Kind
    kind: str
    per: str = "class"
    oracle: str | None = None
    _empty: dict[str, bool] = field(default_factory=dict)  # of each case, whether nothing was found so far

    def objects(self, item: Item, s: int) -> list[ObjectPrompt]:
        labels = self.segmenter.slice_labels(item, s)
        found = around(labels, self.prompt, self.kind, self.per)
        self._empty[item.case_id] = self._empty.get(item.case_id, True) and not found
        return found

    def to(self, device: torch.device) -> None:
        """The model onto the device that SAM is on."""
        self.segmenter.module.to(device)

    def check(self, asked: Sequence[Case], known: Sequence[Case], shown: Shown) -> list[str]:
        """Nothing can be missing before the model has run."""
        return []

    def remarks(self, shown: Shown) -> list[str]:
        return have_none(
            sorted(shown(c) for c, empty in self._empty.items() if empty), "what the prompting model found"
        )
