"""Patches in the space of the texts, without training.

Vision transformers with a class token: Zhou et al. 2022 (MaskCLIP), section 3.2. In the last block, attention is left
out: each patch keeps its own value, which goes through the output projection, the final norm and the projection to the
shared space. Attention pooling (SigLIP): the pooling head is asked about each patch of the last hidden state alone.
Attention over one patch is that patch's value, so that this is its value path, output projection and perceptron.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from medvfm.models import structure
from medvfm.models.encoders.base import Encoder


def of_clip(image: Encoder, projection: nn.Module, pixels: Tensor) -> Tensor:
    """transformers' CLIP."""
    block: Any = structure.blocks(image.backbone)[-1]
    normed = block.layer_norm1(_into(block, image, pixels))
    value = block.self_attn.out_proj(block.self_attn.v_proj(normed))
    backbone: Any = image.backbone
    return _as_map(projection(backbone.post_layernorm(value)), image, pixels)


def of_open_clip(image: Encoder, projection: nn.Module, pixels: Tensor) -> Tensor:
    """open_clip's VisionTransformer with a class token and plain blocks."""
    block: Any = structure.blocks(image.backbone)[-1]
    normed = block.ln_1(_into(block, image, pixels))
    rows = slice(2 * normed.shape[-1], None)  # query, key and value are stacked
    value = functional.linear(normed, block.attn.in_proj_weight[rows], block.attn.in_proj_bias[rows])
    backbone: Any = image.backbone
    return _as_map(projection(backbone.ln_post(block.ls_1(block.attn.out_proj(value)))), image, pixels)


def of_timm(image: Encoder, projection: nn.Module, pixels: Tensor) -> Tensor:
    """timm's VisionTransformer that pools its class token."""
    block: Any = structure.blocks(image.backbone)[-1]
    normed = block.norm1(_into(block, image, pixels))
    value = block.attn.qkv(normed)[..., 2 * normed.shape[-1] :]
    backbone: Any = image.backbone
    vector = backbone.fc_norm(backbone.norm(block.ls1(block.attn.proj(block.attn.norm(value)))))
    return _as_map(projection(vector), image, pixels)


def of_siglip(image: Encoder, projection: nn.Module, pixels: Tensor) -> Tensor:
    """transformers' SigLIP and SigLIP 2."""
    backbone: Any = image.backbone
    return _each_alone(backbone.head, image(pixels).patches, projection)


def of_timm_pooled(image: Encoder, projection: nn.Module, pixels: Tensor) -> Tensor:
    """timm's VisionTransformer that pools by attention, as open_clip's SigLIP."""
    backbone: Any = image.backbone
    return _each_alone(lambda token: backbone.fc_norm(backbone.attn_pool(token)), image(pixels).patches, projection)


def _each_alone(head: Any, patches: Tensor, projection: nn.Module) -> Tensor:
    """A pooling head's answer to each of (N, D, h, w) alone, (N, image_width, h, w)."""
    batch, width, rows, columns = patches.shape
    alone = patches.permute(0, 2, 3, 1).reshape(-1, 1, width)
    return projection(head(alone)).float().unflatten(0, (batch, rows, columns)).permute(0, 3, 1, 2)


def _into(block: nn.Module, image: Encoder, pixels: Tensor) -> Tensor:
    """The tokens (N, L, D) that a block receives."""
    caught: list[Tensor] = []

    def catch(_module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        caught.append(given[0] if given else next(v for v in named.values() if isinstance(v, torch.Tensor)))

    handle = block.register_forward_pre_hook(catch, with_kwargs=True)
    try:
        image(pixels)
    finally:
        handle.remove()
    return caught[0]


def _as_map(tokens: Tensor, image: Encoder, pixels: Tensor) -> Tensor:
    """The patches of tokens (N, 1 + h * w, D) as (N, D, h, w)."""
    step = _step(image.backbone)
    rows, columns = pixels.shape[-2] // step, pixels.shape[-1] // step
    return tokens[:, -rows * columns :].float().transpose(1, 2).unflatten(2, (rows, columns))


def _step(backbone: nn.Module) -> int:
    """Side of a patch in pixels: the stride of the convolution that makes them."""
    first = next(layer for layer in backbone.modules() if isinstance(layer, nn.Conv2d))
    return int(first.stride[0])
