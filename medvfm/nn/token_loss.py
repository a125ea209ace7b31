"""Cross-entropy of the next token, over the tokens that count."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

IGNORED = -100  # as everywhere in torch and transformers


def token_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """(N,) of the labelled tokens; logits (N, V) at the positions before them; labels (N,): the tokens."""
    return functional.cross_entropy(logits.float(), labels, reduction="none")


def next_token_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean over all labelled tokens of a batch, as transformers takes it.

    logits (B, L, V) at each position; labels (B, L): the token at that position, IGNORED where it does not count.
    Position t predicts token t + 1.
    """
    wanted = labels[:, 1:]
    counted = wanted != IGNORED
    return token_losses(logits[:, :-1][counted], wanted[counted]).sum() / counted.sum().clamp(min=1)
