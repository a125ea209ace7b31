"""SAM, MedSAM and SAM 2 for pictures of another size than the one they were trained at.

As in SAMed (Zhang and Liu 2023, `load_from` of its `segment_anything/build_sam.py`): the image encoder's position
embedding is interpolated, bilinear, to the new grid of patches; tables of relative positions are interpolated, linear,
where they are used (transformers does so for every size); prompts are placed in the new frame. Hiera of SAM 2
interpolates its own embedding, whose windows must fit: its sides are multiples of 32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from medvfm.models.sam.model import SamModel

_HIERA_MULTIPLE = 32


def at_size(segmenter: SamModel, size_px: int) -> SamModel:
    """The same segmenter for pictures whose longest side is `size_px`; at its own size nothing changes."""
    parts, frame = segmenter.parts, segmenter.frame
    encoder, is_hiera = parts.vision_encoder, not hasattr(parts.vision_encoder, "pos_embed")
    patch = int(parts.prompt_encoder.input_image_size // _pair(parts.prompt_encoder.image_embedding_size)[0])
    if size_px == frame.side_px:
        return segmenter
    found = frame.at(size_px, _HIERA_MULTIPLE if is_hiera else patch)
    cells = found.side_px // patch
    if not is_hiera:
        encoder.patch_embed.image_size = (found.side_px, found.side_px)
        if encoder.pos_embed is not None:
            encoder.pos_embed = nn.Parameter(_interpolated(encoder.pos_embed.detach(), cells))
    prompts = parts.prompt_encoder
    prompts.input_image_size, prompts.image_embedding_size = found.side_px, (cells, cells)
    if hasattr(prompts, "mask_input_size"):
        prompts.mask_input_size = (4 * cells, 4 * cells)
    parts.side = (cells, cells) if isinstance(parts.side, tuple) else cells
    parts.mask_side = 4 * cells
    segmenter.frame = found
    return segmenter


def _interpolated(positions: torch.Tensor, cells: int) -> torch.Tensor:
    """(1, cells, cells, D) of position embeddings (1, h, w, D)."""
    channels_first = positions.permute(0, 3, 1, 2)
    if channels_first.shape[-1] == cells:
        return positions
    resized = functional.interpolate(channels_first, (cells, cells), mode="bilinear", align_corners=False)
    return resized.permute(0, 2, 3, 1).contiguous()


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
