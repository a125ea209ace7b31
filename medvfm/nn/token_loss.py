"""Cross-entropy of the next token, over the tokens that count."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

IGNORED = -100  # as everywhere in torch and transformers


def token_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """(N,) of the labelled tokens; logits (N, V) at the positions before them; labels (N,): the tokens."""
    return functional.cross_entropy(logits.float(), labels, reduction="none")
