"""The trained weights of a module: counted, taken out, put back, written and read as safetensors."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file
from torch import nn

from medvfm.core.errors import RunError, WeightsError


def count(module: nn.Module) -> dict[str, int]:
    """Numbers of parameters, as a model's record holds them."""
    sizes = [(p.numel(), p.requires_grad) for p in module.parameters()]
    return {"total": sum(n for n, _ in sizes), "trainable": sum(n for n, trainable in sizes if trainable)}


def averaged(module: nn.Module) -> set[str]:
    """Full names of the parameters and buffers that move without a gradient: a teacher's weights, a queue of keys.

    A module declares them in an attribute `averaged`: their names, or prefixes of them, as the module itself counts.
    """
    found: set[str] = set()
    for prefix, part in module.named_modules():
        for declared in getattr(part, "averaged", ()):
            tensors = [n for n, _ in (*part.named_parameters(), *part.named_buffers())]
            names = [n for n in tensors if n == declared or n.startswith(f"{declared}.")]
            if not names:
                raise ValueError(f"{type(part).__name__} declares {declared!r} as averaged and has no such tensor")
            found |= {f"{prefix}.{n}" if prefix else n for n in names}
    return found


def trained(module: nn.Module) -> dict[str, torch.Tensor]:
    """Copies, on the CPU, of the trained weights, of the buffers that go with them, and of what is `averaged`."""
    names = {n for n, p in module.named_parameters() if p.requires_grad} | averaged(module)
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


def write(path: Path, weights: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write safetensors under a temporary name, then move into place; `metadata` are words about them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    save_file({n: w.contiguous() for n, w in weights.items()}, beside, metadata)
    beside.replace(path)


def write_arrays(path: Path, arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """The same of NumPy arrays, with words about them."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    save_arrays({n: np.ascontiguousarray(a) for n, a in arrays.items()}, beside, metadata)
    beside.replace(path)


def read(path: Path) -> dict[str, torch.Tensor]:
    """The weights that `write` wrote."""
    if not path.is_file():
        raise RunError("no trained weights here", where=path)
    try:
        return load_file(path)
    except SafetensorError as broken:
        raise WeightsError("damaged weights", where=path) from broken
