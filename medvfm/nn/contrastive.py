"""Losses of pairs of images and texts, with identical texts as positives, and batches that are computed in chunks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint


def clip_loss(images: Tensor, texts: Tensor, scale: Tensor, right: Tensor, image_weight: float = 0.5) -> Tensor:
    """Softmax over the batch in both directions, weighed; Radford et al. 2021, fig. 3.

    images, texts  (n, D) unit vectors
    scale          by which cosines are multiplied, exp(logit_scale)
    right          (n, n) of bool: the text of column j says what image i shows. Of several right ones each is aimed at
                   alike, as in supervised contrastive learning (Khosla et al. 2020)
    image_weight   of the direction from images to texts; ConVIRT (Zhang et al. 2022, eq. 4) has 0.75
    """
    logits = scale * images @ texts.T
    to_texts = _softmax_loss(logits, right)
    to_images = _softmax_loss(logits.T, right.T)
    return image_weight * to_texts + (1 - image_weight) * to_images


def _softmax_loss(logits: Tensor, right: Tensor) -> Tensor:
    aim = right.to(logits)
    aim = aim / aim.sum(1, keepdim=True).clamp_min(1)
    return -(aim * functional.log_softmax(logits, 1)).sum(1).mean()


def siglip_loss(images: Tensor, texts: Tensor, scale: Tensor, bias: Tensor, right: Tensor) -> Tensor:
    """Every pair by itself, summed over a batch and divided by its size; Zhai et al. 2023, algorithm 1."""
    logits = scale * images @ texts.T + bias
    sign = right.to(logits) * 2 - 1
    return -functional.logsigmoid(sign * logits).sum() / len(logits)


def in_chunks(encode: Callable[[Any], Tensor], parts: Sequence[Any]) -> Tensor:
    """The vectors of all parts, one after the other; with gradients, what lies between is computed again part by part.

    A loss that compares all pairs of a batch needs every vector at once, but the memory of one part only: each part is
    encoded, its activations are let go, and come again when its gradient is due (Chen et al. 2016; Gao et al. 2021).
    """
    if len(parts) == 1 or not torch.is_grad_enabled():
        return torch.cat([encode(part) for part in parts])
    return torch.cat([checkpoint(encode, part, use_reentrant=False) for part in parts])
