"""One number to be estimated, with what its interval needs: how a task hands its metrics to the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from medvfm.core.metric_spec import MetricSpec
from medvfm.statistics.jackknife import Jackknifed
from medvfm.statistics.patients import Patients
from medvfm.statistics.seed_part import SeedPart
from medvfm.statistics.spread import Mixture, Spread

FEW = 15  # patients of a kind; see tests/benchmarks/COVERAGE.md
Statistic = Callable[[np.ndarray], np.ndarray]  # counts of units in resamples (R, n) to values (R,)


@dataclass(frozen=True, eq=False)
class Estimand:
    """A metric of a target over the n units of some predictions.

    value        None where it does not exist, and `reason` says why
    known        (n,) of bool: the units that it rests on
    positives    how many of them are positive; None where there is no such thing
    statistic    its value in resamples; None where it is not resampled
    spread       what its own interval is made from; None where only resamples give one
    bare         why it has no interval at all
    notes        what a reader of the number must know
    minus        this estimand less another model's on the same units, as an estimand; None where that is not defined
    values       (n,) what it is made of, where each unit has a number of its own: a score, a Dice
    seeds        of a mean over models trained with several seeds: what the seeds add to its error
    of_seeds     the number of each of those models
    """

    metric: MetricSpec
    target: str | None
    value: float | None
    known: np.ndarray
    positives: int | None = None
    statistic: Statistic | None = None
    reason: str | None = None
    notes: tuple[str, ...] = ()
    spread: Spread | None = None
    bare: str | None = None
    minus: Callable[[Estimand], Estimand | None] | None = None
    values: np.ndarray | None = None
    seeds: SeedPart | None = None
    of_seeds: tuple[Estimand, ...] = ()


def few_patients(counts: Sequence[tuple[int, str]]) -> str | None:
    """`only 7 patients with a positive: the interval is unreliable`; None where all kinds have FEW or more."""
    named = [f"{n} patient{'s' * (n != 1)}{f' {kind}' if kind else ''}" for n, kind in counts if n < FEW]
    return f"only {' and '.join(named)}: the interval is unreliable" if named else None


def mean_of_draws(draws: Sequence[Estimand], patients: np.ndarray) -> Estimand:
    """The same estimand of several draws of a prediction: their mean, with a note of how many there are.

    Its interval leaves out patients, or resamples them; draws are averaged each time.
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

    complete, value = len(statistics) == len(defined), float(np.mean([d.value for d in defined]))
    smooth = complete and first.metric.metric.interval not in ("steps", "none")
    spread = jackknifed(statistic, value, first, patients) if smooth else _mean_spread(defined)
    return replace(
        first,
        value=value,
        statistic=statistic if complete else None,
        reason=None,
        notes=(f"the mean of {len(defined)} draws", *defined[0].notes),
        spread=spread,
        minus=None,
        values=None,
    )


def _mean_spread(draws: Sequence[Estimand]) -> Spread | None:
    """Of the mean of numbers that are not resampled, each with an interval of its own on the same patients."""
    spreads = [d.spread for d in draws if d.spread is not None and d.statistic is None]
    if len(spreads) < len(draws) or len({len(s.influence) for s in spreads}) > 1:
        return None
    return Mixture(spreads, [1 / len(spreads)] * len(spreads), draws[0].metric.metric.within)


def jackknifed(statistic: Statistic, value: float, of: Estimand, patients: np.ndarray) -> Jackknifed:
    """An interval that leaves out one patient at a time, for a number without a formula of its own."""
    whose = Patients.of(patients)
    return Jackknifed(statistic, value, whose, of.known, whose.among(of.known) - 1, of.metric.metric.within)
