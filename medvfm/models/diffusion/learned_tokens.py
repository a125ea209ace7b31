"""Textual inversion: vectors of new words of a text encoder, in the file that diffusers' pipelines load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medvfm.core.errors import RecipeError, WeightsError
from medvfm.nn import state

FILE = "learned_embeds.safetensors"


class LearnedTokens(nn.Module):
    """A table of token vectors that stays as it is, and further rows that are learned; Gal et al. 2023."""

    def __init__(self, table: nn.Embedding, first: int, learned: Tensor) -> None:
        super().__init__()
        self.table, self.first = table, first
        self.learned = nn.Parameter(learned)

    def forward(self, ids: Tensor) -> Tensor:
        """(B, L) ids to (B, L, width); ids from `first` on are the learned rows."""
        new = ids >= self.first
        known: Tensor = self.table(ids.masked_fill(new, 0))
        rows = self.learned[(ids - self.first).clamp(min=0)]
        return torch.where(new[..., None], rows.to(known), known)


def words_of(token: str, count: int) -> list[str]:
    """`<x>` of one vector; `<x>`, `<x>_1`, ... of several, as diffusers names them."""
    return [token, *(f"{token}_{n}" for n in range(1, count))]


def add(text_encoder: Any, tokenizer: Any, token: str, count: int, start: str) -> LearnedTokens:
    """Teach tokenizer and encoder a word of `count` vectors that begin as the mean of the tokens of `start`."""
    table = text_encoder.get_input_embeddings()
    ids = tokenizer(start, add_special_tokens=False).input_ids
    if not ids:
        raise RecipeError(f"no token is known of the words {start!r}", where="adapter.options.start")
    first = len(tokenizer)
    if tokenizer.add_tokens(words_of(token, count)) != count:
        raise RecipeError(
            f"the tokenizer knows the word {token!r} already",
            where="adapter.options.token",
            remedy="take one that is in no text, such as <chest-x-ray>",
        )
    with torch.no_grad():
        begin = table.weight[torch.tensor(ids)].mean(0, keepdim=True).repeat(count, 1).clone()
    found = LearnedTokens(table, first, begin)
    text_encoder.set_input_embeddings(found)
    return found


def said(texts: Sequence[str], token: str, count: int) -> list[str]:
    """The texts after the word, which of several vectors is several words."""
    words = " ".join(words_of(token, count))
    return [f"{words} {text}".strip() for text in texts]


def save(tokens: LearnedTokens, token: str, folder: Path) -> None:
    state.write(folder / FILE, {token: tokens.learned.detach().float().cpu().clone()})


def load(tokens: LearnedTokens, token: str, folder: Path) -> None:
    found = state.read(folder / FILE)
    if set(found) != {token} or found[token].shape != tokens.learned.shape:
        raise WeightsError(
            f"holds {', '.join(sorted(found)) or 'no word'}, and {len(tokens.learned)} vectors of {token!r} are needed",
            where=folder / FILE,
        )
    with torch.no_grad():
        tokens.learned.copy_(found[token])
