"""Greedy decoding: the likeliest token again and again, in batches, with a cache of keys and values."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from medvfm.models.language.language_model import LanguageModel


@dataclass(frozen=True)
class DecodedAnswer:
    """ids without the token that ended them; probability: of each token given those before it, multiplied, the end
    included; finished: it ended by itself and was not cut at the limit."""

    ids: tuple[int, ...]
    probability: float
    finished: bool


@torch.inference_mode()
def greedy(language: LanguageModel, told: Any, mask: Tensor, stops: Collection[int], limit: int) -> list[DecodedAnswer]:
    """At most `limit` tokens after each of B conversations.

    told: what the language model said of them, its cache kept; mask (B, L): where the L positions hold tokens
    """
    rows = len(mask)
    ends = torch.tensor(sorted(stops), device=mask.device)
    said: list[Tensor] = []
    logs = torch.zeros(rows, dtype=torch.float64, device=mask.device)
    done = torch.zeros(rows, dtype=torch.bool, device=mask.device)
    for step in range(limit):
        chances = told.logits[:, -1].float().log_softmax(-1)
        best, token = chances.max(-1)
        logs += torch.where(done, 0.0, best.double())
        said.append(torch.where(done, -1, token))
        done = done | torch.isin(token, ends)
        if bool(done.all()) or step + 1 == limit:
            break
        mask = torch.cat([mask, mask.new_ones(rows, 1)], 1)
        told = language(language.vectors(token[:, None]), mask, 1, language.kept(told), keep=True)
    table = torch.stack(said, 1).tolist()
    found = []
    for row, log in zip(table, logs.exp().tolist(), strict=True):
        ended = next((n for n, token in enumerate(row) if token in stops), None)
        whole = row if ended is None else row[:ended]
        found.append(DecodedAnswer(tuple(t for t in whole if t >= 0), float(log), ended is not None))
    return found
