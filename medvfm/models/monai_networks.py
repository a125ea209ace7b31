"""MONAI's networks: built from a name and sizes, or read from a bundle on disk without running its code."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medvfm.core.errors import WeightsError, nearest
from medvfm.models.weights import load_strictly, read_state_dict, sha256_of

# Only these networks of bundles are built: a bundle may name any class of Python, and none of its own code runs.
_OF_BUNDLES = {
    "UNet": "unet",
    "SegResNet": "segresnet",
    "SegResNetDS": "segresnet_ds",
    "SwinUNETR": "swin_unetr",
    "DynUNet": "dynunet",
    "UNETR": "unetr",
    "VNet": "vnet",
    "AttentionUnet": "attentionunet",
    "BasicUNet": "basic_unet",
    "FlexibleUNet": "flexible_unet",
}
_WEIGHTS = ("model.safetensors", "model.pt")


def from_scratch(name: str, dims: int, channels: int, outputs: int, width: int) -> nn.Module:
    """unet, segresnet, swin_unetr or dynunet, initialised from torch's current generator."""
    from monai.networks import nets

    if name == "unet":
        return nets.UNet(
            spatial_dims=dims,
            in_channels=channels,
            out_channels=outputs,
            channels=[width * 2**level for level in range(4)],
            strides=[2, 2, 2],
            num_res_units=2,
            norm=("instance", {"affine": True}),
        )
    if name == "segresnet":
        return nets.SegResNet(spatial_dims=dims, init_filters=width, in_channels=channels, out_channels=outputs)
    if name == "swin_unetr":
        feature_size = max(12, width - width % 12)
        return nets.SwinUNETR(in_channels=channels, out_channels=outputs, feature_size=feature_size, spatial_dims=dims)
    kernels, strides = [[3] * dims] * 4, [[1] * dims, [2] * dims, [2] * dims, [2] * dims]
    return nets.DynUNet(
        spatial_dims=dims,
        in_channels=channels,
        out_channels=outputs,
        kernel_size=kernels,
        strides=strides,
        upsample_kernel_size=strides[1:],
        filters=[width * 2**level for level in range(4)],
        res_block=True,
    )


def from_bundle(folder: str) -> tuple[nn.Module, dict[str, Any]]:
    """Network and record of a MONAI bundle: configs/inference.json (or train.json) names it, models/ holds its weights.

    Only a plain definition of a network of MONAI is read: expressions that a bundle would run are refused.
    """
    root = Path(folder).expanduser()
    config = next((f for n in ("inference", "train") if (f := root / "configs" / f"{n}.json").is_file()), None)
    if config is None:
        raise WeightsError("no MONAI bundle: it has no configs/inference.json", where=folder)
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as broken:
        raise WeightsError(f"damaged JSON: {broken}", where=config) from broken
    definition = content.get("network_def") or content.get("network")
    if not isinstance(definition, dict) or not isinstance(definition.get("_target_"), str):
        raise WeightsError("no network_def with a _target_", where=config)
    arguments = {k: _plain(v, config) for k, v in definition.items() if not k.startswith("_")}
    network = _class(definition["_target_"], config)(**arguments)
    file = next((f for name in _WEIGHTS if (f := root / "models" / name).is_file()), None)
    if file is None:
        raise WeightsError(
            "the bundle holds no weights", where=root / "models", remedy=f"one of: {', '.join(_WEIGHTS)}"
        )
    found: Any = read_state_dict(file)
    load_strictly(network, found["model"] if list(found) == ["model"] else found, str(root))
    return network.eval(), {"source": f"bundle:{root.name}", "sha256": sha256_of([file]), "licence": None}


def outputs_of(network: nn.Module, dims: int, channels: int) -> int:
    """Number of output channels of a network."""
    with torch.inference_mode():
        given = network.eval()(torch.zeros(1, channels, *[64] * dims))
    return int((given[0] if isinstance(given, list | tuple) else given).shape[1])


def _class(target: str, config: Path) -> type[nn.Module]:
    name = target.rpartition(".")[2]
    if name not in _OF_BUNDLES or ("." in target and not target.startswith("monai.networks.nets")):
        raise WeightsError(f"network {target!r} is not supported; {nearest(name, _OF_BUNDLES)}", where=config)
    return getattr(importlib.import_module("monai.networks.nets"), name)


def _plain(value: Any, config: Path) -> Any:
    if isinstance(value, str) and value[:1] in ("$", "@", "%"):
        raise WeightsError(f"the bundle computes {value!r}, and no code of a bundle is run", where=config)
    if isinstance(value, list):
        return [_plain(v, config) for v in value]
    if isinstance(value, dict):
        return {k: _plain(v, config) for k, v in value.items()}
    return value
