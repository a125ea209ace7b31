"""Numbers of two sets, each image of a patient: their error from leaving out one group of patients at a time.

Distances of sets (Fréchet, kernel) and what neighbourhoods say have no value of a single image, and a resample with
repeated images is no set of that kind: each image then has a copy at distance 0, and percentiles of resamples do not
even hold the value itself. Leaving out groups keeps sets what they are. Shao and Wu 1989 (Annals of Statistics 17,
1176); Kott 2001 (Journal of Official Statistics 17, 521) for groups dealt at random and t with one less than groups.

The interval is of the number at this size of sets: a Fréchet distance of few images is biased upwards, and its interval
with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit, logit

from medvfm.core.metric_spec import MetricSpec
from medvfm.statistics.estimand import Estimand
from medvfm.statistics.interval import Drawing, Interval, none, t_quantile
from medvfm.statistics.patients import Patients
from medvfm.statistics.proportion import score_interval
from medvfm.statistics.spread import Spread

METHOD = "jackknife_groups"
GROUPS = 20
FEW = 20  # patients of a side
WIDE = "covers 0.90 to 1 in simulation, mostly more than it promises"  # precision, recall, density, coverage
SHORT = "covers 0.89 to 0.99 in simulation"  # kernel distance
UNIT = (0.0, 1.0)


@dataclass(frozen=True, eq=False)
class PatientGroups:
    """In which group each image's patient is, 0 to count - 1: truth (n,), made (m,); and patients of the two sides."""

    truth: np.ndarray
    made: np.ndarray
    count: int
    patients: tuple[int, int]

    def share_truth(self, other: PatientGroups) -> bool:
        """Whether the same true images are left out together."""
        return self.count == other.count and np.array_equal(self.truth, other.truth)


def groups_of_both(
    truth_patients: np.ndarray, made_patients: np.ndarray, seed: int, *, most: int = GROUPS
) -> PatientGroups:
    """Deals the patients of true (n,) and of made images (m,) to `most` groups, or to as many as the smaller side has
    patients.

    A patient of both sides is in one group: what was made for a patient is left out with the true images of that
    patient. The groups of the true images do not depend on the made ones where those have all patients or none of
    theirs, so that a model and a baseline share them.
    """
    true, made = (Patients.of(np.asarray(labels).astype(str)) for labels in (truth_patients, made_patients))
    true_names, made_names = (np.unique(np.asarray(labels).astype(str)) for labels in (truth_patients, made_patients))
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
    count = max(1, min(most, true.count, made.count))
    order = true_names[rng.permutation(len(true_names))]
    shared = np.isin(order, made_names)
    dealt = {name: place % count for place, name in enumerate(np.r_[order[shared], order[~shared]])}
    alone = made_names[~np.isin(made_names, true_names)]
    dealt |= {name: place % count for place, name in enumerate(alone[rng.permutation(len(alone))])}
    return PatientGroups(
        np.array([dealt[name] for name in true_names], dtype=np.int64)[true.codes],
        np.array([dealt[name] for name in made_names], dtype=np.int64)[made.codes],
        count,
        (true.count, made.count),
    )


@dataclass(frozen=True, eq=False)
class GroupJackknifed:
    """A number, and what it is without each group of patients.

    left_out  (G,) values, NaN where what remains has none
    patients  of the side that has fewer, of those that the number rests on
    within    the least and the greatest value that there can be; within 0 and 1 t is taken on the logit scale
    grouping  the groups, which two numbers must share to be compared
    found     what the simulation says of such a number, where that is not good enough to go unmarked
    """

    value: float
    left_out: np.ndarray
    patients: int
    within: tuple[float, float]
    grouping: PatientGroups
    found: str | None = None

    @property
    def influence(self) -> np.ndarray:
        """(G,) of each group."""
        groups = len(self.left_out)
        return (self.left_out.mean() - self.left_out) * np.sqrt((groups - 1) / groups)

    def interval(self, drawing: Drawing) -> Interval:
        if self.patients < 2 or len(self.left_out) < 2:
            return none(drawing.level, METHOD, "no interval: the images of one side are of one patient")
        lost = int((~np.isfinite(self.left_out)).sum())
        if lost:
            return none(
                drawing.level, METHOD, f"no interval: undefined without one group of patients or another ({lost})"
            )
        low, high = self.within
        if self.within == UNIT and self.value in UNIT:
            return self._at_the_end(drawing)
        error = float(np.sqrt((self.influence**2).sum()))
        if error <= 1e-12 * max(1.0, abs(self.value)):
            return none(drawing.level, METHOD, "no interval: it does not change when patients are left out")
        half = t_quantile(drawing.level, len(self.left_out) - 1) * error
        if self.within == UNIT:
            ends = _on_the_logit(self.value, half)
        else:
            ends = max(low, self.value - half), min(high, self.value + half)
        return Interval(*ends, drawing.level, METHOD).around(self.value).marked(self.mark)

    @property
    def mark(self) -> str | None:
        """What the simulation found, where that is not good enough to go unmarked."""
        if self.patients < FEW:
            return f"rests on few patients ({self.patients}), of whom {len(self.left_out)} groups were left out"
        return self.found

    def minus(self, other: Spread) -> GroupJackknifed | None:
        """The difference, each group left out of both; None where they do not share the groups of the true images."""
        if not isinstance(other, GroupJackknifed) or not self.grouping.share_truth(other.grouping):
            return None
        low, high = self.within
        return GroupJackknifed(
            self.value - other.value,
            self.left_out - other.left_out,
            min(self.patients, other.patients),
            (low - high, high - low) if np.isfinite(high - low) else (-np.inf, np.inf),
            self.grouping,
            self.found or other.found,
        )

    def _at_the_end(self, drawing: Drawing) -> Interval:
        """All images or none: groups tell no error, and each patient counts as a case that could have differed."""
        found = score_interval(self.value, self.patients, drawing.level)
        note = f"all alike: from the number of patients ({self.patients}), since no group changes it"
        return replace(found, method=METHOD).noted(note).marked(self.mark)


def estimand(
    metric: MetricSpec,
    target: str | None,
    value: float,
    left_out: np.ndarray,
    grouping: PatientGroups,
    known: np.ndarray,
    *,
    patients: int | None = None,
    notes: Sequence[str] = (),
    found: str | None = None,
) -> Estimand:
    """A number of two sets as an estimand, whose difference to another model's leaves out the same patients.

    known     (n,) of bool: the units that it rests on
    patients  of the side that has fewer where the number rests on one side alone; else that of both
    """
    fewest = min(grouping.patients) if patients is None else patients
    spread = GroupJackknifed(value, np.asarray(left_out, dtype=float), fewest, metric.metric.within, grouping, found)

    def minus(other: Estimand) -> Estimand | None:
        if other.value is None:
            return replace(mine, value=None, spread=None, minus=None, reason=other.reason)
        apart = None if other.spread is None else spread.minus(other.spread)
        return None if apart is None else replace(mine, value=apart.value, spread=apart, minus=None)

    mine = Estimand(metric, target, value, known, spread=spread, notes=tuple(notes), minus=minus)
    return mine


def _on_the_logit(value: float, half: float) -> tuple[float, float]:
    """The ends of value +- half, made on the logit scale, where they stay between 0 and 1."""
    centre, reach = logit(value), half / (value * (1 - value))
    return float(expit(centre - reach)), float(expit(centre + reach))
