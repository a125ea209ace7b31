"""How much an image looks like the one of a set that is most like it, pixel by pixel, moved to fit."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

SIDE_PX, MOVE = 32, 4  # pictures are compared at this size, moved by up to so many of its pixels each way
SIDE_VOX, MOVE_VOX = 16, 2  # and volumes
BLOCK = 1 << 24  # numbers that are held at once
NEXT = 10  # images after the one that is most alike, which say how near several are


class MostAlike(NamedTuple):
    """Of n images, the image of a set that is most like each.

    values  (n,) in [-1, 1] the correlation
    places  (n,) which one it is
    singled (n,) how far it lies, over the mean distance of the NEXT that are most alike after it, of other patients:
            near 1 it is one of many that are as near, near 0 it is copied. Distances are those of images of length 1,
            sqrt(2 - 2 r). NaN where there is no image of another patient
    """

    values: Tensor
    places: Tensor
    singled: Tensor


def most_alike(images: Tensor, among: Tensor, owners: Tensor | None = None, *, skip_same: bool = False) -> MostAlike:
    """The image of `among` (k, C, ...) most like each of (n, C, ...), and whether it is singled out.

    Pearson's correlation of grey values of pictures (C, h, w) at SIDE_PX or volumes (C, s, h, w) at SIDE_VOX, the
    greatest over moves by up to MOVE or MOVE_VOX each way (as if the image went on at its other side, which hardly
    counts for images with a dark border). An image without contrast correlates with nothing: 0. `skip_same`: both sets
    are the same, and no image is compared with itself. `owners` (k,): the patient of each image of the set, by number;
    without, each is of another one. `singled` is the measure of Carlini et al. 2023 (section 4.2): a
    smooth image correlates well with every image of a set, and is for that no copy of one.
    """
    side, move = (SIDE_PX, MOVE) if images.ndim == 4 else (SIDE_VOX, MOVE_VOX)
    size = (side,) * (images.ndim - 2)
    one, other = (_spectra(x, size) for x in (images, among))
    block = max(1, BLOCK // (math.prod(size) * max(len(other), 1)))
    values, places, singled = [], [], []
    whose = torch.arange(len(other), device=other.device) if owners is None else owners.to(other.device)
    for start in range(0, len(one), block):
        near = torch.fft.irfftn(one[start : start + block, None] * other[None].conj(), s=size)
        for axis in range(2, near.ndim):
            near = torch.cat([near.narrow(axis, 0, move + 1), near.narrow(axis, side - move, move)], dim=axis)
        best = near.flatten(2).amax(dim=2)
        if skip_same:
            rows = torch.arange(len(best), device=best.device)
            best[rows, rows + start] = -2
        first = best.clamp(-1, 1).max(dim=1)
        best[whose[first.indices][:, None] == whose[None]] = -2  # images of that patient say nothing of others
        after = best.topk(min(NEXT, best.shape[1]), dim=1).values
        away = torch.where(after > -1.5, (2 - 2 * after.clamp(-1, 1)).sqrt(), torch.nan).nanmean(dim=1)
        values.append(first.values)
        places.append(first.indices)
        singled.append((2 - 2 * first.values).sqrt() / away.clamp(min=1e-6))
    return MostAlike(torch.cat(values), torch.cat(places), torch.cat(singled))


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
