"""Losses of masks: Dice, cross-entropy and focal, one value an object."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

SMOOTH = 1.0  # pixels: an empty mask that is predicted empty has no loss


def dice(logits: Tensor, truth: Tensor) -> Tensor:
    """(M,) 1 - soft Dice of logits and truth (M, ...); Milletari et al. 2016, with sums in place of squares."""
    share, truth = logits.float().sigmoid().flatten(1), truth.float().flatten(1)
    both = (share * truth).sum(1)
    return 1 - (2 * both + SMOOTH) / (share.sum(1) + truth.sum(1) + SMOOTH)


def cross_entropy(logits: Tensor, truth: Tensor, per: str = "pixel") -> Tensor:
    """(M,) binary cross-entropy of logits and truth (M, ...), a mean over pixels, or over the size of the object.

    Beside a small object nearly every pixel is background, whatever is predicted: `per="object"` divides the sum by
    the object's own pixels (at least 16), so that its outline counts as much as a large object's.
    """
    loss = functional.binary_cross_entropy_with_logits(logits.float(), truth.float(), reduction="none").flatten(1)
    if per == "pixel":
        return loss.mean(1)
    return loss.sum(1) / truth.float().flatten(1).sum(1).clamp_min(16)


def focal(logits: Tensor, truth: Tensor, gamma: float = 2.0, alpha: float = 0.25) -> Tensor:
    """(M,) focal loss, a mean over pixels; Lin et al. 2017, eq. 5, with SAM's gamma and alpha."""
    logits, truth = logits.float(), truth.float()
    loss = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    share = logits.sigmoid()
    right = share * truth + (1 - share) * (1 - truth)
    weight = alpha * truth + (1 - alpha) * (1 - truth)
    return (weight * (1 - right) ** gamma * loss).flatten(1).mean(1)


def iou(logits: Tensor, truth: Tensor) -> Tensor:
    """(M,) IoU of the masks that logits (M, ...) mean, for a head that learns to predict it; no gradient."""
    with torch.no_grad():
        mask, truth = logits.flatten(1) > 0, truth.flatten(1) > 0.5
        return (mask & truth).sum(1) / (mask | truth).sum(1).clamp_min(1)
