"""Logistic regression on one number, for many resamples at once, as calibration slopes and Platt scaling need it."""

from __future__ import annotations

import torch
from torch import Tensor

STEPS = 100
HALVINGS = 20
TOLERANCE = 1e-10


def fit(
    x: Tensor,
    target: Tensor,
    counts: Tensor,
    *,
    slope: float | None = None,
    begin: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Intercept a and slope b (r,) of P = sigmoid(a + b x) of the greatest likelihood, by damped Newton steps.

    x (n,) and target (n,) in [0, 1], both float64; counts (r, n) float64. With `slope` given, only a is fitted.
    `begin` is an a and b (1,) to begin with: those of all cases are near those of any resample. NaN where no finite
    maximum exists: one class only, and for the slope where a threshold separates the classes (Albert and Anderson
    1984).
    """
    total, hits = counts.sum(1), counts @ target
    exists = (hits > 0) & (hits < total)
    if slope is None:
        exists &= _overlap(x, target, counts)
    if begin is None or bool(torch.isnan(begin[0] + begin[1])):
        begin = (torch.zeros_like(total[:1]), torch.full_like(total[:1], slope or 0.0))
    a, b = (start.expand_as(total).clone() for start in begin)
    losses = _loss(x, target, counts, a, b)
    alive = exists.nonzero()[:, 0]
    for _ in range(STEPS):
        if len(alive) == 0:
            return a.where(exists, torch.nan), b.where(exists, torch.nan)
        w, a0, b0, before = counts[alive], a[alive], b[alive], losses[alive]
        step_a, step_b = _newton(x, target, w, a0, b0, slope is None)
        size = torch.ones_like(a0)
        for _ in range(HALVINGS):
            after = _loss(x, target, w, a0 + size * step_a, b0 + size * step_b)
            worse = after > before + TOLERANCE * before.abs()
            if not bool(worse.any()):
                break
            size = torch.where(worse, size / 2, size)
        losses[alive] = after
        a[alive], b[alive] = a0 + size * step_a, b0 + size * step_b
        moved = torch.maximum((size * step_a).abs(), (size * step_b).abs())
        alive = alive[moved > TOLERANCE * (1 + a0.abs() + b0.abs())]
    exists[alive] = False  # nearly separated: no maximum was reached
    return a.where(exists, torch.nan), b.where(exists, torch.nan)


def _overlap(x: Tensor, target: Tensor, counts: Tensor) -> Tensor:
    """(r,) whether each class has a case beyond the lowest of the other, on both sides."""
    held = counts > 0

    def limits(part: Tensor) -> tuple[Tensor, Tensor]:
        inside = held & part
        return torch.where(inside, x, torch.inf).amin(1), torch.where(inside, x, -torch.inf).amax(1)

    (low1, high1), (low0, high0) = limits(target > 0), limits(target < 1)
    return (low1 < high0) & (low0 < high1)


def _newton(x: Tensor, target: Tensor, w: Tensor, a: Tensor, b: Tensor, both: bool) -> tuple[Tensor, Tensor]:
    """Steps (r,) of intercept and slope."""
    p = torch.sigmoid(a[:, None] + b[:, None] * x)
    error, curve = w * (target - p), w * p * (1 - p)
    error_a, curve_aa = error.sum(1), curve.sum(1)
    if not both:
        return error_a / curve_aa.clamp(min=1e-300), torch.zeros_like(a)
    error_b, curve_ab, curve_bb = error @ x, curve @ x, curve @ x.square()
    # The determinant is 0 only where all weight lies on one x, which _overlap has refused.
    determinant = (curve_aa * curve_bb - curve_ab.square()).clamp(min=1e-300)
    return (
        (curve_bb * error_a - curve_ab * error_b) / determinant,
        (curve_aa * error_b - curve_ab * error_a) / determinant,
    )


def _loss(x: Tensor, target: Tensor, w: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """(r,) negative log-likelihood."""
    line = a[:, None] + b[:, None] * x
    return (w * (torch.nn.functional.softplus(line, threshold=40) - target * line)).sum(1)
