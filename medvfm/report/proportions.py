"""Intervals of shares that a report counts itself: in a bin of a calibration plot, in a confusion table."""

from __future__ import annotations

from typing import Any

import numpy as np

from medvfm.report.run_view import Scores
from medvfm.statistics.bootstrap import bootstrap_interval
from medvfm.statistics.proportion import wilson

RESAMPLES = 500
SEED = 0


def share(hits: np.ndarray, among: np.ndarray, scores: Scores, level: float) -> dict[str, Any]:
    """Share of `among` (n,) that is in `hits` (n,): value, low, high, hits, cases.

    Wilson where every patient has one unit, else a bootstrap over patients. A share of none or all has no spread to
    resample, and gets Wilson's with patients as its cases.
    """
    found, total = int((hits & among).sum()), int(among.sum())
    row: dict[str, Any] = {"hits": found, "cases": total, "value": None, "low": None, "high": None, "level": level}
    if total == 0:
        return row | {"note": "no cases"}
    row["value"] = found / total
    if scores.independent or found in (0, total):
        trials = len(set(scores.patients[among].tolist()))
        interval = wilson(trials if found else 0, trials, level) if found in (0, total) else wilson(found, total, level)
    else:
        part, whole = (hits & among).astype(np.int64), among.astype(np.int64)

        def statistic(weights: np.ndarray) -> np.ndarray:
            numerator, denominator = weights @ part, weights @ whole
            return np.divide(numerator, denominator, out=np.full(len(weights), np.nan), where=denominator > 0)

        interval = bootstrap_interval(statistic, scores.patients, level=level, resamples=RESAMPLES, seed=SEED)
    return row | {"low": interval.low, "high": interval.high, "method": interval.method}
