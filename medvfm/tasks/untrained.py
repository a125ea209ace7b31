"""What built-in baselines share as adapters: nothing goes through the training loop, nothing is saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from medvfm.core.array import Array
from medvfm.core.case import Case
from medvfm.core.image import Image
from medvfm.core.item import Item
from medvfm.core.protocols import Augment, Batch, Preparer, Record, Windows
from medvfm.core.recipe_sections import Prepare
from medvfm.core.slice_grid import SliceGrid


@dataclass(frozen=True)
class NoImages:
    """A preparer that reads nothing: for what looks at the cases table alone."""

    prepare: Prepare = field(default_factory=Prepare)
    windows: Windows = field(default_factory=dict)
    read: Mapping[str, object] = field(default_factory=dict)

    def key(self) -> str:
        return "no-images"

    def files(self, case: Case) -> Sequence[Path]:
        return ()

    def images(self, case: Case) -> list[Image]:
        return []

    def arrays(self, images: Sequence[Image], case: Case) -> Mapping[str, Array]:
        return {}

    def grid(self, arrays: Mapping[str, Array]) -> SliceGrid | None:
        return None


class UntrainedBaseline:
    """A start for adapters that no gradient fits. See core.protocols.Adapter."""

    oracle: str | None = None
    probabilities = False
    answers_at_once = 1
    preparer: Preparer
    module: nn.Module

    def example(self, item: Item, rng: np.random.Generator, augment: Augment) -> Item:
        return item

    def loss(self, batch: Batch) -> torch.Tensor:
        raise AssertionError("a built-in baseline is not trained by the loop")

    def variants(self) -> list[str]:
        return []

    def start_stage(self, method: str, options: Mapping[str, object]) -> None:
        raise AssertionError("a built-in baseline has no stages")

    def save(self, folder: Path) -> None:
        """Nothing of it is used again."""

    def load(self, folder: Path) -> None:
        """Nothing of it is used again."""

    def record(self) -> Record:
        return {}
