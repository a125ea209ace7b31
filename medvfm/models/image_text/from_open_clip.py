"""Image-text models of open_clip: BiomedCLIP, PLIP's and CLIP's own layout, SigLIP of timm."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import timm
import torch
from open_clip.model import (
    CustomTextCLIP,
    convert_to_custom_text_state_dict,
    resize_pos_embed,
)
from open_clip.timm_model import TimmModel

from medvfm.core.errors import WeightsError
from medvfm.models.encoders.from_transformers import quiet
from medvfm.models.image_text.open_clip_contract import open_clip_contract
from medvfm.models.image_text.open_clip_files import Found, find_open_clip
from medvfm.models.image_text.open_clip_image import wrap_image
from medvfm.models.image_text.open_clip_text import wrap_text
from medvfm.models.image_text.pair import ImageTextPair
from medvfm.models.weights import load_strictly, read_state_dict

_MAY_LEAVE = (r"text\.transformer\.embeddings\.position_ids$",)  # constants that transformers once stored
_OF_ARCHIVES = ("input_resolution", "context_length", "vocab_size")  # numbers beside the weights


def load_open_clip_pair(weights: str, size_px: int | None) -> ImageTextPair:
    """Both towers of one checkpoint, every key accounted for. `size_px` replaces the image tower's size."""
    found = find_open_clip(weights)
    model = _built(found, size_px)
    _fill(model, found, size_px)
    if size_px is not None and isinstance(model.visual, TimmModel):
        _resize_trunk(model.visual, size_px, weights)
    contract = open_clip_contract(found.preprocess, model.visual.image_size, weights)
    record = found.weights.as_record()
    width = int(found.model["embed_dim"])
    tower = wrap_image(model.visual, contract, weights, record)
    bias = model.logit_bias
    return ImageTextPair(
        tower.encoder,
        wrap_text(model.text, found, found.model["text_cfg"], width),
        name=weights,
        image_width=width,
        projection=tower.projection,
        pick=tower.pick,
        aligned=True,
        loss="clip" if bias is None else "siglip",
        scale=float(model.logit_scale.detach().exp()),
        bias=None if bias is None else float(bias.detach()),
        dense=tower.dense,
    )


def _built(found: Found, size_px: int | None) -> CustomTextCLIP:
    """The architecture without weights. Towers are always apart; nothing is fetched for them."""
    source, config = found.weights.source, deepcopy(found.model)
    config.pop("custom_text", None)
    if "multimodal_cfg" in config:
        raise WeightsError(
            "it also writes texts (CoCa), which is not read", where=source, remedy="take a model of two towers"
        )
    if not {"embed_dim", "vision_cfg", "text_cfg"} <= config.keys():
        raise WeightsError("its model_cfg lacks embed_dim, vision_cfg or text_cfg", where=source)
    vision, text = config["vision_cfg"], config["text_cfg"]
    trunk, language = vision.get("timm_model_name"), text.get("hf_model_name")
    if trunk and not timm.is_model(trunk):
        raise WeightsError(f"timm has no architecture {trunk!r}", where=source)
    if trunk:
        vision["timm_model_pretrained"] = False
    elif size_px is not None:
        vision["image_size"] = size_px
    if language:
        text.update(hf_model_name=str(found.text_folder(language)), hf_model_pretrained=False)
    vision["output_tokens"] = text["output_tokens"] = False
    try:
        with quiet():
            return CustomTextCLIP(**config).eval()
    except Exception as error:  # libraries raise many kinds for what a configuration may say
        reason = str(error).strip().splitlines()
        raise WeightsError(
            f"open_clip cannot build it from its configuration: {reason[0] if reason else type(error).__name__}",
            where=source,
        ) from error


def _fill(model: CustomTextCLIP, found: Found, size_px: int | None) -> None:
    state: dict[str, Any] = dict(read_state_dict(found.weights.files[0]))
    if all(key.startswith("module.") for key in state):  # of distributed training
        state = {key.removeprefix("module."): value for key, value in state.items()}
    state = {key: value.float() for key, value in state.items() if key not in _OF_ARCHIVES}
    if not any(key.startswith("text.") for key in state):  # CLIP's first layout has the text tower at the top
        state = convert_to_custom_text_state_dict(state)
    own = model.state_dict()
    for name in ("logit_scale", "logit_bias"):
        if name in state and name in own and state[name].numel() == 1:
            state[name] = state[name].reshape(own[name].shape)
    if size_px is not None:
        resize_pos_embed(state, model)
    fitted = {key: _typed(value, own.get(key)) for key, value in state.items()}
    load_strictly(model, fitted, found.weights.source, may_leave=_MAY_LEAVE)


def _typed(value: torch.Tensor, like: torch.Tensor | None) -> torch.Tensor:
    return value if like is None else value.to(like.dtype)


def _resize_trunk(visual: Any, size_px: int, source: str) -> None:
    try:
        visual.set_input_size((size_px, size_px))
    except (ValueError, AssertionError, RuntimeError) as error:
        raise WeightsError(f"a size of {size_px} px does not fit it ({error})", where=source) from error
