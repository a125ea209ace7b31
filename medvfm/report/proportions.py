"""Intervals of shares that a report counts itself: in a bin of a calibration plot, in a confusion table."""

from __future__ import annotations

from typing import Any

import numpy as np

from medvfm.report.run_view import Scores
from medvfm.statistics.interval import Drawing
from medvfm.statistics.patients import Patients
from medvfm.statistics.shares import Share


def share(hits: np.ndarray, among: np.ndarray, scores: Scores, level: float) -> dict[str, Any]:
    """Share of `among` (n,) that is in `hits` (n,), folds taken together: value, low, high, hits, cases.

    Wilson's interval, in as many cases as those of the patients are worth (statistics.shares).
    """
    found, total = int((hits & among).sum()), int(among.sum())
    row: dict[str, Any] = {"hits": found, "cases": total, "value": None, "low": None, "high": None, "level": level}
    if total == 0:
        return row | {"note": "no cases"}
    counted = Share((hits & among) * 1.0, among * 1.0, np.zeros(len(among)), Patients.of(scores.patients))
    interval = counted.interval(Drawing(level))
    return row | {"value": found / total, "low": interval.low, "high": interval.high, "method": interval.method}
