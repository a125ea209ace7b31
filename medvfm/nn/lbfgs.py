"""Limited-memory BFGS for many problems of one shape at once, each with its own step and its own end."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Objective = Callable[[Tensor], tuple[Tensor, Tensor]]  # (P, m) -> values (P,), gradients (P, m)
HISTORY = 12
ARMIJO = 1e-4
HALVINGS = 25


def minimise(
    objective: Objective, start: Tensor, *, tolerance: float = 1e-6, iterations: int = 500
) -> tuple[Tensor, Tensor]:
    """Minimisers (P, m) and which problems (P,) converged: largest entry of the gradient at most `tolerance`.

    Nocedal and Wright 2006, algorithm 7.5, with backtracking (algorithm 3.1) and pairs kept only where curvature is
    positive. A problem that has converged, or can descend no further, stays where it is.
    """
    x = start.clone()
    value, gradient = objective(x)
    steps: list[Tensor] = []
    changes: list[Tensor] = []
    active = gradient.abs().amax(1) > tolerance
    for _ in range(iterations):
        if not active.any():
            break
        direction = -_inverse_hessian_times(gradient, steps, changes)
        slope = (direction * gradient).sum(1)
        uphill = slope >= 0
        direction[uphill], slope[uphill] = -gradient[uphill], -(gradient[uphill] ** 2).sum(1)
        rate = torch.ones_like(value)
        if not steps:
            rate = (1 / gradient.abs().sum(1).clamp_min(1e-12)).clamp_max(1.0)
        rate = torch.where(active, rate, torch.zeros_like(rate))
        for _ in range(HALVINGS):
            moved = x + rate[:, None] * direction
            new_value, new_gradient = objective(moved)
            worse = active & ~(new_value <= value + ARMIJO * rate * slope)
            if not worse.any():
                break
            rate = torch.where(worse, rate * 0.5, rate)
        stuck = active & ~(new_value <= value)
        rate = torch.where(stuck, torch.zeros_like(rate), rate)
        if stuck.any():
            moved = x + rate[:, None] * direction
            new_value, new_gradient = objective(moved)
        steps.append(moved - x)
        changes.append(new_gradient - gradient)
        steps, changes = steps[-HISTORY:], changes[-HISTORY:]
        x, value, gradient = moved, new_value, new_gradient
        active = active & ~stuck & (gradient.abs().amax(1) > tolerance)
    return x, gradient.abs().amax(1) <= tolerance * 100


def _inverse_hessian_times(gradient: Tensor, steps: list[Tensor], changes: list[Tensor]) -> Tensor:
    """The two-loop recursion, algorithm 7.4; pairs without positive curvature are skipped, problem by problem."""
    q = gradient.clone()
    kept = []
    for s, y in zip(reversed(steps), reversed(changes), strict=True):
        sy = (s * y).sum(1)
        good = sy > 1e-12 * (y * y).sum(1).clamp_min(1e-30)
        rho = torch.where(good, 1 / sy.where(good, torch.ones_like(sy)), torch.zeros_like(sy))
        alpha = rho * (s * q).sum(1)
        q -= alpha[:, None] * y
        kept.append((s, y, rho, alpha))
    if steps:
        sy, yy = (steps[-1] * changes[-1]).sum(1), (changes[-1] ** 2).sum(1)
        scale = torch.where((sy > 0) & (yy > 0), sy / yy.clamp_min(1e-30), torch.ones_like(sy))
        q *= scale[:, None]
    for s, y, rho, alpha in reversed(kept):
        beta = rho * (y * q).sum(1)
        q += (alpha - beta)[:, None] * s
    return q
