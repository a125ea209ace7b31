"""The original layout of segment-anything and MedSAM (`.pth`), key by key, as that of transformers' SamModel.

Sizes are found from shapes alone: width, depth, heads, windows and which blocks attend to the whole picture. The
number of heads of the mask decoder is in no shape: every published model has 8.
"""

from __future__ import annotations

import re
from typing import Any

import torch

from medvfm.core.errors import WeightsError

State = dict[str, torch.Tensor]

DECODER_HEADS = 8
PREFIXES = ("image_encoder.", "prompt_encoder.", "mask_decoder.")
_LEFT = re.compile(r"pixel_(mean|std)$")  # of the picture, which the input contract holds
_NAMES = tuple(
    (re.compile(old), new)
    for old, new in (
        (r"^image_encoder\.pos_embed$", "vision_encoder.pos_embed"),
        (r"^image_encoder\.patch_embed\.proj\.", "vision_encoder.patch_embed.projection."),
        (r"^image_encoder\.blocks\.(\d+)\.norm([12])\.", r"vision_encoder.layers.\1.layer_norm\2."),
        (r"^image_encoder\.blocks\.(\d+)\.(attn|mlp)\.", r"vision_encoder.layers.\1.\2."),
        (r"^image_encoder\.neck\.0\.", "vision_encoder.neck.conv1."),
        (r"^image_encoder\.neck\.1\.", "vision_encoder.neck.layer_norm1."),
        (r"^image_encoder\.neck\.2\.", "vision_encoder.neck.conv2."),
        (r"^image_encoder\.neck\.3\.", "vision_encoder.neck.layer_norm2."),
        (
            r"^prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix$",
            "shared_image_embedding.positional_embedding",
        ),
        (r"^prompt_encoder\.point_embeddings\.", "prompt_encoder.point_embed."),
        (r"^prompt_encoder\.(not_a_point_embed|no_mask_embed)\.", r"prompt_encoder.\1."),
        (r"^prompt_encoder\.mask_downscaling\.0\.", "prompt_encoder.mask_embed.conv1."),
        (r"^prompt_encoder\.mask_downscaling\.1\.", "prompt_encoder.mask_embed.layer_norm1."),
        (r"^prompt_encoder\.mask_downscaling\.3\.", "prompt_encoder.mask_embed.conv2."),
        (r"^prompt_encoder\.mask_downscaling\.4\.", "prompt_encoder.mask_embed.layer_norm2."),
        (r"^prompt_encoder\.mask_downscaling\.6\.", "prompt_encoder.mask_embed.conv3."),
        (r"^mask_decoder\.transformer\.norm_final_attn\.", "mask_decoder.transformer.layer_norm_final_attn."),
        (
            r"^mask_decoder\.transformer\.layers\.(\d+)\.norm(\d)\.",
            r"mask_decoder.transformer.layers.\1.layer_norm\2.",
        ),
        (r"^mask_decoder\.(transformer|iou_token|mask_tokens)\.", r"mask_decoder.\1."),
        (r"^mask_decoder\.output_upscaling\.0\.", "mask_decoder.upscale_conv1."),
        (r"^mask_decoder\.output_upscaling\.1\.", "mask_decoder.upscale_layer_norm."),
        (r"^mask_decoder\.output_upscaling\.3\.", "mask_decoder.upscale_conv2."),
    )
)
_MLP = re.compile(r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))\.layers\.(\d+)\.(\w+)$")


def is_original(state: State) -> bool:
    return "image_encoder.pos_embed" in state and "prompt_encoder.point_embeddings.0.weight" in state


def converted(state: State, source: str) -> tuple[State, list[str]]:
    """The state dict in transformers' layout, and the keys that were left; any other key is refused.

    The matrix that encodes positions lies at two names there, since prompts and pictures share it.
    """
    last = {prefix: max(int(m[2]) for m in found) for prefix, found in _mlps(state).items()}
    new: State = {}
    left, strange = [], []
    for key, value in state.items():
        if _LEFT.match(key):
            left.append(key)
            continue
        name = _renamed(key, last)
        if name is None:
            strange.append(key)
        else:
            new[name] = value
    if strange:
        raise WeightsError(
            f"{len(strange)} keys are not of segment-anything's layout: {', '.join(sorted(strange)[:3])}",
            where=source,
            remedy="give a checkpoint of segment-anything or MedSAM, or a folder in transformers' format",
        )
    shared = "shared_image_embedding.positional_embedding"
    if shared in new:
        new["prompt_encoder.shared_embedding.positional_embedding"] = new[shared]
    return new, left


def _mlps(state: State) -> dict[str, list[re.Match[str]]]:
    found: dict[str, list[re.Match[str]]] = {}
    for key in state:
        if match := _MLP.match(key):
            found.setdefault(match[1], []).append(match)
    return found


def _renamed(key: str, last: dict[str, int]) -> str | None:
    """The key in the other layout; an MLP's first and last layers have names of their own there."""
    if match := _MLP.match(key):
        prefix, layer, kind = match[1], int(match[2]), match[3]
        place = "proj_in" if layer == 0 else "proj_out" if layer == last[prefix] else f"layers.{layer - 1}"
        return f"{prefix}.{place}.{kind}"
    for pattern, new in _NAMES:
        if pattern.match(key):
            return pattern.sub(new, key)
    return None


def config_of(state: State, source: str, decoder_heads: int = DECODER_HEADS) -> dict[str, Any]:
    """The parts of transformers' SamConfig that the shapes of an original state dict say."""
    try:
        return _config(state, decoder_heads)
    except (KeyError, IndexError, ValueError) as missing:
        raise WeightsError(
            f"its keys do not fit segment-anything's layout: {missing} cannot be found", where=source
        ) from missing


def _config(state: State, decoder_heads: int) -> dict[str, Any]:
    _, rows, columns, width = state["image_encoder.pos_embed"].shape
    if rows != columns:
        raise ValueError("a square grid of positions")
    patch = state["image_encoder.patch_embed.proj.weight"].shape[-1]
    channels = state["image_encoder.neck.0.weight"].shape[0]
    depth = _count(state, r"image_encoder\.blocks\.(\d+)\.")
    reach = [
        (state[f"image_encoder.blocks.{i}.attn.rel_pos_h"].shape[0] + 1) // 2 for i in range(depth)
    ]  # 2 side - 1 relative positions: the side of the window, or of the whole grid
    windows = {side for side in reach if side != rows}
    if len(windows) > 1:
        raise ValueError("one size of windows")
    head_width = state["image_encoder.blocks.0.attn.rel_pos_h"].shape[1]
    hidden = state["prompt_encoder.no_mask_embed.weight"].shape[1]
    mlp = state["mask_decoder.iou_prediction_head.layers.0.weight"].shape[0]
    return {
        "vision_config": {
            "hidden_size": width,
            "output_channels": channels,
            "num_hidden_layers": depth,
            "num_attention_heads": width // head_width,
            "image_size": rows * patch,
            "patch_size": patch,
            "mlp_dim": state["image_encoder.blocks.0.mlp.lin1.weight"].shape[0],
            "qkv_bias": "image_encoder.blocks.0.attn.qkv.bias" in state,
            "window_size": windows.pop() if windows else 0,
            "global_attn_indexes": [i for i, side in enumerate(reach) if side == rows],
            "num_pos_feats": state["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"].shape[1],
        },
        "prompt_encoder_config": {
            "hidden_size": hidden,
            "image_size": rows * patch,
            "patch_size": patch,
            "mask_input_channels": state["prompt_encoder.mask_downscaling.3.weight"].shape[0],
        },
        "mask_decoder_config": {
            "hidden_size": state["mask_decoder.iou_token.weight"].shape[1],
            "mlp_dim": state["mask_decoder.transformer.layers.0.mlp.lin1.weight"].shape[0],
            "num_hidden_layers": _count(state, r"mask_decoder\.transformer\.layers\.(\d+)\."),
            "num_attention_heads": decoder_heads,
            "attention_downsample_rate": state["mask_decoder.iou_token.weight"].shape[1]
            // state["mask_decoder.transformer.final_attn_token_to_image.q_proj.weight"].shape[0],
            "num_multimask_outputs": state["mask_decoder.mask_tokens.weight"].shape[0] - 1,
            "iou_head_depth": _count(state, r"mask_decoder\.iou_prediction_head\.layers\.(\d+)\."),
            "iou_head_hidden_dim": mlp,
        },
    }


def _count(state: State, pattern: str) -> int:
    return 1 + max(int(m[1]) for key in state if (m := re.match(pattern, key)))
