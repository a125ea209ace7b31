"""LLaVA checkpoints as the same three parts: transformers' layout, and LLaVA-Med's original one key by key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from medvfm.core.errors import WeightsError
from medvfm.models.encoders.base import Encoder, Features, tokens_to_map
from medvfm.models.encoders.processor_contracts import contract_of
from medvfm.models.language.connectors import Projector
from medvfm.models.language.from_transformers import strictly_read
from medvfm.models.language.image_language import ImageLanguageModel
from medvfm.models.language.language_model import LanguageModel
from medvfm.models.text.tokens import read_tokenizer
from medvfm.models.weights import Weights, fetch_tokenizer, load_strictly, locate, read_shards

ORIGINAL = ("llava_mistral", "llava_llama", "llava")  # model_type, or what the original repositories call themselves
_RENAMED = (  # LLaVA's and LLaVA-Med's own names to those of transformers, in memory
    (r"^model\.vision_tower\.vision_tower\.", "model.vision_tower."),
    (r"^model\.mm_projector\.0\.", "model.multi_modal_projector.linear_1."),
    (r"^model\.mm_projector\.2\.", "model.multi_modal_projector.linear_2."),
    (r"^model\.(embed_tokens|layers|norm)\b", r"model.language_model.\1"),
    (r"^lm_head\.", "lm_head."),
)
_VISION = {  # configurations of vision towers that original checkpoints name
    "openai/clip-vit-large-patch14-336": {
        "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
        "image_size": 336, "patch_size": 14, "projection_dim": 768,
    },
    "openai/clip-vit-large-patch14": {
        "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
        "image_size": 224, "patch_size": 14, "projection_dim": 768,
    },
}  # fmt: skip
MISTRAL_INSTRUCT = (  # LLaVA-Med's conversations, for tokenizers without a template
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] + eos_token }}"
    "{% else %}{{ raise_exception('only user and assistant') }}{% endif %}{% endfor %}"
)


class PublishedProjector(Projector):
    """The projector of a checkpoint, as it was trained."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.name, self.inner = "published", inner

    def count(self, patches: int) -> int:
        return patches

    def forward(self, patches: Tensor) -> Tensor:
        """(N, T, D) to (N, T, width)."""
        found: Tensor = self.inner(patches.to(next(self.inner.parameters()).dtype))
        return found


class LayerPatches:
    """Patches of one hidden layer of a vision transformer. strategy `default` leaves the class token out."""

    def __init__(self, layer: int, strategy: str, size_px: tuple[int, int], patch_px: int) -> None:
        self.layer, self.strategy = layer, strategy
        self.size_px, self.patch_px = size_px, (patch_px, patch_px)

    def __call__(self, backbone: nn.Module, pixels: Tensor) -> Features:
        states = backbone(pixels, output_hidden_states=True).hidden_states[self.layer]
        patches = tokens_to_map(states, self.size_px, self.patch_px)
        return Features(None, patches.mean((2, 3)), patches)


def is_llava(source: str) -> bool:
    """Whether `load_llava` reads the checkpoint: LLaVA 1.5 in transformers' layout, or LLaVA-Med's own."""
    config = locate(source).config()
    return config.get("mm_projector_type") is not None or config.get("model_type") == "llava"


def load_llava(source: str, *, four_bit: bool = False) -> ImageLanguageModel:
    """The parts of a checkpoint in float32 on the CPU, or its language model in four bits. Every key of its files must
    be used, and none may be missing."""
    found = locate(source)
    fetch_tokenizer(source)
    config = found.config()
    tokenizer: Any = read_tokenizer(found.folder, source)
    if config.get("mm_projector_type") is not None:
        if four_bit:
            raise WeightsError(
                "LLaVA-Med's original layout is converted in full precision, not in four bits",
                where=source,
                remedy="leave adapter.options.bits out, or give the checkpoint in transformers' layout",
            )
        model, folder = _original(found, config), None
        if not tokenizer.chat_template:
            tokenizer.chat_template = MISTRAL_INSTRUCT
    elif config.get("model_type") == "llava":
        class_ = transformers.AutoModelForImageTextToText
        model, folder = strictly_read(class_, found, "a LLaVA model", four_bit=four_bit), found.folder
    else:
        raise WeightsError(
            f"a model of type {config.get('model_type')!r} is not read as LLaVA",
            where=source,
            remedy="give a checkpoint of type llava, or of LLaVA-Med's own layout",
        )
    return _parts(model.eval(), tokenizer, found, folder)


def _parts(model: Any, tokenizer: Any, found: Weights, folder: Path | None) -> ImageLanguageModel:
    config, whole = model.config, model.model
    strategy, layer = config.vision_feature_select_strategy, config.vision_feature_layer
    if strategy != "default" or not isinstance(layer, int):
        raise WeightsError(f"vision features {layer!r} by {strategy!r} are not read here", where=found.source)
    record = found.as_record()
    size = (int(config.vision_config.image_size),) * 2
    contract = contract_of(folder or found.folder, found.source, "clip", size, 3)
    read = LayerPatches(layer, strategy, contract.size_px, int(config.vision_config.patch_size))
    vision = Encoder(
        whole.vision_tower,
        read=read,
        levels=lambda backbone, pixels: [read(backbone, pixels).patches],
        contract=replace(contract, eight_bit=True),
        width=int(config.vision_config.hidden_size),
        name=found.source,
        weights_record=record,
    )
    with torch.device("meta"):
        causal: Any = transformers.AutoModelForCausalLM.from_config(config.text_config)
    setattr(causal, causal.base_model_prefix, whole.language_model)
    causal.set_output_embeddings(model.lm_head)
    causal.is_loaded_in_4bit = getattr(model, "is_loaded_in_4bit", False)  # which peft asks
    language = LanguageModel(causal.eval(), tokenizer, name=found.source, weights_record=record)
    return ImageLanguageModel(vision, PublishedProjector(whole.multi_modal_projector), language, grid=0)


def _original(found: Weights, config: Mapping[str, Any]) -> Any:
    """LLaVA-Med's layout: one file of language model, projector and vision tower under names of its own."""
    kind = config["mm_projector_type"]
    if kind != "mlp2x_gelu":
        raise WeightsError(f"a projector of type {kind!r} is not read here", where=found.source)
    text = {k: v for k, v in config.items() if k not in ("model_type", "architectures") and not k.startswith("mm_")}
    family = "llama" if "llama" in str(config.get("model_type")) else "mistral"
    text_config = transformers.AutoConfig.for_model(family, **_known(family, text))
    whole = transformers.LlavaConfig(
        vision_config={"model_type": "clip_vision_model", **_vision_config(config, found.source)},
        text_config=text_config.to_dict(),
        vision_feature_layer=int(config.get("mm_vision_select_layer", -2)),
        vision_feature_select_strategy="default",
        image_token_index=int(config["vocab_size"]),  # never met: vectors of images stand between those of words
    )
    with torch.device("meta"):
        model = transformers.LlavaForConditionalGeneration(whole)
    model.to_empty(device="cpu")
    _fresh_buffers(model, whole)
    state = {_renamed(key): value.float() for key, value in read_shards(found.files).items()}
    load_strictly(model, state, found.source, may_leave=(r".*position_ids$", r".*rotary_emb\.inv_freq$"))
    return model


def _fresh_buffers(model: nn.Module, config: Any) -> None:
    """What no file holds: numbers of positions, and the frequencies of rotary ones, which a model that was made without
    memory lacks."""
    for part in model.modules():
        for name, buffer in list(part.named_buffers(recurse=False)):
            if name == "position_ids":
                buffer.copy_(torch.arange(buffer.shape[-1]).expand_as(buffer))
    rotary: Any = model.model.language_model.rotary_emb  # type: ignore[union-attr]
    model.model.language_model.rotary_emb = type(rotary)(config=config.get_text_config())  # type: ignore[union-attr]


def _known(family: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Keys that the configuration of a text model has."""
    known = transformers.AutoConfig.for_model(family).to_dict()
    return {key: value for key, value in given.items() if key in known}


def _vision_config(config: Mapping[str, Any], source: str) -> dict[str, Any]:
    name = str(config.get("mm_vision_tower"))
    if name in _VISION:
        return _VISION[name]
    if Path(name).expanduser().is_dir():
        found = locate(name).config()
        return dict(found.get("vision_config", found))
    raise WeightsError(
        f"its vision tower {name!r} is not known", where=source, remedy=f"known are {', '.join(_VISION)}, and folders"
    )


def _renamed(key: str) -> str:
    for pattern, ours in _RENAMED:
        if re.match(pattern, key):
            return re.sub(pattern, ours, key)
    return key
