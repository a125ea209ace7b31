"""Text encoders in transformers' format that load on their own: BERT and its relatives, sentence encoders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from torch import Tensor, nn

from medvfm.core.errors import WeightsError, nearest
from medvfm.models.encoders.from_transformers import quiet
from medvfm.models.text.encoder import TextEncoder
from medvfm.models.text.tiny import mean_of_tokens
from medvfm.models.text.tokens import TransformersTokenizer, read_tokenizer
from medvfm.models.weights import Weights, account, fetch_tokenizer, locate, read_json

Pooling = Literal["mean", "cls"]

_HEADS = (
    r"cls\.", r"lm_head\.", r"(.*\.)?pooler\.", r"classifier\.", r"(.*\.)?position_ids$", r"mask_predictions\.",
    r"lm_predictions\.", r"discriminator_predictions\.", r"generator_(predictions|lm_head)\.", r"predictions\.",
    r"vocab_(transform|layer_norm|projector)\.", r"head\.", r"decoder\.", r"qa_outputs\.",
)  # fmt: skip

_TABLES = ("token_embedding", "word_embeddings")


@dataclass(frozen=True)
class TextFamily:
    """Its class in transformers; whether that takes add_pooling_layer; whether its positions begin after pad's id."""

    class_name: str
    pooler: bool = True
    offset: bool = False


FAMILIES = {
    "bert": TextFamily("BertModel"),
    "roberta": TextFamily("RobertaModel", offset=True),
    "xlm-roberta": TextFamily("XLMRobertaModel", offset=True),
    "camembert": TextFamily("CamembertModel", offset=True),
    "mpnet": TextFamily("MPNetModel", offset=True),
    "distilbert": TextFamily("DistilBertModel", pooler=False),
    "electra": TextFamily("ElectraModel", pooler=False),
    "deberta-v2": TextFamily("DebertaV2Model", pooler=False),
    "modernbert": TextFamily("ModernBertModel", pooler=False),
}


def load_transformers_text(source: str, pooling: Pooling | None = None) -> TextEncoder:
    """A BERT-like folder or hub id.

    pooling  `mean` over the tokens of a text or `cls`, its first token; None takes what the folder of a sentence
             encoder states (1_Pooling/config.json), and the mean where it states nothing
    """
    weights = locate(source)
    fetch_tokenizer(source)
    return text_of_folder(weights, pooling)


def text_of_folder(weights: Weights, pooling: Pooling | None = None) -> TextEncoder:
    """The encoder of weights that lie on this machine, tokenizer beside them."""
    name = str(weights.config().get("model_type"))
    if name not in FAMILIES:
        raise WeightsError(
            f"no text encoder of model_type {name!r} is known", where=weights.source, remedy=nearest(name, FAMILIES)
        )
    family = FAMILIES[name]
    backbone = _load(family, weights)
    tokenizer = read_tokenizer(weights.folder, weights.source)
    stated = read_json(file) if (file := weights.folder / "sentence_bert_config.json").is_file() else {}
    positions = getattr(backbone.config, "max_position_embeddings", None)
    if positions and family.offset:
        positions -= backbone.config.pad_token_id + 1
    limits = [tokenizer.model_max_length, positions, stated.get("max_seq_length")]
    chosen = pooling or _stated_pooling(weights.folder, weights.source)
    return TextEncoder(
        backbone,
        tokenizer=TransformersTokenizer(tokenizer, lower=bool(stated.get("do_lower_case"))),
        read=TextReader(chosen),
        table=input_table,
        width=backbone.config.hidden_size,
        limit=min(int(limit) for limit in limits if limit),
        name=weights.source,
        weights_record={**weights.as_record(), "model_type": name, "pooling": chosen},
    )


@dataclass(frozen=True)
class TextReader:
    """Calls a backbone and pools its last hidden states (n, L, d) to (n, d)."""

    pooling: Pooling

    def __call__(self, backbone: nn.Module, tokens: Mapping[str, Tensor]) -> Tensor:
        states = backbone(**tokens).last_hidden_state
        return states[:, 0] if self.pooling == "cls" else mean_of_tokens(states, tokens["attention_mask"])


def input_table(backbone: nn.Module) -> nn.Module:
    """The embeddings of tokens, by their name: older releases of transformers tell them of whole models alone."""
    found = [m for n, m in backbone.named_modules() if isinstance(m, nn.Embedding) and n.endswith(_TABLES)]
    return found[0] if len(found) == 1 else backbone.get_input_embeddings()  # type: ignore[operator]


def _load(family: TextFamily, weights: Weights) -> Any:
    kind = getattr(transformers, family.class_name)
    options = {"add_pooling_layer": False} if family.pooler else {}
    try:
        with quiet():
            backbone, info = kind.from_pretrained(
                weights.folder, output_loading_info=True, local_files_only=True, trust_remote_code=False,
                weights_only=True, dtype=torch.float32, **options,
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
        may_leave=_HEADS,
    )
    return backbone


def _stated_pooling(folder: Path, source: str) -> Pooling:
    """What 1_Pooling/config.json says; the mean where there is none."""
    modules = folder / "modules.json"
    if modules.is_file() and "Dense" in modules.read_text(encoding="utf-8"):
        raise WeightsError(
            "this sentence encoder has a dense layer after its pooling, which is not read", where=source,
            remedy="take a sentence encoder of transformer, pooling and normalisation, or state `mean` or `cls`",
        )  # fmt: skip
    file = folder / "1_Pooling" / "config.json"
    if not file.is_file():
        return "mean"
    config = read_json(file)
    found = {key.removeprefix("pooling_mode_") for key, on in config.items() if key.startswith("pooling_mode_") and on}
    found |= {str(config["pooling_mode"])} if "pooling_mode" in config else set()
    known: dict[str, Pooling] = {"mean_tokens": "mean", "mean": "mean", "cls_token": "cls", "cls": "cls"}
    if len(found) != 1 or not found <= known.keys():
        raise WeightsError(f"its pooling {sorted(found)} is not known", where=source, remedy="state `mean` or `cls`")
    return known[found.pop()]
