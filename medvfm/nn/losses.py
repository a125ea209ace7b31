"""Losses of classification with unknown labels, and what logits mean as probabilities."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def outputs(kind: str, classes: int) -> int:
    """How many logits a head gives: one a class; an ordinal scale needs one for each step between classes."""
    return classes - 1 if kind == "ordinal" else classes


def classification(logits: Tensor, truth: Tensor, kind: str, weights: Tensor | None = None) -> Tensor:
    """Mean loss over known labels. logits (B, outputs), truth (B, T) with NaN for unknown, weights (T, 2) or (T,).

    binary, multi_label  cross-entropy of each label; weights (T, 2) for its 0 and its 1
    multi_class          softmax cross-entropy; weights (T,)
    ordinal              cross-entropy of `class above j` for every j (Frank and Hall 2001; as in CORAL, Cao 2020)
    """
    logits = logits.float()
    truth = truth.to(logits.device, torch.float32)
    if kind in ("binary", "multi_label"):
        known = ~torch.isnan(truth)
        y = truth.nan_to_num()
        loss = functional.binary_cross_entropy_with_logits(logits, y, reduction="none")
        share = known.float()
        if weights is not None:
            w = weights.to(logits)
            share = share * (w[:, 1] * y + w[:, 0] * (1 - y))
        return (loss * share).sum() / share.sum().clamp_min(1e-12)
    known = ~torch.isnan(truth).any(1)
    y = truth.nan_to_num()
    share = known.float()
    if weights is not None:
        share = share * (y @ weights.to(logits))
    if kind == "multi_class":
        loss = -(functional.log_softmax(logits, 1) * y).sum(1)
    else:
        above = y.flip(1).cumsum(1).flip(1)[:, 1:]  # 1 where the class is at least j + 1
        loss = functional.binary_cross_entropy_with_logits(logits, above, reduction="none").sum(1)
    return (loss * share).sum() / share.sum().clamp_min(1e-12)


def probabilities(logits: Tensor, kind: str) -> Tensor:
    """(B, T) in [0, 1] from logits (B, outputs) of a head that was trained with `classification`."""
    if kind in ("binary", "multi_label"):
        return torch.sigmoid(logits)
    return torch.softmax(logits, -1) if kind == "multi_class" else _ordinal_probabilities(logits)


def _ordinal_probabilities(logits: Tensor) -> Tensor:
    """(B, T) from (B, T - 1) logits of `class above j`; forced to be monotone: `above j + 1` implies `above j`."""
    above = torch.sigmoid(logits).cummin(1).values
    one, zero = torch.ones_like(above[:, :1]), torch.zeros_like(above[:, :1])
    return torch.cat([one, above], 1) - torch.cat([above, zero], 1)


def balanced_weights(truth: Tensor, kind: str) -> Tensor:
    """Weights by which classes have equal totals over the known labels of truth (n, T): (T, 2), or (T,) if exclusive.

    As scikit-learn's `balanced`: cases / (classes x cases of the class); a class without cases gets 1.
    """
    known = ~torch.isnan(truth)
    y = truth.nan_to_num().double()
    if kind in ("binary", "multi_label"):
        n = known.sum(0).double()
        ones = (y * known).sum(0)
        counts = torch.stack([n - ones, ones], 1)
        return torch.where(counts > 0, n[:, None] / (2 * counts.clamp_min(1e-12)), torch.ones_like(counts))
    counts = y[known.all(1)].sum(0)
    return torch.where(counts > 0, counts.sum() / (len(counts) * counts.clamp_min(1e-12)), torch.ones_like(counts))


def case_weights(y: Tensor, known: Tensor, kind: str) -> Tensor:
    """Balanced weights case by case: (n, T), 0 where the label is unknown. y (n, T) has 0 there."""
    w = balanced_weights(torch.where(known, y, torch.full_like(y, torch.nan)), kind).to(y)
    if kind in ("binary", "multi_label"):
        return known * (w[:, 1] * y + w[:, 0] * (1 - y))
    return known * (y @ w)[:, None]
