"""open_clip's image towers as encoders: its own vision transformer, its ResNet, and trunks of timm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from medvfm.core.errors import WeightsError
from medvfm.models import structure
from medvfm.models.encoders import from_timm
from medvfm.models.encoders.base import Encoder, Features, evenly_spaced, tokens_to_map
from medvfm.models.image_text import dense
from medvfm.models.image_text.pair import Dense, patches, summary
from medvfm.models.inputs.contract import InputContract


@dataclass(frozen=True)
class Tower:
    """An encoder, and what leads from its features to the image embedding; see ImageTextPair."""

    encoder: Encoder
    projection: nn.Module
    pick: Callable[[Features], Tensor]
    dense: Dense | None


def wrap_image(visual: nn.Module, contract: InputContract, name: str, record: dict[str, Any]) -> Tower:
    """The tower with its weights in place, taken apart into encoder and projection."""
    if isinstance(visual, TimmModel):
        backbone, projection, read, levels = visual.trunk, visual.head, _read_trunk, from_timm.levels
    elif isinstance(visual, ModifiedResNet):
        backbone, projection, read, levels = visual, visual.attnpool, _read_resnet, _resnet_levels
        visual.attnpool = nn.Identity()
    elif isinstance(visual, VisionTransformer):
        backbone, projection, read, levels = visual, as_layer(visual.proj), _read_vit, _vit_levels
        visual.proj, visual.output_tokens = None, True
    else:
        raise WeightsError(f"no image tower of type {type(visual).__name__} is known", where=name)
    backbone.eval()
    with torch.no_grad():
        features = read(backbone, torch.zeros(1, 3, *contract.size_px))
    encoder = Encoder(
        backbone,
        read=read,
        levels=levels,
        contract=contract,
        width=features.patches.shape[1],
        name=name,
        weights_record=record,
        channels_last=features.cls is None,
    )
    return Tower(encoder, projection, patches if features.cls is None else summary, _dense_of(backbone))


def _dense_of(backbone: Any) -> Dense | None:
    """How single patches come into the space of the texts; None where this architecture has no such way."""
    if isinstance(backbone, VisionTransformer):
        plain = backbone.attn_pool is None and backbone.pool_type == "tok"
        attention = getattr(structure.blocks(backbone)[-1], "attn", None)
        return dense.of_open_clip if plain and isinstance(attention, nn.MultiheadAttention) else None
    if not isinstance(backbone, from_timm.timm.models.VisionTransformer):
        return None
    if backbone.attn_pool is not None:
        return dense.of_timm_pooled
    attention = getattr(structure.blocks(backbone)[-1], "attn", None)
    return dense.of_timm if backbone.global_pool == "token" and hasattr(attention, "qkv") else None


def as_layer(matrix: Tensor) -> nn.Linear:
    """x @ matrix as a layer."""
    layer = nn.Linear(matrix.shape[0], matrix.shape[1], bias=False)
    layer.weight = nn.Parameter(matrix.detach().T.contiguous())
    return layer


def _read_vit(backbone: Any, pixels: Tensor) -> Features:
    pooled, tokens = backbone(pixels)
    if backbone.attn_pool is not None:  # its tokens are answers to queries, not patches
        last = backbone.forward_intermediates(pixels, indices=1, intermediates_only=True)
        found = last["image_intermediates"][0]
    else:
        found = tokens_to_map(tokens, pixels.shape[-2:], backbone.patch_size)  # type: ignore[arg-type]
    return Features(pooled, found.mean((2, 3)), found)


def _vit_levels(backbone: Any, pixels: Tensor) -> list[Tensor]:
    indices = evenly_spaced(len(structure.blocks(backbone)))
    return backbone.forward_intermediates(pixels, indices=indices, intermediates_only=True)["image_intermediates"]


def _read_resnet(backbone: Any, pixels: Tensor) -> Features:
    found = _resnet_levels(backbone, pixels)[-1]
    return Features(None, found.mean((2, 3)), found)


def _resnet_levels(backbone: Any, pixels: Tensor) -> list[Tensor]:
    """The outputs of the four stages."""
    found = backbone.forward_intermediates(pixels, indices=[1, 2, 3, 4], intermediates_only=True)
    return found["image_intermediates"]


def _read_trunk(backbone: Any, pixels: Tensor) -> Features:
    """`cls` is what the trunk gives to open_clip's head, after timm's own pooling; None where the head pools itself."""
    output = backbone.forward_features(pixels)
    vector = backbone.forward_head(output)
    if hasattr(backbone, "num_prefix_tokens"):
        found = tokens_to_map(output, pixels.shape[-2:], backbone.patch_embed.patch_size)  # type: ignore[arg-type]
    else:
        found = output.permute(0, 3, 1, 2) if getattr(backbone, "output_fmt", "NCHW") == "NHWC" else output
    return Features(vector if vector.ndim == 2 else None, found.mean((2, 3)), found)
