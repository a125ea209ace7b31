"""Vision transformers of timm whose config.json cannot say how they are built.

Pathology encoders (UNI2-h, Virchow2) take a gated MLP, `mlp_layer=SwiGLUPacked, act_layer=SiLU`: classes of Python,
which no JSON holds, so that their pages give them as code. All of it but the number of heads stands in the shapes of
the weights, and is read there; what timm calls these numbers are the keys below.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import timm
import torch
from timm.layers import GluMlp, SwiGLUPacked
from torch import nn

from medvfm.core.errors import WeightsError
from medvfm.models import catalogue

_CLASSES = {"mlp_layer": SwiGLUPacked, "act_layer": nn.SiLU}


def is_gated(state: Mapping[str, torch.Tensor]) -> bool:
    """Whether these weights are a vision transformer with packed gates: its MLPs halve what they widened."""
    first, second = state.get("blocks.0.mlp.fc1.weight"), state.get("blocks.0.mlp.fc2.weight")
    return first is not None and second is not None and first.shape[0] == 2 * second.shape[1]


def arguments(
    state: Mapping[str, torch.Tensor], architecture: str, given: Mapping[str, Any], source: str
) -> tuple[dict[str, Any], catalogue.CatalogueModel | None]:
    """timm's arguments of gated weights, and the model of the catalogue that has just these sizes, if one has.

    The number of heads is, in this order: what config.json says; what the catalogue says of a model of these sizes;
    what the architecture has, where its width is that of the weights. Otherwise the weights are refused: another number
    of heads loads as well and gives other features.
    """
    with torch.device("meta"):
        plain: Any = timm.create_model(architecture, pretrained=False)
    if isinstance(plain.blocks[0].mlp, GluMlp):  # an architecture that is gated by itself: timm knows how
        return dict(given), None
    found = _sizes(state)
    known = catalogue.of_sizes(found)
    heads = given.get("num_heads")
    if heads is None and known is not None and known.build is not None:
        heads = known.build["num_heads"]
    if heads is None:
        if plain.embed_dim != found["embed_dim"]:
            raise WeightsError(
                f"nothing says how many heads of attention these weights of {found['embed_dim']} channels have",
                where=source,
                remedy='add "num_heads" to "model_args" in its config.json, as the page of the weights says',
            )
        heads = plain.blocks[0].attn.num_heads
    return {**given, **found, "num_heads": int(heads), **_CLASSES}, known


def _sizes(state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """What the shapes say: width, depth, patches, register tokens, the width of the MLP, and the pictures' size."""
    try:
        width, _, patch, _ = state["patch_embed.proj.weight"].shape
        registers = state["reg_token"].shape[1] if "reg_token" in state else 0
        prefix = registers + ("cls_token" in state)
        positions = state["pos_embed"].shape[1]
        own_positions = math.isqrt(positions - prefix) ** 2 == positions - prefix  # of class and register tokens
        side = math.isqrt(positions - prefix if own_positions else positions)
        return {
            "embed_dim": width,
            "depth": 1 + max(int(key.split(".")[1]) for key in state if key.startswith("blocks.")),
            "patch_size": patch,
            "reg_tokens": registers,
            "no_embed_class": not own_positions,
            "img_size": side * patch,
            # timm rounds down: half a channel more keeps the number through the division
            "mlp_ratio": (state["blocks.0.mlp.fc1.weight"].shape[0] + 0.5) / width,
            "init_values": 1e-5 if "blocks.0.ls1.gamma" in state else None,
            "class_token": "cls_token" in state,
        }
    except (KeyError, ValueError) as missing:
        raise WeightsError(f"no vision transformer of timm: {missing} cannot be found", where="weights") from missing
