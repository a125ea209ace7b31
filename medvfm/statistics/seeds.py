"""The mean over models that differ in the seed alone, and differences of such means, seed by seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from medvfm.statistics.estimand import Estimand
from medvfm.statistics.means import Means, joined
from medvfm.statistics.seed_part import Seeded, SeedPart
from medvfm.statistics.spread import Mixture, Spread


def mean_over_seeds(each: Sequence[Estimand]) -> Estimand:
    """The same estimand of models that differ in the seed alone, on the same units, as one: their mean."""
    defined = [e for e in each if e.value is not None]
    first = (defined or each)[0]
    if len(each) == 1 or not defined:
        return first
    values = [float(e.value) for e in defined if e.value is not None]
    note = f"mean of {len(each)} seeds, from {min(values):.4g} to {max(values):.4g}"
    if len(defined) < len(each):
        note += f"; of {len(each) - len(defined)} seeds it does not exist"
    statistics = [e.statistic for e in defined if e.statistic is not None]

    def statistic(counts: np.ndarray) -> np.ndarray:
        return np.asarray(np.mean([s(counts) for s in statistics], axis=0))

    own = [e.values for e in defined if e.values is not None and e.values.ndim == 1]
    found = replace(
        first,
        value=float(np.mean(values)),
        known=np.any([e.known for e in defined], axis=0),
        statistic=statistic if len(statistics) == len(defined) else None,
        notes=(note, *first.notes),
        spread=None,
        minus=None,
        values=np.mean(own, axis=0) if len(own) == len(defined) else None,
        of_seeds=tuple(each),
    )
    spreads = [e.spread for e in defined if e.spread is not None]
    if len(defined) == 1:
        return replace(found, spread=spreads[0] if spreads else None)
    if len(spreads) < len(defined) or len({len(s.influence) for s in spreads}) > 1:
        return replace(found, seeds=SeedPart(tuple(values)))
    part = SeedPart(tuple(values), _unshared([s.influence for s in spreads]))
    within = first.metric.metric.within
    return replace(found, seeds=part, spread=Seeded(_mean(spreads, within), part, within))


def _mean(spreads: Sequence[Spread], within: tuple[float, float]) -> Spread:
    means = [s for s in spreads if isinstance(s, Means)]
    if len(means) == len(spreads):
        return joined(means)
    return Mixture(spreads, [1 / len(spreads)] * len(spreads), within)


def _unshared(influences: Sequence[np.ndarray]) -> float:
    """v - c: the variance over seeds of what each patient adds, summed over patients."""
    return float(np.var(np.stack(influences), axis=0, ddof=1).sum())


def paired(apart: Callable[[Estimand, Estimand], Estimand | None], mine: Estimand, theirs: Estimand) -> Estimand | None:
    """The difference of two numbers by `apart`, seed by seed where one or both are means over seeds; None where it is
    not defined. One that was trained once stands beside every seed of the other."""
    count = min((len(e.of_seeds) for e in (mine, theirs) if e.of_seeds), default=0)
    if not count:
        return apart(mine, theirs)
    ours, others = ((e.of_seeds or (e,) * count)[:count] for e in (mine, theirs))
    found = [one for a, b in zip(ours, others, strict=True) if (one := apart(a, b)) is not None]
    if len(found) < count:
        return None
    whole = mean_over_seeds(found)
    limits = whole.metric.metric.within
    if isinstance(whole.spread, Seeded):  # a difference of two numbers reaches twice as far
        reach = limits[1] - limits[0]
        both = (-reach, reach) if np.isfinite(reach) else (-np.inf, np.inf)
        sampling = _mean([e.spread for e in found if e.spread is not None and e.value is not None], both)
        return replace(whole, spread=replace(whole.spread, sampling=sampling, within=both))
    return whole


def difference(mine: Estimand, theirs: Estimand) -> Estimand | None:
    """Mine less theirs on the same units, as `Estimand.minus` has it."""

    def apart(one: Estimand, other: Estimand) -> Estimand | None:
        return None if one.minus is None else one.minus(other)

    return paired(apart, mine, theirs)
