"""How much an image looks like the one of a set that is most like it, pixel by pixel, moved to fit."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SIDE_PX, MOVE = 32, 4  # images are compared at this size, moved by up to so many of its pixels each way
BLOCK = 1 << 24  # numbers that are held at once


def greatest_correlation(images: Tensor, among: Tensor, *, skip_same: bool = False) -> tuple[Tensor, Tensor]:
    """Values (n,) in [-1, 1] and places (n,) in `among` (k, C, h, w) of the image most like each of (n, C, h, w).

    Pearson's correlation of grey values at SIDE_PX, the greatest over moves by up to MOVE pixels each way (as if the
    image went on at its other side, which hardly counts for images with a dark border). An image without contrast
    correlates with nothing: 0. `skip_same`: both sets are the same, and no image is compared with itself.
    """
    one, other = (_spectra(x) for x in (images, among))
    per_pair = SIDE_PX * SIDE_PX
    block = max(1, BLOCK // (per_pair * max(len(other), 1)))
    values, places = [], []
    for start in range(0, len(one), block):
        products = torch.fft.irfft2(one[start : start + block, None] * other[None].conj(), s=(SIDE_PX, SIDE_PX))
        near = torch.cat([products[..., : MOVE + 1, :], products[..., -MOVE:, :]], dim=-2)
        near = torch.cat([near[..., : MOVE + 1], near[..., -MOVE:]], dim=-1)
        best = near.amax(dim=(-2, -1))
        if skip_same:
            rows = torch.arange(len(best), device=best.device)
            best[rows, rows + start] = -1
        found = best.max(dim=1)
        values.append(found.values.clamp(-1, 1))
        places.append(found.indices)
    return torch.cat(values), torch.cat(places)


def _spectra(images: Tensor) -> Tensor:
    """(n, SIDE_PX, SIDE_PX // 2 + 1) of images with mean 0 and length 1."""
    grey = images.float().mean(dim=1, keepdim=True)
    small = F.interpolate(grey, size=(SIDE_PX, SIDE_PX), mode="bilinear", antialias=True, align_corners=False)[:, 0]
    centred = small - small.mean(dim=(1, 2), keepdim=True)
    length = centred.flatten(1).norm(dim=1)
    plain = length < 1e-6
    unit = centred / torch.where(plain, torch.ones_like(length), length)[:, None, None]
    unit[plain] = 0
    return torch.fft.rfft2(unit)
