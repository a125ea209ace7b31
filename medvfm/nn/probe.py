"""Logistic regression on frozen features, for many strengths of regularisation in one batched fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medvfm.nn import logistic, losses

# The strengths that DINOv2's linear evaluation sweeps (Oquab 2023, appendix B.3): 45 values of C from 1e-6 to 1e5.
STRENGTHS = tuple(np.logspace(-6, 5, 45).tolist())
DEFAULT_STRENGTH = 1e-2  # without validation cases nothing can be chosen
SWEPT = (
    f"C of {len(STRENGTHS)} values from {STRENGTHS[0]:g} to {STRENGTHS[-1]:g}, chosen on validation cases; "
    f"{DEFAULT_STRENGTH:g} where there are none"
)


class Probe(nn.Module):
    """Standardise, then a linear layer: features (n, d) to logits (n, outputs). Fitted by `sweep`."""

    def __init__(self, mean: Tensor, scale: Tensor, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        for name, value in (("mean", mean), ("scale", scale), ("weight", weight), ("bias", bias)):
            self.register_buffer(name, value.float())

    def forward(self, features: Tensor) -> Tensor:
        return ((features - self.mean) / self.scale) @ self.weight + self.bias  # type: ignore[operator]

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> Probe:
        return cls(state["mean"], state["scale"], state["weight"], state["bias"])


def probabilities(logits: Tensor, kind: str) -> Tensor:
    """(n, T) from a probe's logits; an ordinal scale is probed by a softmax over its classes."""
    return losses.probabilities(logits, "multi_class" if kind == "ordinal" else kind)


def standardiser(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation (d,) of the training features; a constant feature keeps its scale."""
    mean, scale = features.double().mean(0), features.double().std(0, unbiased=False)
    return mean, torch.where(scale > 1e-12, scale, torch.ones_like(scale))


def sweep(
    train: tuple[Tensor, Tensor],
    val: tuple[Tensor, Tensor],
    choose: Callable[[np.ndarray], float] | None,
    *,
    kind: str,
    class_weight: str | None = None,
    strengths: tuple[float, ...] = STRENGTHS,
) -> tuple[Probe, dict[str, Any]]:
    """The probe whose scores of the validation features `choose` values highest, and a record of the sweep.

    train and val are (features (n, d), truth (n, t)); `choose` takes (n, t) scores and gives NaN where it is undefined.
    Of equals, the smallest C: the simplest model. Where nothing can be chosen (no validation cases, or a metric that is
    undefined on them), C is DEFAULT_STRENGTH, or of `strengths` the nearest. The features are standardised by the
    training cases alone.
    """
    if choose is None:
        strengths = (DEFAULT_STRENGTH,)
    mean, scale = standardiser(train[0])
    x = (train[0].double() - mean) / scale
    weights, biases, converged = logistic.fit(x, train[1], torch.tensor(strengths), kind, class_weight)
    values: list[float | None] = []
    if choose is not None:
        z = (val[0].double() - mean) / scale
        for w, b in zip(weights, biases, strict=True):
            value = choose(probabilities(z @ w + b, kind).cpu().numpy())
            values.append(None if np.isnan(value) else float(value))
    defined = [i for i, value in enumerate(values) if value is not None]
    if defined:
        best = max(defined, key=lambda i: (values[i], -i))
    else:
        best = int(np.argmin(np.abs(np.log(np.array(strengths) / DEFAULT_STRENGTH))))
    record = {
        "C": strengths[best],
        "swept": list(strengths),
        "values": values,
        "on": "val" if choose is not None else None,
        "converged": int(converged.sum()),
        "note": _note(best, len(strengths), values),
    }
    return Probe(mean, scale, weights[best], biases[best]), record


def _note(best: int, count: int, values: list[float | None]) -> str | None:
    if not values:
        return "no validation cases: the default was taken"
    if all(value is None for value in values):
        return "the metric is undefined on the validation cases: the default was taken"
    if best in (0, count - 1):
        return "the best C lies at the edge of the sweep"
    return None
