"""Image encoders in transformers' format, dispatched on the `model_type` that their config.json names."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import nn
from transformers.utils import logging

from medvfm.core.errors import WeightsError, nearest
from medvfm.models import structure
from medvfm.models.encoders.base import Encoder, Features, block_outputs, evenly_spaced, tokens_to_map
from medvfm.models.encoders.processor_contracts import contract_of
from medvfm.models.weights import Weights, account

_HEADS = (r"classifier\.", r"cls_classifier\.", r"distillation_classifier\.")
_DINO_HEADS = (*_HEADS, r"(.*\.)?(dino_head|ibot_head|head)\.", r"(.*\.)?(dino_loss|ibot_patch_loss)\.")
_TEXT = (r"text_model\.", r"text_projection", r"visual_projection", r"logit_scale$", r"logit_bias$", r"classifier\.")
_POSITION_IDS = r"(.*\.)?embeddings\.position_ids$"


@dataclass(frozen=True)
class Family:
    """How a family of vision models is loaded: its class in transformers, and the keys that its checkpoints may hold
    besides the encoder's, which are ignored (regular expressions)."""

    class_name: str
    may_leave: tuple[str, ...]
    interpolates: bool  # takes interpolate_pos_encoding in forward; the others always do it, or have no such table
    own_summary: bool  # pooler_output is the model's own summary; else the first token is the class token
    options: tuple[tuple[str, Any], ...] = ()


FAMILIES = {
    "dinov2": Family("Dinov2Model", _DINO_HEADS, False, False),
    "dinov2_with_registers": Family("Dinov2WithRegistersModel", _DINO_HEADS, False, False),
    "dinov3_vit": Family("DINOv3ViTModel", _DINO_HEADS, False, False),
    "dinov3_convnext": Family("DINOv3ConvNextModel", _DINO_HEADS, False, True),
    "vit": Family(
        "ViTModel", (*_HEADS, r"(vit\.)?pooler\.", r"decoder\.", r"(vit\.)?embeddings\.mask_token$"), True, False,
        (("add_pooling_layer", False),),
    ),
    "vit_mae": Family("ViTMAEModel", (*_HEADS, r"decoder\.", r"mask_token$"), True, False),
    "swin": Family(
        "SwinModel", (*_HEADS, r"decoder\.", r"(.*\.)?relative_position_index$", r"(swin\.)?embeddings\.mask_token$"),
        True, False, (("add_pooling_layer", False),),
    ),
    "siglip": Family("SiglipVisionModel", (*_TEXT, _POSITION_IDS), True, True),
    "siglip2": Family("Siglip2VisionModel", (*_TEXT, _POSITION_IDS), False, True),
    "clip": Family("CLIPVisionModel", (*_TEXT, _POSITION_IDS), True, True),
}  # fmt: skip


def load_transformers_encoder(weights: Weights, size_px: int | None) -> Encoder:
    model_type = str(weights.config().get("model_type"))
    name = model_type.removesuffix("_vision_model")
    if name not in FAMILIES:
        raise WeightsError(
            f"no image encoder of model_type {model_type!r} is known", where=weights.source,
            remedy=nearest(name, FAMILIES),
        )  # fmt: skip
    backbone, left = _load(FAMILIES[name], weights)
    return wrap_transformers(backbone, name, weights, size_px, left)


def wrap_transformers(
    backbone: Any, name: str, weights: Weights, size_px: int | None, keys_left: Sequence[str] = ()
) -> Encoder:
    """An encoder of a vision model of one of FAMILIES with its weights in place, and the contract of its folder."""
    config = backbone.config
    contract = contract_of(weights.folder, weights.source, name, _image_size(config), config.num_channels)
    contract = contract if size_px is None else contract.with_size(size_px)
    step = _step(name, config)
    if contract.size_px[0] % step or contract.size_px[1] % step:
        fits = round(contract.size_px[0] / step) * step
        raise WeightsError(
            f"a size of {contract.size_px[0]} px does not fit patches of {step} px", where=weights.source,
            remedy=f"take a multiple of {step}, such as {max(step, fits)}",
        )  # fmt: skip
    if name == "swin":
        _fix_windows(backbone, contract.size_px)
    return Encoder(
        backbone,
        read=Reader(name),
        levels=_SCALES.get(name) or Levels(name),
        contract=contract,
        width=_width(name, config),
        name=weights.source,
        weights_record={
            **weights.as_record(),
            "model_type": str(weights.config().get("model_type")),
            "keys_left_unused": _prefixes(keys_left),
        },
    )


def _load(family: Family, weights: Weights) -> tuple[Any, list[str]]:
    """The plain model of transformers in float32, every key accounted for, and the keys that were left."""
    kind = getattr(transformers, family.class_name)
    try:
        with quiet():
            config = kind.config_class.from_pretrained(weights.folder, local_files_only=True)
            for name in ("pos_embed_shift", "pos_embed_jitter", "pos_embed_rescale"):
                if hasattr(config, name):  # DINOv3 shakes its positions while it trains, from the global generator
                    setattr(config, name, None)
            if hasattr(config, "mask_ratio"):
                config.mask_ratio = 0.0
            backbone, info = kind.from_pretrained(
                weights.folder, config=config, output_loading_info=True, local_files_only=True,
                trust_remote_code=False, weights_only=True, dtype=torch.float32, **dict(family.options),
            )  # fmt: skip
    except WeightsError:
        raise
    except Exception as error:  # transformers raises many kinds for damaged files; all mean the same to the user
        reason = str(error).strip().splitlines()
        raise WeightsError(
            f"transformers cannot load it: {reason[0] if reason else type(error).__name__}", where=weights.source,
            remedy="only safetensors and pickles that load with weights_only=True are read",
        ) from error  # fmt: skip
    left = account(
        weights.source,
        missing=info["missing_keys"],
        unexpected=info["unexpected_keys"],
        mismatched=(key if isinstance(key, str) else key[0] for key in info["mismatched_keys"]),
        may_miss=(_POSITION_IDS,),
        may_leave=family.may_leave,
    )
    return _without_mask_token(backbone), left


def _without_mask_token(backbone: nn.Module) -> nn.Module:
    """Masked pretraining's token is never read here: dropped, so that every trainable weight can move."""
    embeddings = getattr(backbone, "embeddings", None)
    if embeddings is not None and getattr(embeddings, "mask_token", None) is not None:
        embeddings.mask_token = None
    return backbone


@dataclass(frozen=True)
class Reader:
    """Calls a backbone of one family and names its outputs."""

    name: str

    def __call__(self, backbone: nn.Module, pixels: torch.Tensor) -> Features:
        family = FAMILIES[self.name]
        output = _forward(self.name, backbone, pixels)
        config: Any = backbone.config
        tokens = output.last_hidden_state
        if self.name == "swin":
            grid = _swin_grid(config, pixels.shape[-2:], len(config.depths) - 1)
            return Features(None, tokens.mean(1), tokens.transpose(1, 2).unflatten(2, grid))
        step = _step(self.name, config)
        patches = tokens_to_map(tokens, pixels.shape[-2:], (step, step))  # type: ignore[arg-type]
        cls = output.pooler_output if family.own_summary else tokens[:, 0]
        return Features(cls, patches.mean((2, 3)), patches)


@dataclass(frozen=True)
class Levels:
    """Outputs of four evenly spaced blocks of a ViT, as maps; none of them is normalised."""

    name: str

    def __call__(self, backbone: nn.Module, pixels: torch.Tensor) -> list[torch.Tensor]:
        found = structure.blocks(backbone)
        config: Any = backbone.config
        outputs = block_outputs(found, lambda: _forward(self.name, backbone, pixels), evenly_spaced(len(found)))
        return [tokens_to_map(tokens, pixels.shape[-2:], _pair(config.patch_size)) for tokens in outputs]  # type: ignore[arg-type]


def swin_levels(backbone: nn.Module, pixels: torch.Tensor) -> list[torch.Tensor]:
    """Each stage's output before it is halved, fine to coarse; the last four where there are more."""
    config: Any = backbone.config
    last = [sum(config.depths[: stage + 1]) - 1 for stage in range(len(config.depths))]
    outputs = block_outputs(structure.blocks(backbone), lambda: _forward("swin", backbone, pixels), last)
    maps = [
        tokens.transpose(1, 2).unflatten(2, _swin_grid(config, pixels.shape[-2:], stage))
        for stage, tokens in enumerate(outputs)
    ]
    return maps[-4:]


def convnext_levels(backbone: nn.Module, pixels: torch.Tensor) -> list[torch.Tensor]:
    """Each stage's output, fine to coarse: strides 4, 8, 16 and 32."""
    stages: list[nn.Module] = list(backbone.model.stages)  # type: ignore[union-attr, arg-type]
    return block_outputs(stages, lambda: _forward("dinov3_convnext", backbone, pixels), list(range(len(stages))))[-4:]


_SCALES = {"swin": swin_levels, "dinov3_convnext": convnext_levels}  # families that see in several scales


def _step(name: str, config: Any) -> int:
    """Pixels that sides must be multiples of: a patch, or the last stride of a CNN, which would cut the rest. Swin pads
    to whole windows by itself."""
    if name == "dinov3_convnext":
        return 4 * 2 ** (len(config.depths) - 1)
    return 1 if name == "swin" else _pair(config.patch_size)[0]


def _width(name: str, config: Any) -> int:
    if name == "dinov3_convnext":
        return int(config.hidden_sizes[-1])
    return config.hidden_size if name != "swin" else int(config.embed_dim * 2 ** (len(config.depths) - 1))


def _forward(name: str, backbone: nn.Module, pixels: torch.Tensor) -> Any:
    if name == "vit_mae":
        # Even at mask_ratio 0 MAE shuffles its patches by random noise; growing noise keeps them in their order.
        config: Any = backbone.config
        rows, columns = (side // step for side, step in zip(pixels.shape[-2:], _pair(config.patch_size), strict=True))
        noise = torch.arange(rows * columns, device=pixels.device, dtype=torch.float32).expand(len(pixels), -1)
        return backbone(pixels, noise=noise, interpolate_pos_encoding=True)
    if name == "siglip2":
        return _forward_naflex(backbone, pixels)
    if FAMILIES[name].interpolates:
        return backbone(pixels, interpolate_pos_encoding=True)
    return backbone(pixels)


def _forward_naflex(backbone: nn.Module, pixels: torch.Tensor) -> Any:
    """SigLIP 2 NaFlex takes patches in rows, (N, h * w, step * step * C), with their grid's shape."""
    config: Any = backbone.config
    step = config.patch_size
    rows, columns = pixels.shape[2] // step, pixels.shape[3] // step
    cells = pixels.unflatten(3, (columns, step)).unflatten(2, (rows, step))  # (N, C, rows, step, columns, step)
    patches = cells.permute(0, 2, 4, 3, 5, 1).reshape(len(pixels), rows * columns, -1)
    mask = torch.ones(len(pixels), rows * columns, dtype=torch.int32, device=pixels.device)
    shapes = torch.tensor([[rows, columns]] * len(pixels), device=pixels.device)
    return backbone(patches, mask, shapes)  # by place: releases call them differently


def _fix_windows(backbone: Any, size_px: tuple[int, int]) -> None:
    """Swin does not shift where one window covers the map. transformers decides this in each forward pass, shrinks
    the layer's window for good as it does so, and then fails because the bias table keeps its size. Here it is decided
    once, and a map smaller than a window is padded to one, as Swin pads every map to whole windows."""
    layers = iter(structure.blocks(backbone))
    for stage, depth in enumerate(backbone.config.depths):
        for _ in range(depth):
            layer: Any = next(layers)
            if min(_swin_grid(backbone.config, size_px, stage)) <= layer.window_size:
                layer.shift_size = 0
            layer.set_shift_and_window_size = _keep_windows


def _keep_windows(_input_resolution: tuple[int, int]) -> None:
    """In place of the method that changes a layer's windows while it runs."""


def _swin_grid(config: Any, size_px: Any, stage: int) -> tuple[int, int]:
    """Rows and columns of tokens: patches rounded up, halved with rounding up after each earlier stage."""
    sides = [-(-side // step) for side, step in zip(size_px, _pair(config.patch_size), strict=True)]
    for _ in range(stage):
        sides = [-(-side // 2) for side in sides]
    return sides[0], sides[1]


def _image_size(config: Any) -> tuple[int, int]:
    if getattr(config, "image_size", None) is None:  # NaFlex counts patches
        side = int(config.num_patches**0.5) * config.patch_size
        return side, side
    return _pair(config.image_size)


def _pair(value: Any) -> tuple[int, int]:
    return (int(value[0]), int(value[1])) if isinstance(value, (list, tuple)) else (int(value), int(value))


def _prefixes(keys: Sequence[str]) -> list[str]:
    return sorted({key.partition(".")[0] for key in keys})


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """transformers reports keys and progress on standard error; here keys are accounted for, and progress is ours."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
