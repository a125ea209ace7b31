"""From the feature maps of an encoder to logits for every pixel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

NAMES = ("conv", "linear")


class LinearDecoder(nn.Module):
    """Each map normalised, all brought to the finest, one 1x1 convolution, then enlarged: what the features hold."""

    def __init__(self, widths: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(w) for w in widths)
        self.project = nn.Conv2d(sum(widths), outputs, 1)

    def forward(self, levels: Sequence[Tensor], pixels: Tensor) -> Tensor:
        """levels (N, C_l, h_l, w_l), pixels (N, C, H, W) to logits (N, outputs, H, W)."""
        size = levels[0].shape[-2:]
        joined = [_enlarged(norm(level), size) for norm, level in zip(self.norms, levels, strict=True)]
        return _enlarged(self.project(torch.cat(joined, 1)), pixels.shape[-2:])


class ConvDecoder(nn.Module):
    """A feature pyramid from coarse to fine (Lin 2017), fused with features of the pixels at full resolution.

    Maps of one size, as a vision transformer gives them, are summed; from there the resolution doubles in each step.
    """

    def __init__(self, widths: Sequence[int], outputs: int, channels: int, width: int = 48, fine: int = 16) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(w, width, 1) for w in widths)
        self.merges = nn.ModuleList(_block(width, width) for _ in widths)
        self.up = _block(width, fine * 2)
        self.stem = nn.Sequential(_block(channels, fine), _block(fine, fine))
        self.halfway = _block(fine * 2 + fine, fine * 2)
        self.sharpen = nn.Sequential(nn.Conv2d(fine * 2 + fine, fine, 1), _block(fine, fine))
        self.out = nn.Conv2d(fine, outputs, 1)

    def forward(self, levels: Sequence[Tensor], pixels: Tensor) -> Tensor:
        """levels (N, C_l, h_l, w_l) fine to coarse, pixels (N, C, H, W) to logits (N, outputs, H, W)."""
        x = self.merges[-1](self.laterals[-1](levels[-1]))
        for lateral, merge, level in zip(
            reversed(self.laterals[:-1]), reversed(self.merges[:-1]), reversed(levels[:-1]), strict=True
        ):
            x = merge(lateral(level) + _enlarged(x, level.shape[-2:]))
        sharp = self.stem(pixels)
        half_size = ((pixels.shape[-2] + 1) // 2, (pixels.shape[-1] + 1) // 2)
        x = self.halfway(
            torch.cat([_enlarged(self.up(x), half_size), functional.adaptive_avg_pool2d(sharp, half_size)], 1)
        )
        x = self.sharpen(torch.cat([_enlarged(x, pixels.shape[-2:]), sharp], 1))
        return self.out(x)


def build(name: str, widths: Sequence[int], outputs: int, channels: int) -> nn.Module:
    return LinearDecoder(widths, outputs) if name == "linear" else ConvDecoder(widths, outputs, channels)


def _block(width_in: int, width: int) -> nn.Module:
    groups = next(g for g in (8, 4, 2, 1) if width % g == 0)
    return nn.Sequential(nn.Conv2d(width_in, width, 3, padding=1, bias=False), nn.GroupNorm(groups, width), nn.SiLU())


def _enlarged(x: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return functional.interpolate(x, tuple(size), mode="bilinear", align_corners=False)
