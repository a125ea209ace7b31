"""Distances of two sets of features of Inception's width: Fréchet, of many and of few images, and kernel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from scipy.linalg import sqrtm
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from medvfm.metrics.frechet import fid
from medvfm.metrics.kernel_distance import kid
from tests.benchmarks.measure import Row, fastest

WIDTH, MANY, FEW = 2048, 3000, 500
OF_KERNEL = 1500
SUBSETS, OF_EACH = 100, 500  # its own number of subsets; its own size is 1,000
ALIKE, ALIKE_FEW = 1e-6, 1e-3  # of few images the eigenvalues of a singular product are rounded
KERNEL_NOISE = 0.05  # share by which the mean over random subsets may differ from all pairs


class Features(nn.Module):
    """Stands for the network: what it is given is features already."""

    num_features = WIDTH

    def forward(self, features: Tensor) -> Tensor:
        return features


def rows(_folder: Path) -> Iterator[Row]:
    """Beside torchmetrics, and the matrix square root of scipy as published FID is computed, all on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield _frechet(MANY, None, ALIKE)
        yield _frechet(FEW, 10, ALIKE_FEW)
        yield _by_roots(MANY, 8, ALIKE)
        yield _by_roots(FEW, 100, ALIKE_FEW)
        yield _kernel()
    finally:
        torch.set_num_threads(threads)


def sets(count: int) -> tuple[Tensor, Tensor]:
    """(n, d) twice in float64, with a spectrum that falls as that of a deep network's features does."""
    rng = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=rng, dtype=torch.float64))[0]
    fall = torch.arange(1, WIDTH + 1, dtype=torch.float64) ** -0.5
    one, other = (torch.randn(count, WIDTH, generator=rng, dtype=torch.float64) for _ in range(2))
    return (one * fall) @ basis, (other * fall * 1.1) @ basis + 0.02


def _frechet(count: int, goal: float | None, alike: float) -> Row:
    truth, made = sets(count)

    def torchmetrics() -> Tensor:
        metric = FrechetInceptionDistance(Features()).set_dtype(torch.float64)
        metric.update(truth, real=True)
        metric.update(made, real=False)
        return metric.compute()

    ours, theirs = fid(truth, made).item(), torchmetrics().item()
    found = fastest({"medvfm": lambda: fid(truth, made), "peer": torchmetrics}, 2)
    workload = f"Fréchet distance of {count:,} and {count:,} images, {WIDTH} features, one thread; equal to {alike:g}"
    equal = abs(ours - theirs) <= alike * theirs
    return Row("set_distances", workload, "torchmetrics", found["medvfm"], found["peer"], goal, equal)


def _by_roots(count: int, goal: float, alike: float) -> Row:
    truth, made = sets(count)
    a, b = truth.numpy(), made.numpy()

    def roots() -> float:
        one, other = (np.cov(side, rowvar=False) for side in (a, b))
        apart = a.mean(axis=0) - b.mean(axis=0)
        return float(apart @ apart + np.trace(one + other) - 2 * np.trace(sqrtm(one @ other)).real)

    ours, theirs = fid(truth, made).item(), roots()
    found = fastest({"medvfm": lambda: fid(truth, made), "peer": roots}, 1)
    workload = f"Fréchet distance of {count:,} and {count:,} images, {WIDTH} features, one thread; equal to {alike:g}"
    equal = abs(ours - theirs) <= alike * theirs
    return Row("set_distances", workload, "scipy.linalg.sqrtm", found["medvfm"], found["peer"], goal, equal)


def _kernel() -> Row:
    truth, made = sets(OF_KERNEL)

    def torchmetrics(subsets: int = SUBSETS, of_each: int = OF_EACH) -> tuple[Tensor, Tensor]:
        metric = KernelInceptionDistance(Features(), subsets=subsets, subset_size=of_each).set_dtype(torch.float64)
        metric.update(truth, real=True)
        metric.update(made, real=False)
        return metric.compute()

    ours, all_pairs = kid(truth, made).item(), torchmetrics(1, OF_KERNEL)[0].item()
    drawn = torchmetrics()[0].item()
    found = fastest({"medvfm": lambda: kid(truth, made), "peer": torchmetrics}, 2)
    workload = (
        f"kernel distance of {OF_KERNEL:,} and {OF_KERNEL:,} images, {WIDTH} features, one thread: all pairs beside "
        f"{SUBSETS} subsets of {OF_EACH:,}; equal to {ALIKE:g} where the peer takes all pairs too"
    )
    equal = abs(ours - all_pairs) <= ALIKE * abs(all_pairs) and abs(drawn - all_pairs) <= KERNEL_NOISE * abs(all_pairs)
    return Row("set_distances", workload, "torchmetrics", found["medvfm"], found["peer"], 8, equal)
