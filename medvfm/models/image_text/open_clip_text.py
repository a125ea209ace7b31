"""open_clip's text towers: its own transformer, and a Hugging Face model behind its projection (BiomedCLIP)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from open_clip.hf_model import HFTextEncoder
from open_clip.tokenizer import SimpleTokenizer, get_clean_fn
from torch import Tensor, nn

from medvfm.core.errors import WeightsError
from medvfm.models.image_text.open_clip_files import Found
from medvfm.models.image_text.open_clip_image import as_layer
from medvfm.models.text.encoder import TextEncoder
from medvfm.models.text.tokens import Tokenizer, TransformersTokenizer, read_tokenizer


class BytePairs:
    """CLIP's byte pairs, as open_clip carries them."""

    begin, ends, pad, plain, pads_left = 1, 2, 0, 1, False

    def __init__(self, tokenizer: SimpleTokenizer) -> None:
        self.tokenizer = tokenizer

    def rows(self, texts: Sequence[str], limit: int | None) -> list[list[int]]:
        first, last = self.tokenizer.sot_token_id, self.tokenizer.eot_token_id
        kept = None if limit is None else limit - 2
        return [[first, *self.tokenizer.encode(text)[:kept], last] for text in texts]


class CleanedTokenizer(TransformersTokenizer):
    """A tokenizer of transformers after open_clip's cleaning; `strip_sep` puts 0 for the separator."""

    def __init__(self, tokenizer: Any, clean: Callable[[str], str], strip_sep: bool) -> None:
        self.clean, self.separator = clean, tokenizer.sep_token_id if strip_sep else None
        super().__init__(tokenizer)

    def rows(self, texts: Sequence[str], limit: int | None) -> list[list[int]]:
        rows = super().rows([self.clean(text) for text in texts], limit)
        return [[0 if id_ == self.separator else id_ for id_ in row] for row in rows]


def wrap_text(tower: Any, found: Found, config: dict[str, Any], width: int) -> TextEncoder:
    """A text encoder of a tower with its weights in place, taken apart; `config` is its text_cfg."""
    hugging_face = isinstance(tower, HFTextEncoder)
    if hugging_face:
        projection, tower.proj = tower.proj, nn.Identity()
    else:
        projection, tower.text_projection = tower.text_projection, None
        if isinstance(projection, nn.Parameter):
            projection = as_layer(projection)
    return TextEncoder(
        tower,
        tokenizer=_tokenizer(found, config),
        read=_read,
        table=_hugging_face_table if hugging_face else _own_table,
        width=width,
        limit=int(config.get("context_length", 77)),
        name=found.weights.source,
        weights_record=found.weights.as_record(),
        projection=projection,
        fill=not hugging_face,  # which masks what pads a row; the own transformer is as long as its position table
    )


def _tokenizer(found: Found, config: dict[str, Any]) -> Tokenizer:
    options = dict(config.get("tokenizer_kwargs") or {})
    mode, strip = config.get("tokenizer_mode"), bool(options.pop("strip_sep_token", False))
    name = config.get("hf_tokenizer_name")
    clean = options.pop("clean", "whitespace" if name else "lower")
    if mode or options:
        raise WeightsError(
            f"its way to make tokens is not known: {', '.join([str(mode)] if mode else sorted(options))}",
            where=found.weights.source,
            remedy="models that shorten texts at random or append a class token are not read",
        )
    if not name:
        return BytePairs(SimpleTokenizer(clean=clean))
    folder = found.tokenizer_folder(name)
    return CleanedTokenizer(read_tokenizer(folder, found.weights.source), get_clean_fn(clean), strip)


def _read(backbone: nn.Module, tokens: Mapping[str, Tensor]) -> Tensor:
    return backbone(tokens["input_ids"].to(torch.int64))  # which makes its own masks


def _own_table(backbone: Any) -> nn.Module:
    return backbone.token_embedding


def _hugging_face_table(backbone: Any) -> nn.Module:
    return backbone.transformer.get_input_embeddings()
