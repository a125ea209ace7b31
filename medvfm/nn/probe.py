"""Logistic regression on frozen features, for many strengths of regularisation in one batched fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medvfm.nn import lbfgs, losses

# The strengths that DINOv2's linear evaluation sweeps (Oquab 2023, appendix B.3): 45 values of C from 1e-6 to 1e5.
STRENGTHS = tuple(np.logspace(-6, 5, 45).tolist())
DEFAULT_STRENGTH = 1e-2  # without validation cases nothing can be chosen


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


def fit_logistic(
    features: Tensor, truth: Tensor, strengths: Tensor, kind: str, class_weight: str | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (k, d, t), intercepts (k, t) and converged (k,) for every C of `strengths` (k,).

    As in scikit-learn, C multiplies the summed loss beside half the squared norm of the weights; intercepts are free.
    truth (n, t): 0, 1, soft or NaN for unknown. binary and multi_label fit t problems, multi_class and ordinal one
    softmax over t classes.
    """
    x = features.double()
    y = truth.double().to(x.device)
    strengths = strengths.double().to(x.device)
    known = ~torch.isnan(y)
    softmax = kind in ("multi_class", "ordinal")
    if softmax:
        rows = known.all(1)
        x, y, known = x[rows], y[rows], known[rows]
    y = y.nan_to_num()
    cases = losses.case_weights(y, known, kind) if class_weight == "balanced" else known.double()
    n, d = x.shape
    if d > n:  # the weights lie in the span of the cases, where the penalty is the same: n numbers are fitted, not d
        basis, _ = torch.linalg.qr(x.T)
        w, b, converged = _fit(x @ basis, y, cases, strengths, softmax)
        return basis @ w, b, converged
    return _fit(x, y, cases, strengths, softmax)


def _fit(x: Tensor, y: Tensor, cases: Tensor, strengths: Tensor, softmax: bool) -> tuple[Tensor, Tensor, Tensor]:
    """`fit_logistic` after the labels are settled: cases (n, t) weigh them, 0 where unknown."""
    n, d = x.shape
    k, t = len(strengths), y.shape[1]
    penalty = 1 / (strengths * n)  # the objective divided by C n, so that all problems have one scale

    def objective(flat: Tensor) -> tuple[Tensor, Tensor]:
        p = flat.view(k, d + 1, t)
        w, b = p[:, :d], p[:, d]
        logits = (x @ w.transpose(0, 1).reshape(d, k * t)).view(n, k, t) + b
        if softmax:
            loss = -(torch.log_softmax(logits, -1) * y[:, None]).sum(-1) * cases[:, :1]
            residual = (torch.softmax(logits, -1) - y[:, None]) * cases[:, None, :1]
            value = loss.sum(0) / n
        else:
            each = nn.functional.softplus(logits) - logits * y[:, None]
            residual = (torch.sigmoid(logits) - y[:, None]) * cases[:, None]
            value = (each * cases[:, None]).sum((0, 2)) / n
        value = value + 0.5 * penalty * (w**2).sum((1, 2))
        grad_w = (x.T @ residual.reshape(n, k * t)).view(d, k, t).transpose(0, 1) / n + penalty[:, None, None] * w
        grad = torch.cat([grad_w, residual.sum(0)[:, None] / n], dim=1)
        return value, grad.reshape(k, -1)

    found, converged = lbfgs.minimise(objective, x.new_zeros(k, (d + 1) * t))
    p = found.view(k, d + 1, t)
    return p[:, :d], p[:, d], converged


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

    Of equals, the smallest C: the simplest model. Without validation cases, C is DEFAULT_STRENGTH.
    """
    if choose is None:
        strengths = (DEFAULT_STRENGTH,)
    mean, scale = standardiser(train[0])
    x = (train[0].double() - mean) / scale
    weights, biases, converged = fit_logistic(x, train[1], torch.tensor(strengths), kind, class_weight)
    values: list[float | None] = []
    if choose is not None:
        z = (val[0].double() - mean) / scale
        for w, b in zip(weights, biases, strict=True):
            value = choose(probabilities(z @ w + b, kind).cpu().numpy())
            values.append(None if np.isnan(value) else float(value))
    best = max(range(len(strengths)), key=lambda i: (values[i] if values and values[i] is not None else -np.inf, -i))
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
    if best in (0, count - 1):
        return "the best C lies at the edge of the sweep"
    return None
