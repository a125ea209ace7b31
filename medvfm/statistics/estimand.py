"""One number to be estimated, with what its interval needs: how a task hands its metrics to the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from medvfm.core.metric_spec import MetricSpec
from medvfm.statistics.interval import Interval

Statistic = Callable[[np.ndarray], np.ndarray]  # counts of units in resamples (R, n) to values (R,)


@dataclass(frozen=True, eq=False)
class Estimand:
    """A metric of a target over the n units of some predictions.

    value        None where it does not exist, and `reason` says why
    known        (n,) of bool: the units that it rests on
    positives    how many of them are positive; None where there is no such thing
    statistic    its value in resamples; None where it has no interval
    notes        what a reader of the number must know
    closed_form  its interval at a level, where theory gives one; `dependent` says which assumption of it is violated
    minus        this estimand less another model's on the same units, as an estimand; None where that is not defined
    values       (n,) what it is made of, where each unit has a number of its own: a score, a Dice
    """

    metric: MetricSpec
    target: str | None
    value: float | None
    known: np.ndarray
    positives: int | None = None
    statistic: Statistic | None = None
    reason: str | None = None
    notes: tuple[str, ...] = ()
    closed_form: Callable[[float], Interval] | None = None
    dependent: str | None = None
    minus: Callable[[Estimand], Estimand | None] | None = None
    values: np.ndarray | None = None


def mean_of_draws(draws: Sequence[Estimand]) -> Estimand:
    """The same estimand of several draws of a prediction: their mean, with a note of how many there are.

    Its interval resamples units; draws are averaged within each resample.
    """
    first = draws[0]
    if len(draws) == 1:
        return first
    defined = [d for d in draws if d.value is not None]
    if not defined:
        return first
    statistics = [d.statistic for d in defined if d.statistic is not None]

    def statistic(weights: np.ndarray) -> np.ndarray:
        return np.mean([s(weights) for s in statistics], axis=0)

    return replace(
        first,
        value=float(np.mean([d.value for d in defined])),
        statistic=statistic if len(statistics) == len(defined) else None,
        reason=None,
        notes=(f"the mean of {len(defined)} draws", *defined[0].notes),
        closed_form=None,
        minus=None,
        values=None,
    )
