"""Exponential moving average of the trained weights of a module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from medvfm.core.errors import WeightsError


class EMA:
    """average = d * average + (1 - d) * weight after each step t = 0, 1, ..., with d = min(decay, (1 + t) / (10 + t)).

    Without the ramp of d a run of fewer than 1 / (1 - decay) steps would answer with the weights that it began with.
    Averages are of the parameters that require a gradient at construction, in float32, since a bfloat16 average does
    not move by thousandths. Buffers, such as running statistics, are not averaged.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"the decay of an average lies in [0, 1), and this is {decay}")
        self.decay, self.steps = decay, 0
        self._weights = {n: p for n, p in module.named_parameters() if p.requires_grad}
        self._average = {n: p.detach().to(torch.float32, copy=True) for n, p in self._weights.items()}

    @torch.no_grad()
    def update(self) -> None:
        """To be called after each step of the optimiser."""
        share = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        for name, weight in self._weights.items():
            average = self._average[name] = self._average[name].to(weight.device)
            average.lerp_(weight.to(torch.float32), share)

    @contextmanager
    def swap(self) -> Iterator[None]:
        """The module has the averaged weights inside `with`, and to the bit its own again after it."""
        own = {n: w.detach().clone() for n, w in self._weights.items()}
        self._put(self._average)
        try:
            yield
        finally:
            self._put(own)

    @torch.no_grad()
    def _put(self, weights: dict[str, torch.Tensor]) -> None:
        for name, weight in self._weights.items():
            weight.copy_(weights[name])

    def state_dict(self) -> dict[str, Any]:
        """Copies on the CPU, for a checkpoint."""
        return {
            "decay": self.decay,
            "steps": self.steps,
            "average": {n: a.to("cpu", copy=True) for n, a in self._average.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave; names, shapes and the decay must be the same."""
        given = state["average"]
        strange = sorted(
            n
            for n in given.keys() | self._average.keys()
            if n not in given or n not in self._average or given[n].shape != self._average[n].shape
        )
        if strange:
            raise WeightsError(f"{len(strange)} averaged weights do not fit the model: {', '.join(strange[:3])}")
        if state["decay"] != self.decay:
            raise WeightsError(f"averaged with a decay of {state['decay']}, and this run has {self.decay}")
        self.steps = state["steps"]
        for name, average in self._average.items():
            average.copy_(given[name])
