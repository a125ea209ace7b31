"""Configurations of small SAM and SAM 2 models in transformers' format, and weights for them."""

from __future__ import annotations

import torch

SIDE = 64
VISION = {
    "hidden_size": 32, "output_channels": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": SIDE,
    "patch_size": 16, "window_size": 2, "global_attn_indexes": [1], "num_pos_feats": 16, "initializer_range": 0.02,
}  # fmt: skip
PROMPT = {"hidden_size": 32, "image_size": SIDE, "patch_size": 16, "mask_input_channels": 16, "image_embedding_size": 4}
DECODER = {
    "hidden_size": 32, "mlp_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "iou_head_hidden_dim": 32,
}  # fmt: skip
HIERA = {
    "model_type": "sam2_hiera_det_model", "hidden_size": 16, "num_attention_heads": 1, "image_size": [SIDE, SIDE],
    "blocks_per_stage": [1, 1, 2, 1],
    "embed_dim_per_stage": [16, 32, 64, 128], "num_attention_heads_per_stage": [1, 2, 4, 8],
    "window_size_per_stage": [8, 4, 4, 2], "global_attention_blocks": [3],
    "window_positional_embedding_background_size": [2, 2],
}  # fmt: skip


def perturbed(model: torch.nn.Module, amount: float = 0.1) -> torch.nn.Module:
    """Random weights, the same in every run; none is 0 or 1, the initial value of tokens, biases and scales."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = amount * torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise if parameter.ndim > 1 else noise + parameter.mean().round())
    return model.eval()
