"""How much an image looks like the one of a set that is most like it, pixel by pixel, moved to fit."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

SIDE_PX, MOVE = 32, 4  # pictures are compared at this size, moved by up to so many of its pixels each way
SIDE_VOX, MOVE_VOX = 16, 2  # and volumes
BLOCK = 1 << 24  # numbers that are held at once


def greatest_correlation(images: Tensor, among: Tensor, *, skip_same: bool = False) -> tuple[Tensor, Tensor]:
    """Values (n,) in [-1, 1] and places (n,) in `among` (k, C, ...) of the image most like each of (n, C, ...).

    Pearson's correlation of grey values of pictures (C, h, w) at SIDE_PX or volumes (C, s, h, w) at SIDE_VOX, the
    greatest over moves by up to MOVE or MOVE_VOX each way (as if the image went on at its other side, which hardly
    counts for images with a dark border). An image without contrast correlates with nothing: 0. `skip_same`: both sets
    are the same, and no image is compared with itself.
    """
    side, move = (SIDE_PX, MOVE) if images.ndim == 4 else (SIDE_VOX, MOVE_VOX)
    size = (side,) * (images.ndim - 2)
    one, other = (_spectra(x, size) for x in (images, among))
    block = max(1, BLOCK // (math.prod(size) * max(len(other), 1)))
    values, places = [], []
    for start in range(0, len(one), block):
        near = torch.fft.irfftn(one[start : start + block, None] * other[None].conj(), s=size)
        for axis in range(2, near.ndim):
            near = torch.cat([near.narrow(axis, 0, move + 1), near.narrow(axis, side - move, move)], dim=axis)
        best = near.flatten(2).amax(dim=2)
        if skip_same:
            rows = torch.arange(len(best), device=best.device)
            best[rows, rows + start] = -1
        found = best.max(dim=1)
        values.append(found.values.clamp(-1, 1))
        places.append(found.indices)
    return torch.cat(values), torch.cat(places)


def _spectra(images: Tensor, size: tuple[int, ...]) -> Tensor:
    """Of images with mean 0 and length 1 at a size, (n, ...), the last axis half as long."""
    small = _shrunk(images.float().mean(dim=1, keepdim=True), size).flatten(1)
    centred = small - small.mean(dim=1, keepdim=True)
    length = centred.norm(dim=1, keepdim=True)
    plain = length < 1e-6
    unit = torch.where(plain, torch.zeros_like(centred), centred / torch.where(plain, torch.ones_like(length), length))
    return torch.fft.rfftn(unit.unflatten(1, size), dim=tuple(range(1, len(size) + 1)))


def _shrunk(grey: Tensor, size: tuple[int, ...]) -> Tensor:
    """(n, 1, ...) at another size, without aliasing; of volumes rows and columns of each slice, then slices."""
    if len(size) == 2:
        return F.interpolate(grey, size=size, mode="bilinear", antialias=True, align_corners=False)
    rows = _shrunk(grey.flatten(0, 2)[:, None], size[1:]).unflatten(0, (len(grey), 1, -1))[:, :, :, 0]
    turned = _shrunk(rows.flatten(3), (size[0], size[1] * size[2]))
    return turned.unflatten(3, size[1:])
