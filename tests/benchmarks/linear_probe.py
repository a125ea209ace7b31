"""Logistic regression on frozen features for the 45 strengths that a sweep tries."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from medvfm.nn import logistic, probe
from tests.benchmarks.measure import Row, fastest

CASES, WIDTH = 4000, 384
ALIKE = 0.99
WORKLOAD = (
    f"{len(probe.STRENGTHS)} values of C, {CASES:,} x {WIDTH} standardised features with a power-law spectrum, "
    f"two classes, one thread; decisions on as many new cases agree to {100 * ALIKE:g}% at every C"
)


def rows(_folder: Path) -> Iterator[Row]:
    """Beside scikit-learn's LogisticRegression from cold starts, its iterations not cut short."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield _row()
    finally:
        torch.set_num_threads(threads)


def _features() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (n, d) to fit on with labels (n,), and new ones, correlated as the output of a deep network is."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0]
    x = (rng.normal(size=(2 * CASES, WIDTH)) * np.arange(1, WIDTH + 1) ** -0.75) @ basis
    score = x @ rng.normal(size=WIDTH)
    labels = (score / score.std() + rng.normal(0, 0.7, len(x)) > 0).astype(int)
    x = (x - x[:CASES].mean(0)) / x[:CASES].std(0)
    return x[:CASES], labels[:CASES], x[CASES:]


def _row() -> Row:
    x, labels, new = _features()
    features, truth = torch.from_numpy(x), torch.from_numpy(labels)[:, None]
    strengths = torch.tensor(probe.STRENGTHS)

    def ours() -> np.ndarray:
        weights, biases, _ = logistic.fit(features, truth, strengths, "binary")
        return np.stack([(new @ w.numpy() + b.numpy())[:, 0] for w, b in zip(weights, biases, strict=True)])

    def sklearn() -> np.ndarray:
        return np.stack(
            [LogisticRegression(C=c, max_iter=5000).fit(x, labels).decision_function(new) for c in probe.STRENGTHS]
        )

    agreement = ((ours() > 0) == (sklearn() > 0)).mean(1)
    found = fastest({"medvfm": ours, "sklearn": sklearn}, 3, {"sklearn": 2}, turn_s=3)
    equal = bool(agreement.min() >= ALIKE)
    return Row("linear_probe", WORKLOAD, "scikit-learn", found["medvfm"], found["sklearn"], 12, equal)
