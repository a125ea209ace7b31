"""Nearest neighbours among frozen features, as in DINO's evaluation (Wu 2018, Caron 2021): cosine, weighted votes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

NEIGHBOURS = (10, 20, 100, 200)
DEFAULT_NEIGHBOURS = 20
TEMPERATURE = 0.07
SWEPT = f"k {' or '.join(map(str, NEIGHBOURS))}, chosen on validation cases; {DEFAULT_NEIGHBOURS} where there are none"
CHUNK = 1024


class Neighbours(nn.Module):
    """Features (n, d) to scores (n, T) in [0, 1]: the mean of the k nearest labels, weighted by exp(cosine / 0.07).

    The training features are centred first: without it all cosines of one modality are close to 1.
    """

    def __init__(self, bank: Tensor, labels: Tensor, k: int, mean: Tensor) -> None:
        super().__init__()
        self.register_buffer("bank", bank.float())
        self.register_buffer("labels", labels.float())
        self.register_buffer("mean", mean.float())
        self.register_buffer("k", torch.tensor(k))

    def forward(self, features: Tensor) -> Tensor:
        queries = nn.functional.normalize(features.float() - self.mean, dim=1)  # type: ignore[operator]
        return torch.cat([self._vote(part) for part in queries.split(CHUNK)])

    def _vote(self, queries: Tensor) -> Tensor:
        cosine, nearest = (queries @ self.bank.T).topk(int(self.k), dim=1)  # type: ignore[operator, arg-type]
        labels = self.labels[nearest]  # type: ignore[index]
        weight = torch.exp((cosine - 1) / TEMPERATURE)[..., None] * ~torch.isnan(labels)
        return (weight * labels.nan_to_num()).sum(1) / weight.sum(1).clamp_min(1e-30)

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> Neighbours:
        return cls(state["bank"], state["labels"], int(state["k"]), state["mean"])


def sweep(
    train: tuple[Tensor, Tensor],
    val: tuple[Tensor, Tensor],
    choose: Callable[[np.ndarray], float] | None,
    *,
    kind: str,
    neighbours: tuple[int, ...] = NEIGHBOURS,
) -> tuple[Neighbours, dict[str, Any]]:
    """The number of neighbours that `choose` values highest on validation features; of equals, the smallest."""
    labelled = ~torch.isnan(train[1]).all(1)
    features, labels = train[0][labelled].float(), train[1][labelled]
    mean = features.mean(0)
    bank = nn.functional.normalize(features - mean, dim=1)
    tried = sorted({min(k, len(bank)) for k in (neighbours if choose is not None else (DEFAULT_NEIGHBOURS,))})
    heads = [Neighbours(bank, labels, k, mean) for k in tried]
    values = [float(choose(head(val[0]).double().cpu().numpy())) for head in heads] if choose is not None else [0.0]
    best = int(np.argmax(np.nan_to_num(values, nan=-np.inf)))
    record = {
        "k": tried[best],
        "swept": tried,
        "values": [None if np.isnan(v) else v for v in values] if choose is not None else [],
        "on": "val" if choose is not None else None,
        "temperature": TEMPERATURE,
    }
    return heads[best], record
