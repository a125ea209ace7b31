"""Volumes to networks that see pictures: slices of three planes, and their features as those of the volume.

Made volumes are compared in slices of three planes elsewhere too (MAISI, Guo et al. 2024): no network that reads
volumes is as well known as those of pictures, and a slice shows what is blurred or lacks detail.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

SLICES = 5  # of each plane: lesions of a few centimetres lie in some of them
SPAN = (0.2, 0.8)  # of a side, within which slices are taken: volumes mostly have borders without content
SAID = (
    f"Of a volume {SLICES} axial, {SLICES} coronal and {SLICES} sagittal slices were encoded; its features are the "
    "mean of each plane, one plane after the other."
)


def summary(encode: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """(n, d) of pictures (n, c, h, w) as `encode` has it; (n, 3 d) of volumes (n, c, s, h, w)."""
    if images.ndim == 4:
        return encode(images)
    means = []
    for axis in (2, 3, 4):
        pictures = images.index_select(axis, places(images.shape[axis]).to(images.device)).movedim(axis, 1)
        means.append(encode(pictures.flatten(0, 1)).unflatten(0, (len(images), -1)).mean(1))
    return torch.cat(means, dim=1)


def places(side: int, count: int = SLICES) -> Tensor:
    """(count,) slices of so many, in the middle of equal parts of SPAN."""
    low, high = SPAN
    shares = low + (high - low) * (torch.arange(count) + 0.5) / count
    return (shares * side).long()


def middle(images: Tensor) -> Tensor:
    """Pictures (n, c, h, w) as they are; of volumes (n, c, s, h, w) the axial slice in the middle."""
    return images if images.ndim == 4 else images[:, :, images.shape[2] // 2]
