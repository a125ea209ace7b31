"""Cross-entropy of the next token, over the tokens that count."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

IGNORED = -100  # as everywhere in torch and transformers


def next_token_loss(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """The mean over all labelled tokens of a batch, as transformers takes it.

    logits (B, L, V) at each position; labels (B, L): the token at that position, IGNORED where it does not count.
    Position t predicts token t + 1. weights (B,): how often each row counts.
    """
    told, wanted = logits[:, :-1].float(), labels[:, 1:]
    each = functional.cross_entropy(told.transpose(1, 2), wanted, ignore_index=IGNORED, reduction="none")
    counts = (wanted != IGNORED).to(each)
    if weights is not None:
        counts = counts * weights.to(each)[:, None]
    return (each * counts).sum() / counts.sum().clamp(min=1e-9)
