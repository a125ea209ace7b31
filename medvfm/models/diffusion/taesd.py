"""Tiny autoencoders in the layout of their own repository (madebyollin/taesd, MIT): taesd, taesdxl, taef1, taef2.

diffusers' AutoencoderTiny is the same network but for a branch that newer ones have in three blocks.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor, nn

from medvfm.core.errors import WeightsError
from medvfm.models.weights import load_strictly, read_state_dict, sha256_of

WIDTH, FACTOR = 64, 8
POOLED = 4  # times as wide, in 4 groups


class TaesdBlock(nn.Module):
    """Three convolutions and a shortcut; with `pooled` a wider branch of 1 x 1 convolutions is added before."""

    def __init__(self, pooled: bool) -> None:
        super().__init__()
        self.conv = nn.Sequential(_conv(WIDTH, WIDTH), nn.ReLU(), _conv(WIDTH, WIDTH), nn.ReLU(), _conv(WIDTH, WIDTH))
        wide = POOLED * WIDTH
        self.pool = (
            nn.Sequential(
                nn.Conv2d(WIDTH, wide, 1, bias=False),
                nn.GroupNorm(4, wide),
                nn.ReLU(),
                nn.Conv2d(wide, WIDTH, 1, bias=False),
            )
            if pooled
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.pool is not None:
            x = x + self.pool(x)
        return torch.relu(self.conv(x) + x)


class SoftClamp(nn.Module):
    """Latents within three: 3 tanh(z / 3)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


class Taesd(nn.Module):
    """encoder: images (B, 3, H, W) in [0, 1] to latents (B, K, H / 8, W / 8); decoder: back, not yet clipped."""

    def __init__(self, latents: int, pooled: bool) -> None:
        super().__init__()
        down = [_conv(WIDTH, WIDTH, stride=2, bias=False) for _ in range(3)]
        self.encoder = nn.Sequential(
            _conv(3, WIDTH),
            TaesdBlock(False),
            *(layer for n, conv in enumerate(down) for layer in (conv, *_blocks(pooled and n == 2))),
            _conv(WIDTH, latents),
        )
        up = [
            layer
            for n in range(3)
            for layer in (*_blocks(pooled and n == 0), nn.Upsample(scale_factor=2), _conv(WIDTH, WIDTH, bias=False))
        ]
        self.decoder = nn.Sequential(
            SoftClamp(), _conv(latents, WIDTH), nn.ReLU(), *up, TaesdBlock(False), _conv(WIDTH, 3)
        )


def files(folder: Path) -> tuple[Path, Path] | None:
    """NAME_encoder and NAME_decoder, .pth or .safetensors, where the folder has one pair of them; else None."""
    found = [f for f in sorted(folder.glob("*_encoder.*")) if f.suffix in (".pth", ".safetensors")]
    pairs = [(f, f.with_name(f.name.replace("_encoder.", "_decoder."))) for f in found]
    pairs = [pair for pair in pairs if pair[1].is_file()]
    if len(pairs) > 1:
        names = ", ".join(encoder.name for encoder, _ in pairs)
        raise WeightsError(f"holds several autoencoders: {names}", where=folder, remedy="give a folder with one")
    return pairs[0] if pairs else None


def load(encoder: Path, decoder: Path) -> tuple[Taesd, str]:
    """The network that the files hold, every tensor accounted for, and the sha256 of both files."""
    states = [{name: value.float() for name, value in read_state_dict(file).items()} for file in (encoder, decoder)]
    numbers = [int(match[1]) for name in states[0] if (match := re.match(r"(\d+)\.", name))]
    latents = states[0].get(f"{max(numbers)}.bias") if numbers else None
    if latents is None:
        raise WeightsError("its tensors are not named as taesd's are", where=encoder)
    pooled = any(".pool." in name for name in states[0])
    model = Taesd(len(latents), pooled)
    load_strictly(model.encoder, states[0], str(encoder))
    load_strictly(model.decoder, states[1], str(decoder))
    return model, sha256_of((encoder, decoder))


def _blocks(pooled: bool) -> list[TaesdBlock]:
    return [TaesdBlock(pooled) for _ in range(3)]


def _conv(channels_in: int, channels_out: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, 3, padding=1, stride=stride, bias=bias)
