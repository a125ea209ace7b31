"""`tiny`: a small transformer from scratch for texts in any script, with a tokenizer that needs no file."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from medvfm.models.text.encoder import TextEncoder
from medvfm.models.weights import sha256_of_tensors

WIDTH, LAYERS, HEADS, LIMIT, IDS = 64, 2, 4, 64, 4096
_PAD, _BEGIN, _END, _FIRST = 0, 1, 2, 3
_LONGEST = 12  # letters of one piece
_WORDS = re.compile(r"\w+|[^\w\s]")


class HashedPieces:
    """Lower-cased pieces of words, each hashed to one of 4093 ids; the same in every process, on every machine.

    A word is one piece up to 12 letters, and cut after every twelfth where it is longer. Wide characters (Chinese,
    Japanese, Korean), which no spaces part, are a piece each.
    """

    begin, ends, pad, plain, pads_left = 1, 2, _PAD, _FIRST, False

    def rows(self, texts: Sequence[str], limit: int | None) -> list[list[int]]:
        return [[_BEGIN, *ids[: None if limit is None else limit - 2], _END] for ids in map(self._ids, texts)]

    def _ids(self, text: str) -> list[int]:
        words = _WORDS.findall(unicodedata.normalize("NFKC", text).lower())
        return [_FIRST + zlib.crc32(piece.encode()) % (IDS - _FIRST) for word in words for piece in _pieces(word)]


def _pieces(word: str) -> list[str]:
    runs: list[str] = []
    for letter in word:
        wide = unicodedata.east_asian_width(letter) in "WF"
        if wide or not runs or len(runs[-1]) == _LONGEST or unicodedata.east_asian_width(runs[-1][-1]) in "WF":
            runs.append(letter)
        else:
            runs[-1] += letter
    return runs


class Block(nn.Module):
    """Self-attention and a perceptron, each after a norm; Xiong et al. 2020."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.rise, self.fall = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor, absent: Tensor) -> Tensor:
        y = self.norm1(x)
        x = x + self.attention(y, y, y, key_padding_mask=absent, need_weights=False)[0]
        return x + self.fall(functional.gelu(self.rise(self.norm2(x))))


class TinyText(nn.Module):
    """Ids and mask (n, L) to (n, 64): the mean over the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.places = nn.Embedding(IDS, WIDTH), nn.Embedding(LIMIT, WIDTH)
        self.layers = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.table(input_ids) + self.places.weight[: input_ids.shape[1]]
        absent = attention_mask == 0
        for layer in self.layers:
            x = layer(x, absent)
        return mean_of_tokens(self.norm(x), attention_mask)


def mean_of_tokens(states: Tensor, mask: Tensor) -> Tensor:
    """(n, L, d) and mask (n, L) to (n, d): the mean over the tokens of each text."""
    weights = mask.to(states)[..., None]
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1e-9)


def read(backbone: nn.Module, tokens: Mapping[str, Tensor]) -> Tensor:
    return backbone(**tokens)


def table(backbone: nn.Module) -> nn.Module:
    return backbone.table  # type: ignore[return-value]


def load_tiny_text(seed: int = 0) -> TextEncoder:
    """Weights initialised from `seed`; the global generator does not change."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = TinyText()
        nn.init.normal_(net.places.weight, std=0.1)
    return TextEncoder(
        net,
        tokenizer=HashedPieces(),
        read=read,
        table=table,
        width=WIDTH,
        limit=LIMIT,
        name="tiny",
        weights_record={
            "source": "tiny",
            "sha256": sha256_of_tensors(net.state_dict()),
            "revision": None,
            "seed": seed,
            "licence": None,
        },
    )
