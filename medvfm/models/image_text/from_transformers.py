"""CLIP, SigLIP and SigLIP 2 in transformers' format, dispatched on the `model_type` that config.json names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from medvfm.core.errors import WeightsError, nearest
from medvfm.models.encoders.from_transformers import quiet, wrap_transformers
from medvfm.models.image_text import dense
from medvfm.models.image_text.pair import Dense, ImageTextPair, Loss
from medvfm.models.text.encoder import TextEncoder
from medvfm.models.text.from_transformers import input_table
from medvfm.models.text.tokens import TransformersTokenizer, read_tokenizer
from medvfm.models.weights import Weights, account, fetch_tokenizer


@dataclass(frozen=True)
class PairFamily:
    """Its class in transformers and its objective; whether texts are always padded to the limit."""

    class_name: str
    loss: Loss
    fill: bool
    dense: Dense


# SigLIP reads the last token of a row, which may be padding: rows must have the length of its training.
FAMILIES = {
    "clip": PairFamily("CLIPModel", "clip", False, dense.of_clip),
    "siglip": PairFamily("SiglipModel", "siglip", True, dense.of_siglip),
    "siglip2": PairFamily("Siglip2Model", "siglip", True, dense.of_siglip),
}


def load_transformers_pair(weights: Weights, size_px: int | None) -> ImageTextPair:
    """Both towers of one checkpoint, every key accounted for; `size_px` replaces the size of the folder's processor."""
    name = str(weights.config().get("model_type"))
    if name not in FAMILIES:
        raise WeightsError(
            f"no image-text model of model_type {name!r} is known", where=weights.source, remedy=nearest(name, FAMILIES)
        )
    family = FAMILIES[name]
    fetch_tokenizer(weights.source)
    model = _load(family, weights)
    image = wrap_transformers(model.vision_model, name, weights, size_px)
    projection = getattr(model, "visual_projection", None)
    bias = getattr(model, "logit_bias", None)
    pools = bool(getattr(model.vision_model.config, "vision_use_head", True))
    return ImageTextPair(
        image,
        _text(model, family, weights),
        name=weights.source,
        image_width=image.width if projection is None else projection.out_features,
        projection=projection,
        aligned=True,
        loss=family.loss,
        scale=float(model.logit_scale.detach().exp()),
        bias=None if bias is None else float(bias.detach()),
        dense=family.dense if pools else None,
    )


def _text(model: Any, family: PairFamily, weights: Weights) -> TextEncoder:
    tokenizer = read_tokenizer(weights.folder, weights.source)
    config = model.text_model.config
    projection = getattr(model, "text_projection", None)
    return TextEncoder(
        model.text_model,
        tokenizer=TransformersTokenizer(tokenizer),
        read=_pooled,
        table=input_table,
        width=projection.out_features if projection is not None else config.projection_size,
        limit=min(int(tokenizer.model_max_length), int(config.max_position_embeddings)),
        name=weights.source,
        weights_record={**weights.as_record(), "model_type": config.model_type},
        projection=projection,
        fill=family.fill,
        masked="attention_mask" in tokenizer.model_input_names,
    )


def _pooled(backbone: nn.Module, tokens: Mapping[str, Tensor]) -> Tensor:
    return backbone(**tokens).pooler_output


def _load(family: PairFamily, weights: Weights) -> Any:
    kind = getattr(transformers, family.class_name)
    try:
        with quiet():
            model, info = kind.from_pretrained(
                weights.folder, output_loading_info=True, local_files_only=True, trust_remote_code=False,
                weights_only=True, dtype=torch.float32,
            )  # fmt: skip
    except Exception as error:  # transformers raises many kinds for damaged files; all mean the same to the user
        reason = str(error).strip().splitlines()
        raise WeightsError(
            f"transformers cannot load it: {reason[0] if reason else type(error).__name__}", where=weights.source,
            remedy="only safetensors and pickles that load with weights_only=True are read",
        ) from error  # fmt: skip
    account(
        weights.source,
        missing=info["missing_keys"],
        unexpected=info["unexpected_keys"],
        mismatched=(key if isinstance(key, str) else key[0] for key in info["mismatched_keys"]),
        may_leave=(r"(.*\.)?embeddings\.position_ids$",),
    )
    return model.eval()
