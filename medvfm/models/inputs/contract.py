"""What a model expects of its pixels, as a record and as the transform that the record describes."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch.nn import functional

from medvfm.models.inputs.resizing import lowpass_resized

Resize = Literal["squash", "shortest_then_crop", "squash_then_crop", "pad"]
Interpolation = Literal["nearest", "bilinear", "bicubic"]


@dataclass(frozen=True)
class InputContract:
    """Pictures become model input in this order: resize, crop or pad, channels, scale, then (x - mean) / std.

    `size_px` is (height, width) of what the model receives, and `resize_px` what is resized to before the crop.

    squash              both sides to size_px, aspect ratio lost
    shortest_then_crop  the shorter side to min(resize_px), aspect ratio kept, then the central size_px
    squash_then_crop    both sides to resize_px, then the central size_px
    pad                 the whole picture to fit into resize_px or size_px, aspect ratio kept, borders on both sides

    `antialias` low-passes before shrinking, as PIL always does. `crop_rounding`: libraries differ in where the
    central crop begins when an odd number of pixels is cut (half a pixel down, or half to even). `scale` multiplies
    pictures in [0, 1] before the normalisation: 1 for nearly every model, 255 for those trained on raw 8-bit values.
    `fill` is the grey of borders, in [0, 1]. `eight_bit` clips and rounds to whole 8-bit values after each side is
    resized, as PIL and torchvision do with 8-bit pictures: features then equal those of the model's own processor, also
    where a model reacts to half a grey level. `origin` says where these values were read.
    """

    size_px: tuple[int, int]
    resize: Resize = "squash"
    resize_px: tuple[int, int] | None = None
    interpolation: Interpolation = "bicubic"
    antialias: bool = True
    crop_rounding: Literal["down", "even"] = "even"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    channels: int = 3
    scale: float = 1.0
    fill: float = 0.0
    eight_bit: bool = False
    origin: str = ""

    def as_record(self) -> dict[str, Any]:
        """Plain lists, numbers and strings, for run.json and for cache keys."""
        record = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return record if self.eight_bit else {k: v for k, v in record.items() if k != "eight_bit"}

    def with_size(self, size_px: int | tuple[int, int]) -> InputContract:
        """The same contract at another size; what is cropped away stays the same share of the picture."""
        new = (size_px, size_px) if isinstance(size_px, int) else size_px
        if new == self.size_px:
            return self
        resize_px = self.resize_px and (
            round(self.resize_px[0] * new[0] / self.size_px[0]),
            round(self.resize_px[1] * new[1] / self.size_px[1]),
        )
        return replace(self, size_px=new, resize_px=resize_px)

    def with_resize(self, resize: Literal["squash", "pad"]) -> InputContract:
        """The same contract without a crop, for pictures whose border matters: `pad` keeps the aspect ratio."""
        return replace(self, resize=resize, resize_px=None)

    def seen_share(self, shape: tuple[int, int]) -> tuple[float, float]:
        """Share of a picture's (height, width) that the central crop leaves to the model; 1 where nothing is cut."""
        if self.resize == "shortest_then_crop":
            scale = min(self.resize_px or self.size_px) / min(shape)
            height, width = (min(1.0, s / (side * scale)) for s, side in zip(self.size_px, shape, strict=True))
            return height, width
        if self.resize == "squash_then_crop" and self.resize_px is not None:
            height, width = (min(1.0, s / r) for s, r in zip(self.size_px, self.resize_px, strict=True))
            return height, width
        return 1.0, 1.0

    def padded_place(self, shape: tuple[int, int]) -> tuple[int, int, int, int]:
        """(top, left, height, width) of a picture of `shape` (H, W) in the model's size_px, where `resize` is `pad`
        without a crop."""
        height, width = shape
        ratio = min(self.size_px[0] / height, self.size_px[1] / width)
        inside = max(1, round(height * ratio)), max(1, round(width * ratio))
        return (self.size_px[0] - inside[0]) // 2, (self.size_px[1] - inside[1]) // 2, *inside

    def apply(self, pictures: torch.Tensor) -> torch.Tensor:
        """Pictures (N, C, H, W) in [0, 1], C 1 or 3, to model input (N, channels, *size_px), on the same device."""
        return self.normalise(self.fit(pictures))

    def fit(self, pictures: torch.Tensor) -> torch.Tensor:
        """Pictures (N, C, H, W) in [0, 1] to the model's size, still in [0, 1]; what a cache may hold.

        Gray stays one channel until after the resize, which costs a third then.
        """
        if pictures.ndim != 4 or pictures.shape[1] not in (1, self.channels, 3):
            raise ValueError(f"pictures are (N, 1 or {self.channels}, H, W), not {tuple(pictures.shape)}")
        pictures = pictures.float()
        if pictures.shape[1] > self.channels:
            pictures = pictures.mean(1, keepdim=True)
        return self._fit(pictures).clamp(0, 1)  # bicubic overshoots; 8-bit processors clip it as well

    def normalise(self, fitted: torch.Tensor) -> torch.Tensor:
        """What `fit` gave, (N, 1 or channels, *size_px), to model input (N, channels, *size_px)."""
        mean = torch.tensor(self.mean, device=fitted.device).view(1, -1, 1, 1)
        std = torch.tensor(self.std, device=fitted.device).view(1, -1, 1, 1)
        if self.eight_bit:  # what a cache rounded to half precision
            fitted = _eight_bit(fitted.float())
        scaled = fitted.float() if self.scale == 1 else fitted.float() * self.scale
        return (scaled - mean).div_(std).expand(-1, self.channels, -1, -1).contiguous()

    def _fit(self, pictures: torch.Tensor) -> torch.Tensor:
        height, width = pictures.shape[-2:]
        if self.resize == "squash":
            return self._resized(pictures, self.size_px)
        if self.resize == "squash_then_crop":
            return self._cropped(self._resized(pictures, self.resize_px or self.size_px))
        if self.resize == "shortest_then_crop":
            short = min(self.resize_px or self.size_px)
            return self._cropped(self._resized(pictures, shortest_side(height, width, short)))
        room = self.resize_px or self.size_px
        ratio = min(room[0] / height, room[1] / width)
        inside = (max(1, round(height * ratio)), max(1, round(width * ratio)))
        return self._cropped(self._resized(pictures, inside))

    def _resized(self, pictures: torch.Tensor, size_px: tuple[int, int]) -> torch.Tensor:
        if tuple(pictures.shape[-2:]) == size_px:
            return pictures
        if self.interpolation == "nearest":  # PIL samples at pixel centres, which torch calls nearest-exact
            return functional.interpolate(pictures, size_px, mode="nearest-exact")
        if self.antialias and self.eight_bit:  # across first, as PIL and torchvision
            across = lowpass_resized(pictures, (pictures.shape[-2], size_px[1]), self.interpolation)
            return _eight_bit(lowpass_resized(_eight_bit(across), size_px, self.interpolation))
        if self.antialias:
            return lowpass_resized(pictures, size_px, self.interpolation)
        return functional.interpolate(pictures, size_px, mode=self.interpolation, align_corners=False)

    def _cropped(self, pictures: torch.Tensor) -> torch.Tensor:
        """The central size_px of pictures (N, C, H, W), with borders where they are smaller."""
        height, width = pictures.shape[-2:]
        down, across = max(0, self.size_px[0] - height), max(0, self.size_px[1] - width)
        if down or across:
            top, left = down // 2, across // 2
            pictures = functional.pad(pictures, (left, across - left, top, down - top), value=self.fill)
            height, width = pictures.shape[-2:]
        half = round if self.crop_rounding == "even" else math.floor
        top, left = half((height - self.size_px[0]) / 2), half((width - self.size_px[1]) / 2)
        return pictures[..., top : top + self.size_px[0], left : left + self.size_px[1]]


def _eight_bit(pictures: torch.Tensor) -> torch.Tensor:
    """The nearest of 256 values in [0, 1]."""
    return pictures.clamp(0, 1).mul(255).round().div(255)


def shortest_side(height: int, width: int, short_px: int) -> tuple[int, int]:
    """(height, width) with the shorter side at short_px; the longer is rounded down, as in torchvision's Resize."""
    if height <= width:
        return short_px, int(short_px * width / height)
    return int(short_px * height / width), short_px


def crop_resize_px(size_px: tuple[int, int], crop_share: float) -> tuple[int, int]:
    """The size before a crop that keeps `crop_share` of each side, rounded down as timm does: 224 / 0.875 = 256."""
    return math.floor(size_px[0] / crop_share), math.floor(size_px[1] / crop_share)
