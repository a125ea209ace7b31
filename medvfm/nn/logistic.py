"""Logistic regression with an L2 penalty, for many strengths of the penalty and many targets in one batched fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medvfm.nn import lbfgs, losses

BLOCK = 1 << 22  # logits that are held at once


def fit(
    features: Tensor,
    truth: Tensor,
    strengths: Tensor,
    kind: str,
    class_weight: str | None = None,
    case_weight: Tensor | None = None,
    *,
    tolerance: float = 1e-6,
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (k, d, t), intercepts (k, t) and converged (k,) for every C of `strengths` (k,), in float64.

    As in scikit-learn, C multiplies the summed loss, to which half the squared norm of the weights is added; intercepts
    have no penalty, those of a softmax sum to 0. features (n, d); truth (n, t): 0, 1, soft or NaN for unknown. binary
    and multi_label fit t problems, multi_class and ordinal one softmax over t classes. class_weight: None or
    `balanced`; `case_weight` (n,) is the weight of a case, such as its count. `tolerance`: see lbfgs.minimise; its
    objective is the mean penalised loss.
    """
    x, y = features.double(), truth.double().to(features.device)
    softmax = kind in ("multi_class", "ordinal")
    if softmax:
        rows = ~torch.isnan(y).any(1)
        x, y = x[rows], y[rows]
        case_weight = None if case_weight is None else case_weight.to(rows.device)[rows]
    known, y = ~torch.isnan(y), y.nan_to_num()
    cases = losses.case_weights(y, known, kind) if class_weight == "balanced" else known.double()
    if case_weight is not None:
        cases = cases * case_weight.to(x)[:, None]
    centre = x.mean(0)
    x = x - centre  # the free intercept takes the centre up
    basis = _principal_directions(x)
    w, b, converged = _fit(x @ basis, y, cases, strengths.to(x), softmax, tolerance)
    w = basis @ w
    return w, b - torch.einsum("d,kdt->kt", centre, w), converged


def _principal_directions(x: Tensor) -> Tensor:
    """An orthonormal basis (d, r) of the span of the cases (n, d).

    The penalty is the same in any orthonormal basis, and the best weights lie in the span, so that r numbers are fitted
    in place of d. Along principal directions the Hessian is nearly diagonal, which is what L-BFGS starts from: for
    that, single precision is enough, and twice as fast.
    """
    n, d = x.shape
    span = torch.linalg.qr(x.T).Q if d > n else None
    z = (x if span is None else x @ span).float()
    turn = torch.linalg.eigh((z.T @ z).double()).eigenvectors
    return turn if span is None else span @ turn


def _fit(
    x: Tensor, y: Tensor, cases: Tensor, strengths: Tensor, softmax: bool, tolerance: float
) -> tuple[Tensor, Tensor, Tensor]:
    """`fit` in the basis of x (n, d); cases (n, t) weigh the labels, 0 where unknown."""
    n, d = x.shape
    k, t = len(strengths), y.shape[1]
    o = t if softmax else 1
    target = None if softmax else torch.arange(t, device=x.device).repeat(k)
    penalty = (1 / (strengths * n)).repeat_interleave(t // o)
    problems = _Problems(x, x.float() ** 2, y.T.contiguous(), cases.T.contiguous(), penalty, target)
    share = ((cases * y).sum(0) + 0.5) / (cases.sum(0) + 1)  # of each target; never 0 or 1
    start = x.new_zeros(len(penalty), o, d + 1)
    start[..., d] = (share.log() if softmax else torch.logit(share)).view(-1, o).repeat(k, 1)
    found, converged = lbfgs.minimise(problems.objective, start.flatten(1), problems.curvature, tolerance=tolerance)
    p = found.view(k, t, d + 1).transpose(1, 2)
    w, b = p[:, :d], p[:, d]
    return w, b - b.mean(1, keepdim=True) if softmax else b, converged.view(k, -1).all(1)


@dataclass(frozen=True, eq=False)
class _Problems:
    """P problems over the same cases x (n, d): one strength each and, without a softmax, one target each.

    Parameters are (q, o * (d + 1)) flat: weights and intercept of each of o outputs. Labels y and their weights `cases`
    are (t, n): with the cases last, both products with x run along its rows. The objective is divided by C n, so that
    all problems have one scale: penalty (P,) is 1 / (C n).
    """

    x: Tensor
    squares: Tensor
    y: Tensor
    cases: Tensor
    penalty: Tensor
    target: Tensor | None

    def objective(self, flat: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        """Values (q,) and gradients of the problems `which` (q,)."""
        w, b = self._unpacked(flat, which)
        value, grad_w, grad_b = flat.new_zeros(len(which)), torch.zeros_like(w), torch.zeros_like(b)
        for rows, logits, y, cases in self._blocks(w, b, which):
            if self.target is None:
                log_share = torch.log_softmax(logits, 1)
                value -= ((log_share * y).sum(1) * cases[:, 0]).sum(-1)
                residual = (log_share.exp() - y) * cases
            else:
                value += ((nn.functional.softplus(logits) - logits * y) * cases).sum((1, 2))
                residual = (torch.sigmoid(logits) - y) * cases
            grad_b += residual.sum(-1)
            grad_w += residual @ self.x[rows]
        n, penalty = len(self.x), self.penalty[which]
        value = value / n + 0.5 * penalty * (w**2).sum((1, 2))
        return value, torch.cat([grad_w / n + penalty[:, None, None] * w, grad_b[..., None] / n], -1).flatten(1)

    def curvature(self, flat: Tensor, which: Tensor) -> Tensor:
        """The diagonals of the Hessians."""
        w, b = self._unpacked(flat, which)
        bend_w, bend_b = torch.zeros_like(w), torch.zeros_like(b)
        for rows, logits, _, cases in self._blocks(w, b, which):
            share = torch.softmax(logits, 1) if self.target is None else torch.sigmoid(logits)
            bend = share * (1 - share) * cases
            bend_w += bend.float() @ self.squares[rows]
            bend_b += bend.sum(-1)
        n = len(self.x)
        return torch.cat([bend_w / n + self.penalty[which, None, None], bend_b[..., None] / n], -1).flatten(1)

    def _unpacked(self, flat: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (q, o, d) and intercepts (q, o)."""
        p = flat.view(len(which), -1, self.x.shape[1] + 1)
        return p[..., :-1], p[..., -1]

    def _blocks(self, w: Tensor, b: Tensor, which: Tensor) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
        """Rows, and for them logits (q, o, m), labels and weights that broadcast to them."""
        q, o, d = w.shape
        lines = w.reshape(q * o, d)
        step = max(1, BLOCK // (q * o))
        for first in range(0, len(self.x), step):
            rows = slice(first, first + step)
            logits = (lines @ self.x[rows].T).view(q, o, -1) + b[..., None]
            if self.target is None:
                yield rows, logits, self.y[:, rows], self.cases[:1, rows][None]
            elif len(self.y) == 1:  # one target for all problems: nothing to be picked, and so nothing to be copied
                yield rows, logits, self.y[:, rows], self.cases[:, rows]
            else:
                target = self.target[which]
                yield rows, logits, self.y[target, None, rows], self.cases[target, None, rows]
