"""Images of a set as features of a network: pictures as they are, volumes by their slices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch

from medvfm.core.array import Array
from medvfm.core.protocols import Record
from medvfm.models.extractors import volume_slices

BATCH = 64


class FeatureNetwork(Protocol):
    """What an extractor is to a judge and to verification, and a finished run to the latter."""

    @property
    def record(self) -> Mapping[str, object]: ...

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """(n, d) of images (n, 1 or 3, h, w) in [0, 1]."""
        ...


def features_of(network: FeatureNetwork, pixels: Array) -> Array:
    """(n, d) float32 of pictures (n, C, H, W) or volumes (n, C, S, H, W)."""
    parts = [
        volume_slices.summary(network.features, torch.from_numpy(np.ascontiguousarray(pixels[s : s + BATCH])))
        for s in range(0, len(pixels), BATCH)
    ]
    return np.asarray(torch.cat([p.float().cpu() for p in parts]).numpy())


def record_of(network: FeatureNetwork, pixels: Array) -> Record:
    """The network's own record; of volumes it also says how they were seen."""
    found = dict(network.record)
    if pixels.ndim == 5:
        found["of_volumes"] = volume_slices.SAID
    return found
