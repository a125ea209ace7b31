"""Vision transformers of masked autoencoders in the layout of their own repositories: one file that torch.save wrote,
without a config.json (MAE, and RETFound for fundus photographs and OCT).

What is built stands in the shapes of the weights, but for the heads of attention, which follow from the width in every
size that MAE knows. The decoder, which only pretraining needs, is left. `cls` is the class token and `pooled` the mean
of the patches, both after the encoder's own norm, as MAE's linear probe reads them.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer

from medvfm.core.errors import WeightsError
from medvfm.models.encoders.base import Encoder
from medvfm.models.encoders.from_timm import wrap_timm
from medvfm.models.inputs.contract import InputContract
from medvfm.models.weights import Weights, hub_file, load_strictly, read_state_dict

HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16}  # of width; He et al. 2022, Dosovitskiy et al. 2021
HUB_OWNERS = ("yukunzhou",)  # whose repositories hold one file NAME.pth and no config.json
_OF_PRETRAINING = ("decoder_", "mask_token")
_OF_A_TASK = ("head.", "fc_norm.")


def on_hub(source: str) -> Weights | None:
    """The file of a repository that is known to hold MAE's layout; None for any other source."""
    owner, _, name = source.partition("@")[0].partition("/")
    if owner.lower() not in HUB_OWNERS or Path(source).exists():
        return None
    revision = source.partition("@")[2] or None
    file = hub_file(f"{owner}/{name}", f"{name}.pth", revision)
    if file is None:
        raise WeightsError(f"this hub repository has no {name}.pth", where=source)
    return Weights(source, file.parent, (file,), file.parent.name)


def load_mae_encoder(weights: Weights, size_px: int | None) -> Encoder:
    """The encoder of a masked autoencoder, every key accounted for; raises WeightsError for another layout."""
    state = read_state_dict(weights.files[0])
    kept = {k: v for k, v in state.items() if not k.startswith((*_OF_PRETRAINING, *_OF_A_TASK))}
    backbone = _built(kept, weights.source)
    load_strictly(backbone, kept, weights.source)
    side = backbone.patch_embed.img_size
    assert side is not None
    contract = InputContract((side[0], side[1]), "squash", origin="that of RETFound's own evaluation")
    return wrap_timm(backbone, contract, weights.source, weights.as_record(), size_px, "final")


def _built(state: dict[str, torch.Tensor], source: str) -> VisionTransformer:
    try:
        width, channels, patch, _ = state["patch_embed.proj.weight"].shape
        side = math.isqrt(state["pos_embed"].shape[1] - 1)
        depth = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("blocks."))
        ratio = state["blocks.0.mlp.fc1.weight"].shape[0] / width
        positions = state["pos_embed"].shape[1] - 1
    except (KeyError, ValueError) as missing:
        raise WeightsError(
            f"its weights are not laid out as those of a masked autoencoder: {missing} cannot be found", where=source,
            remedy="give a folder with config.json, or a file of MAE or RETFound (MAE)",
        ) from missing  # fmt: skip
    if side * side != positions or channels != 3:
        raise WeightsError(f"{positions} positions of {channels} channels are no square of colours", where=source)
    if width not in HEADS:
        raise WeightsError(f"nothing says how many heads of attention a width of {width} has", where=source)
    options: dict[str, Any] = {"norm_layer": _norm, "num_classes": 0, "global_pool": "token", "qkv_bias": True}
    return VisionTransformer(
        img_size=side * patch, patch_size=patch, embed_dim=width, depth=depth, num_heads=HEADS[width], mlp_ratio=ratio,
        **options,
    )  # fmt: skip


def _norm(width: int, **more: Any) -> torch.nn.LayerNorm:
    return torch.nn.LayerNorm(width, **{"eps": 1e-6, **more})
