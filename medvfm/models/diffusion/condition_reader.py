"""What a generator from scratch understands of a condition: hashed words, and values of classes and attributes."""

from __future__ import annotations

import itertools
import re
import unicodedata
import zlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

IDS = 1024
VERSION = 1  # of how words become ids
_WORDS = re.compile(r"\w+")


def word_ids(text: str) -> list[int]:
    """Lower-cased words and pairs of neighbours, each hashed to one of 1024 ids; the same in every process."""
    words = _WORDS.findall(unicodedata.normalize("NFKC", text).lower())
    pairs = [f"{a} {b}" for a, b in itertools.pairwise(words)]
    return [zlib.crc32(piece.encode()) % IDS for piece in (*words, *pairs)]


def read_texts(texts: Sequence[str]) -> Tensor:
    """(B, L) ids of words and pairs, padded with -1."""
    rows = [torch.tensor(word_ids(text), dtype=torch.float32) for text in texts]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1.0)


class ConditionReader(nn.Module):
    """Ids (B, L) and values (B, V) to states (B, width): zero where nothing is asked for.

    values  how many classes and attributes there are; words: there are texts. Layers are built only for what there is
    """

    def __init__(self, values: int, words: bool, width: int) -> None:
        super().__init__()
        self.width = width
        self.words = nn.EmbeddingBag(IDS, width, mode="mean") if words else None
        if self.words is not None:  # a word that training never saw says nothing
            nn.init.zeros_(self.words.weight)
        self.values = nn.Linear(3 * values, width) if values else None

    def forward(self, texts: Tensor, values: Tensor) -> Tensor:
        found = torch.zeros((len(texts), self.width), device=values.device)
        if self.words is not None:
            ids, known = texts.long(), texts >= 0
            offsets = torch.cat([known.new_zeros(1, dtype=torch.long), known.sum(1).cumsum(0)[:-1]])
            found = found + self.words(ids[known], offsets)
        if self.values is not None:
            known = ~values.isnan()
            certain = values.nan_to_num(0.0)
            ones, zeros = certain * known, (1 - certain) * known
            found = found + self.values(torch.cat([ones, zeros, (~known).to(ones)], dim=1))
        return found
