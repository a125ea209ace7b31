"""Audit of the weights during training: frozen ones must not move, trained ones must."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn

from medvfm.core import cpu_count
from medvfm.core.errors import MedvfmError
from medvfm.core.protocols import Record
from medvfm.nn import state

CHUNK_BYTES = 2**24  # of a tensor on an accelerator, copied to the CPU at once


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
    normalise over the batch has no effect, and its gradient is what rounding leaves. What the module declares as
    `averaged` counts as trained, and may stay as it is.

    Copies are kept of weights with a gradient alone; of all others the digest, since a copy of a frozen model of 7
    billion weights takes 14 GB.
    """

    PATIENCE_STEPS = 3

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._averaged = state.averaged(module)
        self._frozen = {n for n, p in module.named_parameters() if not p.requires_grad} - self._averaged
        live = {
            f"{name}.{buffer}" if name else buffer
            for name, part in module.named_modules()
            for buffer, _ in part.named_buffers(recurse=False)
            if any(p.requires_grad for p in part.parameters())
        }
        self._frozen |= {n for n, _ in module.named_buffers() if n not in live | self._averaged}
        now = self._tensors()
        self._copies = {n: p.detach().clone() for n, p in module.named_parameters() if p.requires_grad}
        self._digests = digests({n: now[n] for n in self._frozen | (self._averaged - set(self._copies))})
        self._still = set(self._copies) | self._averaged
        self._reached: set[str] = set()
        self._steps = 0
        self._done = False

    def after_step(self) -> None:
        """To be called after each step, before gradients are cleared; does nothing once all is settled."""
        if self._done:
            return
        self._steps += 1
        now = self._tensors()
        if self._steps == 1:
            moved = sorted(self._frozen - self._unmoved(self._frozen, now))
            if moved:
                raise FrozenMoved(f"{len(moved)} frozen weights moved in the first step: {', '.join(moved[:3])}")
        self._still = self._unmoved(self._still, now)
        gradients = {n: now[n].grad for n in self._still}
        self._reached |= {n for n, gradient in gradients.items() if gradient is not None and bool(gradient.any())}
        unreached = self._still - self._reached - self._averaged
        if unreached and self._steps >= self.PATIENCE_STEPS:
            named = ", ".join(sorted(unreached)[:3])
            raise FrozenMoved(
                f"{len(unreached)} weights that should be trained did not move in {self._steps} steps: {named}"
            )
        if not self._still or self._steps >= self.PATIENCE_STEPS:
            self._done = True
            self._copies, self._digests = {}, {}

    def as_record(self) -> Record:
        trained = {n for n, p in self._module.named_parameters() if p.requires_grad} | self._averaged
        return {
            "trained_tensors": len(trained),
            "moved_tensors": len(trained - self._still),
            "still_tensors": len(trained & self._still),
            "frozen_tensors": len(self._frozen),
            "frozen_moved": 0,
            "checked_after_steps": self._steps,
        }

    def _tensors(self) -> dict[str, torch.Tensor]:
        return {**dict(self._module.named_parameters()), **dict(self._module.named_buffers())}

    def _unmoved(self, names: set[str], now: Mapping[str, torch.Tensor]) -> set[str]:
        """Those of the names whose tensors are what they were."""
        copied = {n for n in names if n in self._copies and torch.equal(now[n].detach(), self._copies[n])}
        hashed = digests({n: now[n] for n in names - set(self._copies)})
        return copied | {n for n, digest in hashed.items() if digest == self._digests[n]}


def digests(tensors: Mapping[str, torch.Tensor]) -> dict[str, bytes]:
    """Name to the digest of a tensor, on all processors."""
    with ThreadPoolExecutor(min(cpu_count.available(), 16)) as pool:  # hashlib lets other threads run
        return dict(zip(tensors, pool.map(digest, tensors.values()), strict=True))


def digest(tensor: torch.Tensor) -> bytes:
    """SHA-256 of a tensor's bits in row-major order, whatever its type, device and strides."""
    found = hashlib.sha256()
    flat = tensor.detach().reshape(-1).view(torch.uint8)
    for chunk in flat.split(CHUNK_BYTES if flat.device.type != "cpu" else max(len(flat), 1)):
        found.update(chunk.cpu().numpy().data)
    return found.digest()
