"""Frozen weights of a language model in four bits (NF4 of QLoRA, Dettmers et al. 2023), by bitsandbytes."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
import transformers
from torch import nn

from medvfm.core.errors import WeightsError
from medvfm.models.encoders.from_transformers import quiet
from medvfm.models.weights import Weights


def quantised(class_: Any, found: Weights) -> dict[str, Any]:
    """What `from_pretrained` is told, so that it reads the blocks of the language model in four bits. The vision
    encoder, the projector and the layer of words stay as they are in the files.

    class_  an auto class of transformers
    Raises WeightsError where bitsandbytes is not installed.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        raise WeightsError(
            "weights in four bits need the package bitsandbytes, which is not installed",
            where=found.source,
            remedy="uv pip install bitsandbytes, or leave adapter.options.bits out",
        )
    on_gpu = torch.cuda.is_available()
    config = transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if on_gpu else torch.float32,
        llm_int8_skip_modules=_left_as_they_are(class_, found),
    )
    return {"quantization_config": config, "device_map": {"": torch.cuda.current_device() if on_gpu else "cpu"}}


def keep_layout(model: nn.Module) -> None:
    """Some CPUs have bitsandbytes lay out weights anew when they are first used in evaluation, and training that comes
    after it cannot read these: every layer keeps the layout that it was read in."""
    for layer in model.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False  # type: ignore[assignment]


def _left_as_they_are(class_: Any, found: Weights) -> list[str]:
    """Names of linear layers outside the blocks of the language model."""
    known = transformers.AutoConfig.from_pretrained(found.folder, local_files_only=True, trust_remote_code=False)
    with torch.device("meta"), quiet():
        shape: Any = class_.from_config(known, trust_remote_code=False)
    decoder = shape.get_decoder()
    place = next(name for name, part in shape.named_modules() if part is decoder)
    linear = [name for name, part in shape.named_modules() if isinstance(part, nn.Linear)]
    return [name for name in linear if not name.startswith(f"{place}.")]
