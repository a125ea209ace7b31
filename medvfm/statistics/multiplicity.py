"""Several tests at once: p-values adjusted so that they may be compared with one significance level.

NaN, a test that could not be computed, stays NaN and does not count among the tests.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def holm(p_values: np.ndarray) -> np.ndarray:
    """(m,) adjusted p-values that bound the chance of any false finding, under any dependence (Holm 1979)."""
    return _adjusted(p_values, lambda p: np.maximum.accumulate(p * np.arange(len(p), 0, -1)))


def benjamini_hochberg(p_values: np.ndarray) -> np.ndarray:
    """(m,) adjusted p-values that bound the share of false findings, for independent or positively dependent tests.

    Benjamini and Hochberg 1995.
    """

    def step_up(p: np.ndarray) -> np.ndarray:
        scaled = p * (len(p) / np.arange(1, len(p) + 1))  # exactly p for the last: never below it
        return np.minimum.accumulate(scaled[::-1])[::-1]

    return _adjusted(p_values, step_up)


def _adjusted(p_values: np.ndarray, rule: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """`rule` maps ascending p-values to adjusted ones."""
    p = np.asarray(p_values, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(p))
    if ((p[known] < 0) | (p[known] > 1)).any():
        raise ValueError("p-values lie between 0 and 1")
    order = known[np.argsort(p[known], kind="stable")]
    adjusted = np.full(p.shape, np.nan)
    adjusted[order] = np.minimum(rule(p[order]), 1.0)
    return adjusted
