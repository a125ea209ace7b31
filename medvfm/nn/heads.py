"""From the vectors of a case's slices to one vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SlicePool(nn.Module):
    """(B, S, D) with mask (B, S), true where there is a slice, to (B, D): mean, max or gated attention.

    Attention weighs slices by a softmax over w^T (tanh(V h) * sigmoid(U h)), Ilse 2018, eq. 9.
    """

    def __init__(self, how: str, width: int, hidden: int = 128) -> None:
        super().__init__()
        if how not in ("mean", "max", "attention"):
            raise ValueError(f"no pooling {how!r}; one of mean, max, attention")
        self.how = how
        if how == "attention":
            self.tanh, self.gate, self.score = nn.Linear(width, hidden), nn.Linear(width, hidden), nn.Linear(hidden, 1)

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        if self.how == "max":
            return vectors.masked_fill(~mask[..., None], -torch.inf).amax(1)
        if self.how == "mean":
            weight = mask.to(vectors)
        else:
            logits = self.score(torch.tanh(self.tanh(vectors)) * torch.sigmoid(self.gate(vectors))).squeeze(-1)
            weight = torch.softmax(logits.masked_fill(~mask, -torch.inf), 1)
        return (vectors * weight[..., None]).sum(1) / weight.sum(1, keepdim=True)
