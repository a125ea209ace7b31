"""AUROC with its interval of a million cases, and a thousand resamples of ten thousand, beside scikit-learn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from medvfm.metrics.ranking import auroc
from medvfm.statistics.bootstrap import bootstrap_draws, weight_blocks
from medvfm.statistics.delong import delong_covariance
from tests.benchmarks.measure import Row, fastest

MANY, SOME = 1_000_000, 10_000
RESAMPLES, OF_PEER = 1_000, 50
LIMIT_S = 0.2  # wanted of a million cases on two cores that do nothing else


def rows(_folder: Path) -> Iterator[Row]:
    yield _delong()
    yield _bootstrap()


def scored(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = (rng.random(n) < 0.1).astype(np.int64)
    return truth, rng.normal(truth * 1.2, 1)


def _delong() -> Row:
    """The peer gives the number alone."""
    truth, score = scored(MANY)
    ours = delong_covariance(truth, score)
    equal = bool(abs(ours.auroc[0] - roc_auc_score(truth, score)) < 1e-9)
    found = fastest({"medvfm": lambda: delong_covariance(truth, score), "peer": lambda: roc_auc_score(truth, score)}, 3)
    workload = f"AUROC of {MANY:,} cases with DeLong's variance; wanted in {LIMIT_S} s; the peer has no variance"
    return Row("ranks", workload, "scikit-learn roc_auc_score", found["medvfm"], found["peer"], None, equal)


def _bootstrap() -> Row:
    """The loop of the peer is timed on some of the resamples, and its time multiplied."""
    truth, score = scored(SOME)
    cases = np.arange(SOME)
    true, given = torch.as_tensor(truth), torch.as_tensor(score)

    def ours(resamples: int = RESAMPLES) -> np.ndarray:
        statistic = lambda counts: auroc(true, given, weights=torch.as_tensor(counts.copy())).numpy()  # noqa: E731
        return bootstrap_draws(statistic, cases, resamples=resamples, seed=1)

    drawn = [np.repeat(cases, row) for block in weight_blocks(cases, OF_PEER, 1) for row in block]

    def loop() -> list[float]:
        return [float(roc_auc_score(truth[rows], score[rows])) for rows in drawn]

    equal = bool(np.allclose(ours(OF_PEER), loop(), atol=1e-12))
    found = fastest({"medvfm": ours, "peer": loop}, 3)
    workload = f"{RESAMPLES:,} resamples of AUROC of {SOME:,} cases, the peer's loop timed on {OF_PEER}; equal to 1e-12"
    peer = found["peer"] * RESAMPLES / OF_PEER
    return Row("ranks", workload, "scikit-learn in a loop", found["medvfm"], peer, 15, equal)
