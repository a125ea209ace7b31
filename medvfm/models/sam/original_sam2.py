"""The original layout of SAM 2, SAM 2.1 and MedSAM2 (`.pt`), key by key, as that of transformers' Sam2Model.

Sizes are found from shapes. What no shape says, the heads of the trunk, its windows and the blocks that attend to the
whole picture, follows from which of the four published trunks it is (Ravi et al. 2024, table of sizes in the `configs`
of their code); MedSAM2 is the smallest. The side of the pictures stands in no file either: the contract says it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from medvfm.core.errors import WeightsError
from medvfm.models.sam.original_layout import DECODER_HEADS, State

WIDEST_STRIDE = 16  # pixels of a cell of the coarsest map that the decoder reads


@dataclass(frozen=True)
class Trunk:
    """heads of the first stage, side of the windows of each stage, and the blocks that see the whole picture."""

    heads: int
    windows: tuple[int, ...]
    whole: tuple[int, ...]


TRUNKS: Mapping[tuple[int, tuple[int, ...]], Trunk] = {  # by width and blocks of each stage
    (96, (1, 2, 7, 2)): Trunk(1, (8, 4, 14, 7), (5, 7, 9)),
    (96, (1, 2, 11, 2)): Trunk(1, (8, 4, 14, 7), (7, 10, 13)),
    (112, (2, 3, 16, 3)): Trunk(2, (8, 4, 14, 7), (12, 16, 20)),
    (144, (2, 6, 36, 4)): Trunk(2, (8, 4, 16, 8), (23, 33, 43)),
}
_MEMORY = re.compile(  # of videos, which pictures do not need
    r"(memory_attention|memory_encoder|mask_downsample|obj_ptr_proj|obj_ptr_tpos_proj)\.|"
    r"(maskmem_tpos_enc|no_mem_pos_enc|no_obj_ptr|no_obj_embed_spatial)$"
)
_POINTS = re.compile(r"sam_prompt_encoder\.point_embeddings\.(\d+)\.weight$")
_MLP = re.compile(
    r"(.*(?:output_hypernetworks_mlps\.\d+|iou_prediction_head|pred_obj_score_head))\.layers\.(\d+)\.(.*)"
)
_PAIR = re.compile(r"(.*\.mlp)\.layers\.([01])\.(.*)")
_NAMES = tuple(
    (re.compile(old), new)
    for old, new in (
        (r"^no_mem_embed$", "no_memory_embedding"),
        (r"^image_encoder\.trunk\.patch_embed\.proj\.", "vision_encoder.backbone.patch_embed.projection."),
        (r"^image_encoder\.trunk\.blocks\.(\d+)\.norm([12])\.", r"vision_encoder.backbone.blocks.\1.layer_norm\2."),
        (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
        (r"^image_encoder\.neck\.convs\.(\d+)\.conv\.", r"vision_encoder.neck.convs.\1."),
        (
            r"^sam_prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix$",
            "shared_image_embedding.positional_embedding",
        ),
        (r"^sam_prompt_encoder\.(not_a_point_embed|no_mask_embed)\.", r"prompt_encoder.\1."),
        (r"^sam_prompt_encoder\.mask_downscaling\.0\.", "prompt_encoder.mask_embed.conv1."),
        (r"^sam_prompt_encoder\.mask_downscaling\.1\.", "prompt_encoder.mask_embed.layer_norm1."),
        (r"^sam_prompt_encoder\.mask_downscaling\.3\.", "prompt_encoder.mask_embed.conv2."),
        (r"^sam_prompt_encoder\.mask_downscaling\.4\.", "prompt_encoder.mask_embed.layer_norm2."),
        (r"^sam_prompt_encoder\.mask_downscaling\.6\.", "prompt_encoder.mask_embed.conv3."),
        (r"^sam_mask_decoder\.output_upscaling\.0\.", "mask_decoder.upscale_conv1."),
        (r"^sam_mask_decoder\.output_upscaling\.1\.", "mask_decoder.upscale_layer_norm."),
        (r"^sam_mask_decoder\.output_upscaling\.3\.", "mask_decoder.upscale_conv2."),
        (r"^sam_mask_decoder\.transformer\.norm_final_attn\.", "mask_decoder.transformer.layer_norm_final_attn."),
        (r"^sam_mask_decoder\.transformer\.(.*)\.norm(\d)\.", r"mask_decoder.transformer.\1.layer_norm\2."),
        (r"^sam_mask_decoder\.transformer\.(.*)\.out_proj\.", r"mask_decoder.transformer.\1.o_proj."),
        (r"^sam_mask_decoder\.", "mask_decoder."),
    )
)


def is_original(state: State) -> bool:
    return "image_encoder.trunk.pos_embed" in state and "sam_prompt_encoder.point_embeddings.0.weight" in state


def converted(state: State, source: str) -> tuple[State, list[str]]:
    """The state dict in transformers' layout, and the keys that were left; any other key is refused."""
    new: State = {}
    left, strange = [], []
    points: dict[int, torch.Tensor] = {}
    last: dict[str, int] = {}
    for match in filter(None, map(_MLP.match, state)):
        last[match[1]] = max(last.get(match[1], 0), int(match[2]))
    for key, value in state.items():
        if _MEMORY.match(key):
            left.append(key)
        elif found := _POINTS.match(key):
            points[int(found[1])] = value
        elif (name := _renamed(key, last)) is not None:
            new[name] = value
        else:
            strange.append(key)
    if strange:
        raise WeightsError(
            f"{len(strange)} keys are not of SAM 2's layout: {', '.join(sorted(strange)[:3])}",
            where=source,
            remedy="give a checkpoint of SAM 2 or MedSAM2, or a folder in transformers' format",
        )
    new["prompt_encoder.point_embed.weight"] = torch.cat([points[n] for n in sorted(points)])
    shared = "shared_image_embedding.positional_embedding"
    if shared in new:
        new["prompt_encoder.shared_embedding.positional_embedding"] = new[shared]
    return new, left


def _renamed(key: str, last: Mapping[str, int]) -> str | None:
    """The key in the other layout; the first and last layers of MLPs have names of their own there."""
    if match := _MLP.match(key):
        layer = int(match[2])
        place = "proj_in" if layer == 0 else "proj_out" if layer == last[match[1]] else f"layers.{layer - 1}"
        key = f"{match[1]}.{place}.{match[3]}"
    elif match := _PAIR.match(key):
        key = f"{match[1]}.{('proj_in', 'proj_out')[int(match[2])]}.{match[3]}"
    for pattern, new in _NAMES:
        if pattern.match(key):
            return pattern.sub(new, key)
    return None


def config_of(
    state: State,
    source: str,
    side_px: int,
    trunks: Mapping[tuple[int, tuple[int, ...]], Trunk] = TRUNKS,
    decoder_heads: int = DECODER_HEADS,
) -> dict[str, Any]:
    """The parts of transformers' Sam2Config for pictures of `side_px`."""
    try:
        return _config(state, source, side_px, trunks, decoder_heads)
    except (KeyError, IndexError, ValueError) as missing:
        raise WeightsError(f"its keys do not fit SAM 2's layout: {missing} cannot be found", where=source) from missing


def _config(
    state: State, source: str, side_px: int, trunks: Mapping[tuple[int, tuple[int, ...]], Trunk], decoder_heads: int
) -> dict[str, Any]:
    trunk = "image_encoder.trunk"
    width = state[f"{trunk}.pos_embed"].shape[1]
    depth = 1 + max(int(m[1]) for key in state if (m := re.match(rf"{trunk}\.blocks\.(\d+)\.", key)))
    starts = [0, *(n for n in range(1, depth) if f"{trunk}.blocks.{n}.proj.weight" in state)]
    blocks = tuple(end - start for start, end in zip(starts, [*starts[1:], depth], strict=True))
    widths = [width, *(state[f"{trunk}.blocks.{n}.proj.weight"].shape[0] for n in starts[1:])]
    own = trunks.get((width, blocks))
    if own is None:
        raise WeightsError(f"none of SAM 2's four trunks has {width} channels and {blocks} blocks", where=source)
    decoder, prompts = "sam_mask_decoder", "sam_prompt_encoder"
    hidden = state[f"{prompts}.no_mask_embed.weight"].shape[1]
    sides = [side_px // stride for stride in (4, 8, WIDEST_STRIDE)]
    return {
        "vision_config": {
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "hidden_size": width,
                "num_attention_heads": own.heads,
                "image_size": [side_px, side_px],
                "blocks_per_stage": list(blocks),
                "embed_dim_per_stage": widths,
                "num_attention_heads_per_stage": [own.heads * w // width for w in widths],
                "window_size_per_stage": list(own.windows),
                "global_attention_blocks": list(own.whole),
                "window_positional_embedding_background_size": list(state[f"{trunk}.pos_embed"].shape[2:]),
            },
            "backbone_channel_list": widths[::-1],
            "backbone_feature_sizes": [[side, side] for side in sides],
            "fpn_hidden_size": state["image_encoder.neck.convs.0.conv.weight"].shape[0],
        },
        "prompt_encoder_config": {
            "hidden_size": hidden,
            "image_size": side_px,
            "patch_size": WIDEST_STRIDE,
            "mask_input_channels": state[f"{prompts}.mask_downscaling.3.weight"].shape[0],
        },
        "mask_decoder_config": {
            "hidden_size": hidden,
            "mlp_dim": state[f"{decoder}.transformer.layers.0.mlp.layers.0.weight"].shape[0],
            "num_attention_heads": decoder_heads,
            "attention_downsample_rate": hidden
            // state[f"{decoder}.transformer.final_attn_token_to_image.q_proj.weight"].shape[0],
            "num_multimask_outputs": state[f"{decoder}.mask_tokens.weight"].shape[0] - 1,
            "iou_head_hidden_dim": state[f"{decoder}.iou_prediction_head.layers.0.weight"].shape[0],
        },
    }
