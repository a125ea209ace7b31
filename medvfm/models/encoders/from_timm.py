"""Image encoders of timm: CNNs, vision transformers, Swin."""

from __future__ import annotations

import sys
from typing import Any

import timm
import torch
from timm.data import resolve_data_config

from medvfm.core.errors import WeightsError, nearest
from medvfm.models.catalogue import CatalogueModel
from medvfm.models.encoders import timm_arguments
from medvfm.models.encoders.base import Encoder, Features, evenly_spaced, tokens_to_map
from medvfm.models.inputs.contract import InputContract, Interpolation, crop_resize_px
from medvfm.models.weights import Weights, load_strictly, locate, read_shards

_INTERPOLATION: dict[str, Interpolation] = {
    "nearest": "nearest", "bilinear": "bilinear", "bicubic": "bicubic", "lanczos": "bicubic", "hamming": "bilinear",
}  # fmt: skip


def hub_weights(name: str) -> Weights:
    """Weights of a timm model by its name: `vit_small_patch16_224.augreg_in21k`."""
    known = timm.get_pretrained_cfg(name, allow_unregistered=True) if timm.is_model(name.partition(".")[0]) else None
    if known is None:
        raise WeightsError(
            f"timm has no model {name!r}", where=f"timm:{name}",
            remedy=nearest(name.partition(".")[0], timm.list_models()).partition("?")[0] + "?",
        )  # fmt: skip
    if not known.hf_hub_id:
        raise WeightsError("timm names no hub repository for these weights", where=f"timm:{name}",
                           remedy="give the folder or hub id that holds them")  # fmt: skip
    return locate(known.hf_hub_id)


def load_timm_encoder(weights: Weights, size_px: int | None, features: str) -> Encoder:
    config = weights.config()
    architecture = str(config["architecture"])
    if not timm.is_model(architecture):
        raise WeightsError(f"timm has no architecture {architecture!r}", where=weights.source)
    published = {**config.get("pretrained_cfg", {}), "architecture": architecture}
    options = dict(config.get("model_args") or {})
    if "num_classes" in config:
        options.setdefault("num_classes", config["num_classes"])
    state, known = read_shards(weights.files), None
    if timm_arguments.is_gated(state):
        options, known = timm_arguments.arguments(state, architecture, options, weights.source)
    try:
        backbone = timm.create_model(architecture, pretrained=False, **options)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise WeightsError(
            f"timm cannot build {architecture!r} from its config.json ({error})", where=weights.source
        ) from error
    if state.keys() != backbone.state_dict().keys():
        # Original layouts (DINOv2, MAE, SigLIP) that timm knows how to rename.
        rename = getattr(sys.modules[type(backbone).__module__], "checkpoint_filter_fn", None)
        state = rename(state, backbone) if rename else state
    load_strictly(backbone, state, weights.source)
    contract = timm_contract(resolve_data_config(pretrained_cfg=published, model=backbone))
    return wrap_timm(backbone, contract, weights.source, weights.as_record(), size_px, features, known)


def wrap_timm(
    backbone: Any,
    contract: InputContract,
    name: str,
    record: dict[str, Any],
    size_px: int | None,
    features: str,
    known: CatalogueModel | None = None,
) -> Encoder:
    """An encoder of a timm model with its weights in place. The classifier is dropped.

    `features` chooses a CNN's map: `final`, that of forward_features (for EfficientNet after the widening
    1x1 convolution that ImageNet's classifier reads), or `last_stage`, that of its last residual stage. The layers
    between the two are dropped with the latter.
    """
    contract = contract if size_px is None else contract.with_size(size_px)
    built_for = getattr(getattr(backbone, "patch_embed", None), "img_size", None)
    if hasattr(backbone, "set_input_size") and built_for != contract.size_px:
        try:
            backbone.set_input_size(img_size=contract.size_px)
        except (ValueError, AssertionError, RuntimeError) as error:
            raise WeightsError(f"a size of {contract.size_px} px does not fit it ({error})", where=name) from error
    backbone.eval()
    tokens = hasattr(backbone, "num_prefix_tokens")
    convolutional = not tokens and getattr(backbone, "output_fmt", "NCHW") == "NCHW"
    if features == "last_stage" and convolutional:
        backbone.prune_intermediate_layers([len(_stages(backbone)) - 1], prune_norm=True, prune_head=True)
        reader = read_last_stage
    else:
        # A transformer's pooling is part of its summary (norm, attention pooling), so only its classifier goes.
        backbone.reset_classifier(0) if tokens else backbone.reset_classifier(0, "")
        reader = read_tokens if tokens else read_map
        if tokens and backbone.global_pool == "":  # timm would hand over every token
            with_patches = known is not None and known.summary == "class_and_patches"
            reader = read_class_and_patches if with_patches else read_class
    with torch.no_grad():
        found = reader(backbone, torch.zeros(1, contract.channels, *contract.size_px))
    return Encoder(
        backbone,
        read=reader,
        levels=levels,
        contract=contract,
        width=found.pooled.shape[1],
        summary_width=None if found.cls is None else found.cls.shape[1],
        name=name,
        weights_record={**record, "features": features if convolutional else "final"},
        channels_last=convolutional,
    )


def timm_contract(data_config: dict[str, Any]) -> InputContract:
    """timm's evaluation transform, as timm.data.create_transform builds it from this configuration."""
    channels, *size = data_config["input_size"]
    size_px = (int(size[0]), int(size[1]))
    share, mode = float(data_config["crop_pct"] or 1.0), data_config.get("crop_mode") or "center"
    larger = crop_resize_px(size_px, share)
    common: dict[str, Any] = {
        "interpolation": _INTERPOLATION.get(data_config["interpolation"], "bicubic"),
        "mean": tuple(data_config["mean"])[:channels],
        "std": tuple(data_config["std"])[:channels],
        "channels": channels,
        "origin": "timm pretrained_cfg",
    }
    if mode == "squash":
        return InputContract(
            size_px, *(("squash", None) if larger == size_px else ("squash_then_crop", larger)), **common
        )
    if mode == "border":
        # timm fills each channel with its mean; one grey for all, because gray pictures have one channel here.
        return InputContract(size_px, "pad", larger, fill=sum(common["mean"]) / channels, **common)
    return InputContract(size_px, "shortest_then_crop", larger, **common)


def read_tokens(backbone: Any, pixels: torch.Tensor) -> Features:
    """Vision transformers: prefix tokens, then patches. `cls` is what timm itself would pool."""
    tokens = backbone.forward_features(pixels)
    patches = tokens_to_map(tokens, pixels.shape[-2:], backbone.patch_embed.patch_size)  # type: ignore[arg-type]
    return Features(backbone.forward_head(tokens, pre_logits=True), patches.mean((2, 3)), patches)


def read_class(backbone: Any, pixels: torch.Tensor) -> Features:
    """Vision transformers that name no pooling: `cls` is the class token, or nothing where there is none."""
    tokens = backbone.forward_features(pixels)
    patches = tokens_to_map(tokens, pixels.shape[-2:], backbone.patch_embed.patch_size)  # type: ignore[arg-type]
    return Features(tokens[:, 0] if backbone.has_class_token else None, patches.mean((2, 3)), patches)


def read_class_and_patches(backbone: Any, pixels: torch.Tensor) -> Features:
    """`cls` (N, 2 D): the class token beside the mean of the patches, register tokens left out, as Virchow2's page
    says."""
    own = read_class(backbone, pixels)
    assert own.cls is not None
    return Features(torch.cat([own.cls, own.pooled], 1), own.pooled, own.patches)


def read_map(backbone: Any, pixels: torch.Tensor) -> Features:
    """CNNs and hierarchical transformers: the last feature map."""
    patches = backbone.forward_features(pixels)
    if getattr(backbone, "output_fmt", "NCHW") == "NHWC":
        patches = patches.permute(0, 3, 1, 2)
    return Features(None, patches.mean((2, 3)), patches)


def read_last_stage(backbone: Any, pixels: torch.Tensor) -> Features:
    patches = backbone.forward_intermediates(pixels, indices=1, intermediates_only=True)[-1]
    return Features(None, patches.mean((2, 3)), patches)


def levels(backbone: Any, pixels: torch.Tensor) -> list[torch.Tensor]:
    if hasattr(backbone, "num_prefix_tokens"):
        indices = evenly_spaced(len(backbone.blocks))
    else:
        count = len(_stages(backbone))
        indices = list(range(max(0, count - 4), count))
    return backbone.forward_intermediates(pixels, indices=indices, intermediates_only=True, output_fmt="NCHW")


def _stages(backbone: Any) -> list[Any]:
    info = backbone.feature_info
    return info.info if hasattr(info, "info") else list(info)
