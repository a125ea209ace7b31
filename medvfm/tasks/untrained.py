"""What built-in baselines share as adapters: nothing goes through the training loop, nothing is saved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from medvfm.core.item import Item
from medvfm.core.protocols import Augment, Batch, Preparer, Record


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
