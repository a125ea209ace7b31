"""Losses of label maps: cross-entropy and soft Dice, for structures that share no voxel and for those that may."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

IGNORED = 255  # the label of what takes no part: the border that pads a picture
NAMES = ("dice_ce", "dice", "ce", "focal", "dice_focal")


def exclusive(logits: Tensor, labels: Tensor, name: str = "dice_ce") -> Tensor:
    """logits (B, 1 + T, ...), labels (B, ...) 0 to T or IGNORED: sum of the named parts, each a mean."""
    known = labels != IGNORED
    safe = labels.where(known, torch.zeros_like(labels)).long()
    logits = logits.float()
    total = logits.new_zeros(())
    log_share = functional.log_softmax(logits, 1)
    right = log_share.gather(1, safe.unsqueeze(1)).squeeze(1)
    if "ce" in name.split("_"):
        total = total - right[known].mean()
    if "focal" in name:  # Lin 2017, eq. 4, gamma 2
        total = total - ((1 - right.exp()) ** 2 * right)[known].mean()
    if "dice" in name:
        truth = functional.one_hot(safe, logits.shape[1]).movedim(-1, 1)[:, 1:]
        total = total + soft_dice(log_share.exp()[:, 1:], truth, known.unsqueeze(1))
    return total


def overlapping(logits: Tensor, labels: Tensor, name: str = "dice_ce") -> Tensor:
    """logits (B, T, ...), labels (B, T, ...) 0, 1 or IGNORED: the same for structures that may share voxels."""
    known = labels != IGNORED
    truth = labels.where(known, torch.zeros_like(labels)).float()
    logits = logits.float()
    total = logits.new_zeros(())
    each = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    if "ce" in name.split("_"):
        total = total + each[known].mean()
    if "focal" in name:
        total = total + ((1 - torch.exp(-each)) ** 2 * each)[known].mean()
    if "dice" in name:
        total = total + soft_dice(logits.sigmoid(), truth, known)
    return total


def soft_dice(share: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """1 minus Dice of shares in [0, 1], over the batch as one volume for each structure, then the mean over structures.

    All (B, T, ...). Milletari 2016 with squares left out; a batch as one volume, since a slice without the structure
    has no Dice. Structures that the batch does not hold are left to the cross-entropy.
    """
    over = [0, *range(2, share.ndim)]
    known, truth = known.to(share), truth.to(share)
    both = (share * truth * known).sum(over)
    size = ((share + truth) * known).sum(over)
    held = (truth * known).sum(over) > 0
    dice = (2 * both + 1) / (size + 1)
    return (1 - dice[held]).mean() if held.any() else share.sum() * 0
