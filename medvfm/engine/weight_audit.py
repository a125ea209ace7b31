"""Checks that a run makes of itself: which weights moved."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from medvfm.core.errors import MedvfmError


class FrozenMoved(MedvfmError):
    """Training changed weights that it should not, or did not change those that it should."""


def training_mode(module: nn.Module) -> None:
    """Training mode, but not for normalisation without a trained weight: its running statistics are frozen too."""
    module.train()
    for part in module.modules():
        tracks = getattr(part, "running_mean", None) is not None
        if tracks and not any(p.requires_grad for p in part.parameters()):
            part.eval()


class WeightAudit:
    """Compares every weight and buffer with what it was before the first step.

    Frozen ones are checked after the first step and must be equal to the bit. A trained weight may have a zero gradient
    in the first step (the A of LoRA while B is zero, Hu et al. 2021), so those have three steps to move. One that the
    loss does reach, with a gradient too small to move it, is counted and not refused: a bias whose only readers
    normalise over the batch has no effect, and its gradient is what rounding leaves.
    """

    PATIENCE_STEPS = 3

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._before = {n: p.detach().clone() for n, p in module.named_parameters()}
        self._frozen = {n for n, p in module.named_parameters() if not p.requires_grad}
        live = {
            f"{name}.{buffer}" if name else buffer
            for name, part in module.named_modules()
            for buffer, _ in part.named_buffers(recurse=False)
            if any(p.requires_grad for p in part.parameters())
        }
        self._before |= {n: b.detach().clone() for n, b in module.named_buffers() if n not in live}
        self._frozen |= {n for n, _ in module.named_buffers() if n not in live}
        self._still = set(self._before) - self._frozen
        self._reached: set[str] = set()
        self._steps = 0
        self._done = False

    def after_step(self) -> None:
        """To be called after each step, before gradients are cleared; does nothing once all is settled."""
        if self._done:
            return
        self._steps += 1
        now = {**dict(self._module.named_parameters()), **dict(self._module.named_buffers())}
        if self._steps == 1:
            moved = sorted(n for n in self._frozen if not torch.equal(now[n].detach(), self._before[n]))
            if moved:
                raise FrozenMoved(f"{len(moved)} frozen weights moved in the first step: {', '.join(moved[:3])}")
        self._still = {n for n in self._still if torch.equal(now[n].detach(), self._before[n])}
        gradients = {n: now[n].grad for n in self._still}
        self._reached |= {n for n, gradient in gradients.items() if gradient is not None and bool(gradient.any())}
        unreached = self._still - self._reached
        if unreached and self._steps >= self.PATIENCE_STEPS:
            named = ", ".join(sorted(unreached)[:3])
            raise FrozenMoved(
                f"{len(unreached)} weights that should be trained did not move in {self._steps} steps: {named}"
            )
        if not self._still or self._steps >= self.PATIENCE_STEPS:
            self._done = True
            self._before = {n: b for n, b in self._before.items() if n not in self._frozen}

    def as_record(self) -> dict[str, Any]:
        trained = {n for n, p in self._module.named_parameters() if p.requires_grad}
        return {
            "trained_tensors": len(trained),
            "moved_tensors": len(trained - self._still),
            "still_tensors": len(trained & self._still),
            "frozen_tensors": len(self._frozen),
            "frozen_moved": 0,
            "checked_after_steps": self._steps,
        }
