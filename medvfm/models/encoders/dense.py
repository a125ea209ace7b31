"""Dense prediction: an encoder with a decoder, slice by slice, and slices padded to the encoder's input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from medvfm.models.encoders.base import Encoder
from medvfm.models.inputs.resizing import lowpass_resized
from medvfm.nn import decoders


class DenseNet(nn.Module):
    """Encoder and decoder. The pixels have the channels of the encoder's contract."""

    def __init__(self, encoder: Encoder, decoder: str, outputs: int) -> None:
        super().__init__()
        self.encoder = encoder
        with torch.inference_mode():
            probe = encoder.pyramid(torch.zeros(1, encoder.contract.channels, *encoder.contract.size_px))
        widths = [level.shape[1] for level in probe]
        self.decoder = decoders.build(decoder, widths, outputs, encoder.contract.channels)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (N, outputs, h, w) of normalised pixels (N, channels, h, w)."""
        return self.decoder(self.encoder.pyramid(pixels), pixels)


@dataclass(frozen=True)
class PaddedFrame:
    """How a slice of `shape` (H, W) lies in a square of `side_px`: enlarged by `scale`, at the upper left corner."""

    shape: tuple[int, int]
    side_px: int

    @property
    def inside(self) -> tuple[int, int]:
        """(height, width) of the slice in the square."""
        scale = self.side_px / max(self.shape)
        height, width = (max(1, min(self.side_px, round(n * scale))) for n in self.shape)
        return height, width

    def pixels(self, slices: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, side, side), zeros around."""
        inside = lowpass_resized(slices, self.inside, "bilinear")
        return self._padded(inside, 0.0)

    def labels(self, slices: Tensor, fill: int) -> Tensor:
        """Whole numbers (N, C, H, W) to (N, C, side, side), `fill` around."""
        inside = functional.interpolate(slices.float(), self.inside, mode="nearest-exact")
        return self._padded(inside, float(fill)).long()

    def back(self, logits: Tensor) -> Tensor:
        """(N, K, side, side) to (N, K, H, W)."""
        height, width = self.inside
        return functional.interpolate(logits[..., :height, :width], self.shape, mode="bilinear", align_corners=False)

    def _padded(self, inside: Tensor, fill: float) -> Tensor:
        down, across = (self.side_px - n for n in inside.shape[-2:])
        return functional.pad(inside, (0, across, 0, down), value=fill)


def neighbours(pixels: np.ndarray, index: int, reach: int) -> np.ndarray:
    """(C * (2 reach + 1), H, W) float32: a slice between its neighbours, those beyond the end repeated."""
    last = pixels.shape[1] - 1
    stack = [pixels[:, min(max(index + step, 0), last)] for step in range(-reach, reach + 1)]
    return np.concatenate(stack).astype(np.float32)


def as_channels(slices: Tensor, channels: int) -> Tensor:
    """(N, C, H, W) with as many channels as the encoder takes: gray is repeated, others must fit."""
    if slices.shape[1] == channels:
        return slices
    if slices.shape[1] == 1:
        return slices.expand(-1, channels, -1, -1)
    raise ValueError(f"{slices.shape[1]} channels for an encoder of {channels}")


def chunks(count: int, size: int) -> Sequence[range]:
    """Ranges that cover 0 to count."""
    return [range(start, min(start + size, count)) for start in range(0, count, size)]
