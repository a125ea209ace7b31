"""What --resume needs, and trained weights alone. Every file is written beside its name and moved into place."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from medvfm.core.errors import RunError, WeightsError

NAME = "last.pt"


def trained(module: nn.Module) -> dict[str, torch.Tensor]:
    """Copies, on the CPU, of the weights that are trained and of the buffers that go with them."""
    names = {n for n, p in module.named_parameters() if p.requires_grad}
    for prefix, part in module.named_modules():
        if any(p.requires_grad for p in part.parameters(recurse=False)):
            names |= {f"{prefix}.{n}" if prefix else n for n, _ in part.named_buffers(recurse=False)}
    state = module.state_dict()
    return {n: state[n].detach().to("cpu", copy=True).contiguous() for n in sorted(names) if n in state}


def put_trained(module: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Put back what `trained` gave; every key must be the module's, of the same shape."""
    state = module.state_dict()
    strange = sorted(n for n, w in weights.items() if n not in state or state[n].shape != w.shape)
    if strange:
        raise WeightsError(f"{len(strange)} weights do not fit the model: {', '.join(strange[:3])}")
    module.load_state_dict(weights, strict=False)


def save(folder: Path, state: dict[str, Any]) -> None:
    """Replace the checkpoint; a kill at any moment leaves the old one or the new one."""
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f".{NAME}.{os.getpid()}"
    with beside.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(folder / NAME)


def load(folder: Path) -> dict[str, Any] | None:
    """The checkpoint, or None where there is none."""
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError) as broken:
        raise RunError("the checkpoint is damaged", where=path, remedy="delete it to start afresh") from broken


def remove(folder: Path) -> None:
    """The run is complete: what --resume needs is not needed any more."""
    shutil.rmtree(folder, ignore_errors=True)


def write_weights(path: Path, weights: dict[str, torch.Tensor]) -> None:
    """safetensors, moved into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    save_file(weights, beside)
    beside.replace(path)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The weights that `write_weights` wrote."""
    if not path.is_file():
        raise RunError("no trained weights here", where=path)
    return load_file(path)
