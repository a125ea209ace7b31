"""Low-rank updates of a U-Net's attention by peft, in the file that diffusers' pipelines load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from medvfm.core.errors import WeightsError
from medvfm.models import structure
from medvfm.models.weights import account
from medvfm.nn import state

FILE = "pytorch_lora_weights.safetensors"
METADATA = "lora_adapter_metadata"  # the key that diffusers reads rank, alpha and targets from
PREFIX = "unet."


def inject(unet: Any, rank: int, alpha: float | None, seed: int) -> None:
    """Updates of query, key, value and output projection of every self-attention and cross-attention, in place; they
    alone are trained. alpha None: twice the rank."""
    from peft import LoraConfig  # seven seconds that other methods need not wait

    scale = 2.0 * rank if alpha is None else alpha
    config = LoraConfig(r=rank, lora_alpha=scale, target_modules=structure.lora_targets(unet))  # type: ignore[arg-type]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet.add_adapter(config)


def merge(unet: Any) -> None:
    """Add the updates to the weights, and take them away."""
    unet.fuse_lora()
    unet.unload_lora()


def save(unet: Any, folder: Path) -> None:
    """FILE, with rank, alpha and targets as diffusers' `load_lora_weights` reads them: without these it would take
    alpha for the rank, and the update would be of another strength."""
    from peft.utils import get_peft_model_state_dict

    config = unet.peft_config["default"].to_dict()
    kept = {k: config[k] for k in ("r", "lora_alpha", "target_modules", "rank_pattern", "alpha_pattern")}
    plain = {f"{PREFIX}{k}": sorted(v) if isinstance(v, set) else v for k, v in kept.items()}
    weights = {f"{PREFIX}{n}": w.detach().float().cpu() for n, w in get_peft_model_state_dict(unet).items()}
    state.write(folder / FILE, weights, {"format": "pt", METADATA: json.dumps(plain)})


def load(unet: Any, folder: Path) -> None:
    """Put back what `save` wrote into updates of the same rank and alpha."""
    from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict

    weights = {n.removeprefix(PREFIX): w for n, w in state.read(folder / FILE).items()}
    with safe_open(folder / FILE, "pt") as file:
        said = json.loads((file.metadata() or {}).get(METADATA, "{}"))
    own, config = get_peft_model_state_dict(unet), unet.peft_config["default"]
    if (said.get("unet.r"), said.get("unet.lora_alpha")) != (config.r, config.lora_alpha):
        raise WeightsError(
            f"low-rank updates of rank {said.get('unet.r')} and alpha {said.get('unet.lora_alpha')}, and the model "
            f"has {config.r} and {config.lora_alpha}",
            where=folder / FILE,
        )
    account(str(folder / FILE), missing=own.keys() - weights.keys(), unexpected=weights.keys() - own.keys())
    set_peft_model_state_dict(unet, weights)


def without(module: Any) -> dict[str, Tensor]:
    """The weights of a model under their published names, without low-rank updates."""
    return {
        name.replace(".base_layer.", "."): value.detach().cpu()
        for name, value in module.state_dict().items()
        if ".lora_" not in name
    }


def put(module: Any, weights: dict[str, Tensor], source: str) -> None:
    """Put back what `without` gave."""
    names = {name.replace(".base_layer.", "."): name for name in module.state_dict() if ".lora_" not in name}
    account(source, missing=names.keys() - weights.keys(), unexpected=weights.keys() - names.keys())
    module.load_state_dict({names[n]: w for n, w in weights.items()}, strict=False)
