"""Split conformal prediction: a bound on validation cases that new cases keep with a chosen probability."""

from __future__ import annotations

import math

import numpy as np


def bound(scores: np.ndarray, coverage: float) -> float:
    """The score that a new case stays below with probability `coverage`, if it is like the (n,) cases of `scores`: the
    ceil((n + 1) coverage)-th smallest (Vovk, Gammerman and Shafer 2005; Lei et al. 2018). Infinite for too few cases.
    """
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    place = math.ceil((len(ordered) + 1) * coverage - 1e-9)
    return math.inf if place > len(ordered) else float(ordered[place - 1])


def least_cases(coverage: float) -> int:
    """How many cases a finite bound needs."""
    return math.ceil(coverage / (1 - coverage) - 1e-9)
