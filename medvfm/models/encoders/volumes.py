"""3D encoders: CT-FM's SegResEncoder through MONAI, as its hub folder lays it out, and a small one from scratch."""

from __future__ import annotations

import re
from typing import Any

import torch
from monai.networks.nets.segresnet_ds import SegResEncoder
from torch import nn

from medvfm.core.errors import WeightsError
from medvfm.models.inputs.volume_contract import VolumeContract, tiles
from medvfm.models.weights import load_strictly, locate, read_shards, sha256_of_tensors

# Pai et al. 2025, `experiments/fm` of their code: axes to S, P and L; 3 mm between slices and 1 mm within; -1024 to
# 2048 HU; cropped to voxels above 0 HU, which is the default of MONAI's CropForeground; tiles as in pretraining.
CT_FM = VolumeContract(
    "SPL", (3.0, 1.0, 1.0), (-1024.0, 2048.0), "HU", 0.0, (32, 128, 128), "the configuration of CT-FM's pretraining"
)
TINY_TILE_VOX = (16, 32, 32)
_TAKEN = ("act", "norm", "anisotropic_scales")  # of config.json; the rest stands in the shapes of the weights
_SHAPES = ("spatial_dims", "init_filters", "in_channels", "blocks_down")
_AT_ONCE = 4  # tiles that go through the encoder together


class VolumeEncoder(nn.Module):
    """A 3D encoder with its contract: a volume is read in tiles, and their features are averaged."""

    def __init__(
        self, backbone: Any, contract: VolumeContract, width: int, name: str, weights_record: dict[str, Any]
    ) -> None:
        super().__init__()
        self.backbone, self.contract, self.width = backbone, contract, width
        self.name, self.weights_record = name, weights_record

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        """(D,) of a volume (S, H, W) in [0, 1]: the mean over the last feature map, and over tiles."""
        parts = tiles(volume.float(), self.contract.tile_vox)
        vectors = [self.backbone(some)[-1].mean((2, 3, 4)) for some in parts.split(_AT_ONCE)]
        return torch.cat(vectors).mean(0)


def load_volume_encoder(weights: str, *, seed: int = 0) -> VolumeEncoder:
    """An encoder in evaluation mode, in float32 on the CPU.

    `weights` is a hub id or folder whose config.json holds the arguments of MONAI's SegResEncoder, as
    project-lighter/ct_fm_feature_extractor does, or `tiny`, a small one from scratch, initialised from `seed`.
    """
    if weights == "tiny":
        return _tiny(seed)
    found = locate(weights)
    config = found.config()
    if "model_type" in config or "architecture" in config:
        raise WeightsError(
            "these weights see pictures, not volumes", where=weights, remedy="take the adapter dinov2 for them"
        )
    strange = sorted(set(config) - {*_TAKEN, *_SHAPES, "head_module"})
    if strange or config.get("head_module") is not None:
        raise WeightsError(
            f"its config.json holds {', '.join(strange) or 'a head_module'}, which no plain SegResEncoder has",
            where=weights,
            remedy="3D encoders are read in the layout of project-lighter/ct_fm_feature_extractor",
        )
    state = read_shards(found.files)
    options = {key: _tuples(config[key]) for key in _TAKEN if config.get(key) is not None}
    backbone = SegResEncoder(**options, **_sizes(state, weights))
    load_strictly(backbone, state, weights)
    return _wrapped(backbone, CT_FM, weights, found.as_record())


def _sizes(state: dict[str, torch.Tensor], source: str) -> dict[str, Any]:
    """Channels, stages and blocks of each, from the shapes."""
    first = state.get("conv_init.weight")
    if first is None or first.ndim != 5 or first.shape[1] != 1:
        raise WeightsError("no SegResEncoder of gray volumes: its conv_init.weight says otherwise", where=source)
    blocks: dict[int, int] = {}
    for key in state:
        if found := re.match(r"layers\.(\d+)\.blocks\.(\d+)\.", key):
            blocks[int(found[1])] = max(blocks.get(int(found[1]), 0), int(found[2]) + 1)
    down = tuple(blocks[stage] for stage in sorted(blocks))
    return {"spatial_dims": 3, "in_channels": 1, "init_filters": first.shape[0], "blocks_down": down}


def _tuples(value: Any) -> Any:
    """Lists of JSON as the tuples that MONAI takes: `["relu", {"inplace": true}]`."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _tiny(seed: int) -> VolumeEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = SegResEncoder(init_filters=8, blocks_down=(1, 1, 1), norm="instance")
    record = {"source": "tiny", "sha256": sha256_of_tensors(backbone.state_dict()), "seed": seed, "licence": None}
    contract = VolumeContract("SPL", (3.0, 2.0, 2.0), CT_FM.range, "HU", 0.0, TINY_TILE_VOX, "tiny")
    return _wrapped(backbone, contract, "tiny", record)


def _wrapped(backbone: Any, contract: VolumeContract, name: str, record: dict[str, Any]) -> VolumeEncoder:
    width = backbone.init_filters * 2 ** (len(backbone.blocks_down) - 1)
    return VolumeEncoder(backbone, contract, width, name, record).eval()
