"""Dense losses: Dice, cross-entropy and focal loss.

`exclusive` and `overlapping` are for label maps, one value a batch, for structures that share no voxel and for those
that may. `object_*` are for binary masks of single objects, one value an object.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

IGNORED = 255  # the label of what takes no part: the border that pads a picture
NAMES = ("dice_ce", "dice", "ce", "focal", "dice_focal")
SMOOTH = 1.0  # voxels, in numerator and denominator of Dice: an empty mask that is predicted empty has no loss


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
    dice = (2 * both + SMOOTH) / (size + SMOOTH)
    return (1 - dice[held]).mean() if held.any() else share.sum() * 0


def object_dice(logits: Tensor, truth: Tensor) -> Tensor:
    """(M,) 1 - soft Dice of logits and truth (M, ...); Milletari et al. 2016, with sums in place of squares."""
    share, truth = logits.float().sigmoid().flatten(1), truth.float().flatten(1)
    both = (share * truth).sum(1)
    return 1 - (2 * both + SMOOTH) / (share.sum(1) + truth.sum(1) + SMOOTH)


def object_cross_entropy(logits: Tensor, truth: Tensor, per: str = "pixel") -> Tensor:
    """(M,) binary cross-entropy of logits and truth (M, ...), a mean over pixels, or over the size of the object.

    Beside a small object nearly every pixel is background, whatever is predicted: `per="object"` divides the sum by
    the object's own pixels (at least 16), so that its outline counts as much as a large object's.
    """
    loss = functional.binary_cross_entropy_with_logits(logits.float(), truth.float(), reduction="none").flatten(1)
    if per == "pixel":
        return loss.mean(1)
    return loss.sum(1) / truth.float().flatten(1).sum(1).clamp_min(16)


def object_focal(logits: Tensor, truth: Tensor, gamma: float = 2.0, alpha: float = 0.25) -> Tensor:
    """(M,) focal loss, a mean over pixels; Lin et al. 2017, eq. 5, with SAM's gamma and alpha."""
    logits, truth = logits.float(), truth.float()
    loss = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    share = logits.sigmoid()
    right = share * truth + (1 - share) * (1 - truth)
    weight = alpha * truth + (1 - alpha) * (1 - truth)
    return (weight * (1 - right) ** gamma * loss).flatten(1).mean(1)


def object_iou(logits: Tensor, truth: Tensor) -> Tensor:
    """(M,) IoU of the masks that logits (M, ...) mean, for a head that learns to predict it; no gradient."""
    with torch.no_grad():
        mask, truth = logits.flatten(1) > 0, truth.flatten(1) > 0.5
        return (mask & truth).sum(1) / (mask | truth).sum(1).clamp_min(1)
