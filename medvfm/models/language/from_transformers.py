"""Causal language models in transformers' format: a folder, or a hub repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from medvfm.core.errors import WeightsError
from medvfm.models.encoders.from_transformers import quiet
from medvfm.models.language.four_bit import keep_layout, quantised
from medvfm.models.language.language_model import LanguageModel
from medvfm.models.text.tokens import read_tokenizer
from medvfm.models.weights import Weights, account, fetch_tokenizer, hub_file, locate

_TEMPLATES = ("chat_template.jinja", "generation_config.json")


def load_causal(source: str, *, four_bit: bool = False) -> LanguageModel:
    """Every key of the weights is accounted for."""
    found = locate(source)
    fetch_tokenizer(source)
    if not Path(source).expanduser().is_dir():
        repository, _, revision = source.partition("@")
        for name in _TEMPLATES:
            _optional(repository, name, revision or None)
    return causal_of_folder(found, found.as_record(), four_bit=four_bit)


def causal_of_folder(found: Weights, record: dict[str, Any], *, four_bit: bool = False) -> LanguageModel:
    """The model in a folder, in float32 on the CPU or its blocks in four bits; `record` says where it came from."""
    backbone = strictly_read(transformers.AutoModelForCausalLM, found, "a causal language model", four_bit=four_bit)
    return LanguageModel(backbone, read_tokenizer(found.folder, found.source), name=found.source, weights_record=record)


def strictly_read(class_: Any, found: Weights, kind: str, *, four_bit: bool = False) -> Any:
    """A model of transformers; a key that is missing, unused or of another shape stops. No remote code runs.

    four_bit  blocks of the language model in four bits; `class_` is then an auto class
    """
    try:
        more = quantised(class_, found) if four_bit else {}
        with quiet():
            model, told = class_.from_pretrained(
                found.folder,
                local_files_only=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
                **more,
            )
    except WeightsError:
        raise
    except Exception as error:  # transformers raises many kinds for configurations that it does not know
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"transformers reads it as no {kind.removeprefix('a ')}: {first}",
            where=found.source,
            remedy=f"give weights of {kind}",
        ) from error
    if four_bit:
        keep_layout(model)
    tied = tied_keys(model)
    account(
        found.source,
        missing=[k for k in told["missing_keys"] if k not in tied],
        unexpected=told["unexpected_keys"],
        mismatched=[str(key) for key in told["mismatched_keys"]],
        may_leave=(r".*rotary_emb\.inv_freq$",),
    )
    return model.eval()


def tied_keys(model: Any) -> set[str]:
    """Names whose tensor another name holds too: they need not be in a file."""
    seen: dict[int, str] = {}
    tied = set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if tensor.data_ptr() in seen and tensor.numel():
            tied |= {name, seen[tensor.data_ptr()]}
        seen[tensor.data_ptr()] = name
    return tied


def _optional(repository: str, name: str, revision: str | None) -> None:
    try:
        hub_file(repository, name, revision)
    except WeightsError:
        return  # a file that many repositories lack, and no network to ask
