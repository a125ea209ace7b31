"""An extractor: pictures to the features in which sets of made and true images are compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from medvfm.core.errors import PredictionError

BATCH = 32


@dataclass(eq=False)
class Extractor:
    """A frozen network in evaluation mode, float32.

    module   the network
    prepare  pictures (n, 1 or 3, h, w) in [0, 1] to its input, the whole picture seen
    read     input to features (n, width)
    record   for run.json: `name`, `weights` as the user names them, `sha256`, `licence`, `size_px`, `resize`,
             `features` (their number), `comparable` with published FID, and `said`, a sentence where it is not
    """

    module: nn.Module
    prepare: Callable[[Tensor], Tensor]
    read: Callable[[Tensor], Tensor]
    width: int
    record: dict[str, Any]
    batch: int = BATCH
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @torch.inference_mode()
    def features(self, images: Tensor) -> Tensor:
        """(n, width) float32, on the extractor's device, of images (n, c, h, w) in [0, 1] with one or three channels.

        Images wait where they are: one batch at a time goes to the device.
        """
        if images.ndim != 4 or images.shape[1] not in (1, 3) or not images.is_floating_point():
            raise PredictionError(
                f"images {tuple(images.shape)} of {images.dtype}: expected (n, 1 or 3, h, w) fractions from 0 to 1"
            )
        if len(images) and not (images.min() >= 0 and images.max() <= 1):  # NaN is neither
            raise PredictionError("images must lie in [0, 1]")
        found = [self.read(self.prepare(some.to(self.device).float())).float() for some in images.split(self.batch)]
        return torch.cat(found) if len(images) else torch.zeros(0, self.width, device=self.device)

    def to(self, device: str | torch.device) -> Extractor:
        """The same, moved to a device."""
        self.device = torch.device(device)
        self.module.to(self.device)
        return self
