"""Limited-memory BFGS for many problems of one shape at once, each with its own step and its own end."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# Parameters (q, m) of some of the problems, and which ones (q,) they are, to values (q,) and gradients (q, m).
Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Curvature = Callable[[Tensor, Tensor], Tensor]  # of the same, the diagonals (q, m) of their Hessians
HISTORY = 12
REFRESH = 10  # steps between two looks at the curvature
PROMISE, NOTHING = 1e-4, 1e-10  # share of the value, and value, that are not worth another step
ARMIJO = 1e-4
HALVINGS = 30


def minimise(
    objective: Objective,
    start: Tensor,
    curvature: Curvature,
    *,
    tolerance: float = 1e-6,
    iterations: int = 1000,
) -> tuple[Tensor, Tensor]:
    """Minimisers (P, m) and which problems (P,) converged.

    Converged: the norm of the gradient is at most `tolerance`, and the next step promises to lower the value by less
    than a ten-thousandth of itself (without that, a strength at which the loss nearly vanishes stops anywhere).

    Nocedal and Wright 2006, algorithm 7.5, with backtracking (algorithm 3.1). The diagonal of the Hessian is the
    initial Hessian, which the stored pairs of steps correct. For convex problems: a pair without positive curvature
    comes from rounding alone and is skipped. Problems that have converged leave the batch, so that the last few do not
    cost as much as all.
    """
    found, converged = start.clone(), torch.zeros(len(start), dtype=torch.bool, device=start.device)
    which = torch.arange(len(start), device=start.device)
    x, diagonal = start.clone(), start
    value, gradient = objective(x, which)
    steps: list[Tensor] = []
    changes: list[Tensor] = []
    at_end = torch.zeros_like(converged)  # no step along the direction lowers the value any more
    for round_ in range(iterations + 1):
        if round_ % REFRESH == 0:
            diagonal = 1 / curvature(x, which).clamp_min(1e-15)
        direction = -_inverse_hessian_times(gradient, steps, changes, diagonal)
        slope = (direction * gradient).sum(1)
        small = torch.linalg.vector_norm(gradient, dim=1) <= tolerance
        small &= -slope <= PROMISE * value + NOTHING
        done = small | at_end
        finished = int(done.sum())
        if finished >= max(1, len(which) // 8) or round_ == iterations:
            found[which], converged[which] = x, small
            keep = (~done).nonzero().squeeze(1)
            if not len(keep) or round_ == iterations:
                break
            which, x, value, gradient = which[keep], x[keep], value[keep], gradient[keep]
            diagonal, at_end, direction = diagonal[keep], at_end[keep], direction[keep]
            steps, changes = [s[keep] for s in steps], [y[keep] for y in changes]
        moved, new_value, new_gradient, failed = _backtracked(objective, which, x, value, gradient, direction)
        steps = [*steps, moved - x][-HISTORY:]
        changes = [*changes, new_gradient - gradient][-HISTORY:]
        x, value, gradient, at_end = moved, new_value, new_gradient, at_end | failed
    return found, converged


def _backtracked(
    objective: Objective, which: Tensor, x: Tensor, value: Tensor, gradient: Tensor, direction: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The point, value and gradient after a step that each problem halves for itself; and where no step was found."""
    slope = (direction * gradient).sum(1)
    slack = 10 * torch.finfo(x.dtype).eps * value.abs()  # a value is not known better than that
    rate = torch.ones_like(value)
    moved = x + direction
    new_value, new_gradient = objective(moved, which)
    worse = ~(new_value <= value + ARMIJO * slope + slack)
    for _ in range(HALVINGS):
        rows = worse.nonzero().squeeze(1)
        if not len(rows):
            break
        rate[rows] *= 0.5
        moved[rows] = x[rows] + rate[rows, None] * direction[rows]
        new_value[rows], new_gradient[rows] = objective(moved[rows], which[rows])
        worse = ~(new_value <= value + ARMIJO * rate * slope + slack)
    moved = torch.where(worse[:, None], x, moved)
    return (
        moved,
        torch.where(worse, value, new_value),
        torch.where(worse[:, None], gradient, new_gradient),
        worse,
    )


def _inverse_hessian_times(gradient: Tensor, steps: list[Tensor], changes: list[Tensor], diagonal: Tensor) -> Tensor:
    """The two-loop recursion, algorithm 7.4, with equation 7.20 for the scale of the diagonal."""
    q = gradient.clone()
    kept = []
    for s, y in zip(reversed(steps), reversed(changes), strict=True):
        sy, yy = (s * y).sum(1), (y * y).sum(1)
        rho = torch.where(sy > 1e-14 * yy, 1 / sy, torch.zeros_like(sy))
        alpha = rho * (s * q).sum(1)
        q -= alpha[:, None] * y
        kept.append((s, y, rho, alpha))
    if steps:
        s, y, rho, _ = kept[0]
        yhy = (y * diagonal * y).sum(1)
        q *= torch.where((rho > 0) & (yhy > 0), 1 / (rho * yhy), torch.ones_like(rho))[:, None]
    q *= diagonal
    for s, y, rho, alpha in reversed(kept):
        beta = rho * (y * q).sum(1)
        q += (alpha - beta)[:, None] * s
    return q
