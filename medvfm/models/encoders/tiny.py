"""`tiny`: a small residual network from scratch, which learns 2D slices in seconds on a CPU."""

from __future__ import annotations

import hashlib

import torch
from torch import nn
from torch.nn import functional

from medvfm.models.encoders.base import Encoder, Features
from medvfm.models.inputs.contract import InputContract

WIDTHS = (16, 32, 64, 128)
DEPTHS = (1, 1, 2, 2)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut; He et al. 2016, as pre-activation."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(width_in), nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(width_in, width, 1, stride, bias=False) if width_in != width or stride > 1 else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.norm1(x))
        short = x if self.shortcut is None else self.shortcut(y)
        return short + self.conv2(functional.relu(self.norm2(self.conv1(y))))


class TinyNet(nn.Module):
    """Pictures (N, 3, H, W) to a map (N, 128, H / 32, W / 32)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTHS[0], 5, stride=2, padding=2, bias=False)
        widths_in = (WIDTHS[0], *WIDTHS[:-1])
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(ResidualBlock(before if i == 0 else width, width, 2 if i == 0 else 1) for i in range(depth))
            )
            for before, width, depth in zip(widths_in, WIDTHS, DEPTHS, strict=True)
        )
        self.norm = nn.BatchNorm2d(WIDTHS[-1])

    def levels(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        x = self.stem(pixels)
        found = []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return [*found[:-1], functional.relu(self.norm(x))]

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.levels(pixels)[-1]


def read(backbone: nn.Module, pixels: torch.Tensor) -> Features:
    patches = backbone(pixels)
    return Features(None, patches.mean((2, 3)), patches)


def levels(backbone: nn.Module, pixels: torch.Tensor) -> list[torch.Tensor]:
    return backbone.levels(pixels)  # type: ignore[operator]


def load_tiny(size_px: int | None, seed: int) -> Encoder:
    """Weights initialised from `seed`; the global generator does not change."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = TinyNet()
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    digest = hashlib.sha256()
    for value in net.state_dict().values():
        digest.update(value.numpy().tobytes())
    return Encoder(
        net,
        read=read,
        levels=levels,
        contract=InputContract(
            (size_px or 128,) * 2, interpolation="bilinear", mean=(0.5,) * 3, std=(0.25,) * 3, origin="tiny"
        ),
        width=WIDTHS[-1],
        name="tiny",
        weights_record={"source": "tiny", "sha256": digest.hexdigest(), "seed": seed, "licence": None},
        channels_last=True,
    )
