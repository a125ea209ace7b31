"""Which parameters what is read of a model depends on, found by a backward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn


def unread(
    module: nn.Module, named: Sequence[tuple[str, nn.Parameter]], read: Callable[[], Sequence[torch.Tensor | None]]
) -> list[str]:
    """Names of parameters that what `read` gives does not depend on.

    `module` holds them, and is in evaluation mode while it is read. Modes, flags and gradients stay as they were.
    """
    flags, modes = [p.requires_grad for _, p in named], [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        with torch.enable_grad():
            for _, parameter in named:
                parameter.requires_grad_(True)
            total = torch.stack([o.float().sum() for o in read() if o is not None]).sum()
            gradients = torch.autograd.grad(total, [p for _, p in named], allow_unused=True)
    finally:
        for (_, parameter), flag in zip(named, flags, strict=True):
            parameter.requires_grad_(flag)
        for part, mode in modes:
            part.training = mode
    return [name for (name, _), gradient in zip(named, gradients, strict=True) if gradient is None]
