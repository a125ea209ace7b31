"""Texts to token ids: what every tokenizer gives to a text encoder, and those of transformers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from medvfm.core.errors import WeightsError
from medvfm.models.weights import VOCABULARIES


class Tokenizer(Protocol):
    """A tokenizer behind one interface.

    begin  how many special tokens stand before a text: 1 for CLIP and BERT, 0 for SigLIP
    ends   special tokens of a text in all, those at its beginning counted
    pad    the id that fills a row up to the length of its batch
    plain  the id of an ordinary token, which stands in places whose embeddings are given
    pads_left  what fills a row stands before the text
    """

    @property
    def begin(self) -> int: ...

    @property
    def ends(self) -> int: ...

    @property
    def pad(self) -> int: ...

    @property
    def plain(self) -> int: ...

    @property
    def pads_left(self) -> bool: ...

    def rows(self, texts: Sequence[str], limit: int | None) -> list[list[int]]:
        """Ids of each text with its special tokens, not padded; cut at the end to `limit` tokens, special ones kept."""
        ...


class TransformersTokenizer:
    """A tokenizer of transformers. `lower`: texts are lower-cased first, as sentence-transformers does where asked."""

    def __init__(self, tokenizer: Any, lower: bool = False) -> None:
        self.tokenizer, self.lower = tokenizer, lower
        self.pads_left = tokenizer.padding_side == "left"
        special = set(tokenizer.all_special_ids)
        self.pad = int(tokenizer.pad_token_id) if tokenizer.pad_token_id is not None else 0
        self.plain = next(i for i in itertools.count() if i not in {*special, self.pad})
        self.begin, self.ends = _specials(self)

    def rows(self, texts: Sequence[str], limit: int | None) -> list[list[int]]:
        given = [text.lower() for text in texts] if self.lower else list(texts)
        if not given:
            return []
        options = {} if limit is None else {"truncation": True, "max_length": limit}
        return self.tokenizer(given, padding=False, verbose=False, **options)["input_ids"]

    def bare(self, text: str) -> list[int]:
        """Ids without special tokens."""
        return self.tokenizer([text], add_special_tokens=False)["input_ids"][0]


def read_tokenizer(folder: Path, source: str) -> Any:
    """The tokenizer that lies in a folder in transformers' format; it cuts at the end."""
    from transformers import AutoTokenizer  # a second that models without words need not wait

    from medvfm.models.encoders.from_transformers import quiet

    # Without a vocabulary transformers gives a tokenizer to which every word is unknown, and says nothing.
    if not any((folder / name).is_file() for name in VOCABULARIES):
        raise WeightsError(
            "it has no tokenizer", where=source, remedy=f"copy the model's own beside its weights: {VOCABULARIES[0]}"
        )
    try:
        with quiet():
            return AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, truncation_side="right"
            )
    except Exception as error:  # transformers raises many kinds for absent and damaged files
        reason = str(error).strip().splitlines()
        raise WeightsError(
            f"it has no tokenizer that transformers can read: {reason[0] if reason else type(error).__name__}",
            where=source,
            remedy="copy the model's tokenizer.json and tokenizer_config.json beside its weights (a vocabulary of "
            "SentencePiece alone also needs the package sentencepiece)",
        ) from error


def _specials(tokenizer: TransformersTokenizer) -> tuple[int, int]:
    """How many special tokens stand before a text, and in all: read from a text with and without them."""
    for text in ("a", "the", "1", "."):
        whole, bare = tokenizer.rows([text], None)[0], tokenizer.bare(text)
        for start in range(len(whole) - len(bare) + 1):
            if bare and whole[start : start + len(bare)] == bare:
                return start, len(whole) - len(bare)
    return 0, len(tokenizer.rows([""], None)[0])
