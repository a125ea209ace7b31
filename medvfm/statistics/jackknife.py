"""Numbers without a formula of their own: their error from leaving out one patient at a time.

Tukey 1958; Efron and Stein 1981 (Annals of Statistics 9, 586): the variance is never too small on average. Good for
numbers that move smoothly with their cases: average precision, kappa, a calibration slope, a mean of several draws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from medvfm.statistics.bootstrap import Statistic, leave_out
from medvfm.statistics.interval import Drawing, Interval, none, t_quantile
from medvfm.statistics.patients import Patients
from medvfm.statistics.spread import Spread

Scale = tuple[Callable[[float], float], Callable[[float], float], Callable[[float], float]]
FEW, FEW_APART = 30, 25  # patients; as many that disagree, in numbers that are 1 where all agree
MOST_UNDEFINED = 0.05


@dataclass(frozen=True, eq=False)
class Jackknifed:
    """A statistic of counts (r, n), with an interval by t on a scale where it stays within its range.

    within   (0, 1) takes the logit, (-1, 1) Fisher's z, anything else is left as it is
    freedom  degrees of freedom: patients of the smaller class less 1, or all patients less 1
    found    what the simulation says of such a number, where that is not good enough to go unmarked
    """

    statistic: Statistic
    value: float
    patients: Patients
    known: np.ndarray
    freedom: int
    within: tuple[float, float] = (-np.inf, np.inf)
    found: str | None = None

    @cached_property
    def _left_out(self) -> np.ndarray:
        return leave_out(self.statistic, self.patients, self.known)

    @property
    def influence(self) -> np.ndarray:
        """Of each patient, or of each of 1,000 groups of patients; 0 of those that do not count."""
        left, (defined,) = self._left_out, np.nonzero(~np.isnan(self._left_out))
        groups = len(defined)
        apart = np.zeros(len(left))
        if groups:
            apart[defined] = (left[defined].mean() - left[defined]) * (groups - 1) / groups
        return apart

    def interval(self, drawing: Drawing) -> Interval:
        patients = self.patients.among(self.known)
        if patients < 2 or self.freedom < 1:
            return none(drawing.level, "jackknife", "no interval: it rests on one patient of a class")
        lost = int(np.isnan(self._left_out).sum())
        if lost > MOST_UNDEFINED * patients:
            return none(drawing.level, "jackknife", f"no interval: undefined without one patient or another ({lost})")
        groups = len(self._left_out) - lost
        variance = float((self.influence**2).sum()) * groups / (groups - 1)
        if variance <= 1e-16:
            return none(drawing.level, "jackknife", "no interval: it does not change when a patient is left out")
        there, slope, back = _scale(self.within)
        if not self.within[0] < self.value < self.within[1]:
            return none(drawing.level, "jackknife", "no interval: the value lies at the end of its range")
        half = t_quantile(drawing.level, self.freedom) * np.sqrt(variance) * slope(self.value)
        centre = there(self.value)
        found = Interval(back(centre - half), back(centre + half), drawing.level, "jackknife")
        return found.marked(self.mark)

    @property
    def mark(self) -> str | None:
        """What the simulation found, where that is not good enough to go unmarked."""
        if self.freedom + 1 < FEW:
            return f"covers 0.85 to 1 in simulation with so few patients ({self.freedom + 1})"
        low, high = self.within
        disagreeing = self.patients.among(self.known) * (1 - abs(self.value) / high) if low == -high else FEW
        if np.isfinite(high) and disagreeing < FEW_APART:
            return "covers 0.86 to 0.99 in simulation with so little disagreement among so few patients"
        return self.found

    def minus(self, other: Spread) -> Spread | None:
        if not isinstance(other, Jackknifed):
            return None
        ours, theirs = self.statistic, other.statistic
        low, high = self.within
        return Jackknifed(
            lambda counts: ours(counts) - theirs(counts),
            self.value - other.value,
            self.patients,
            self.known,
            min(self.freedom, other.freedom),
            (-np.inf, np.inf) if not np.isfinite(high - low) else (low - high, high - low),
            self.mark or other.mark,
        )


def _scale(within: tuple[float, float]) -> Scale:
    """There, the slope of there, and back."""
    low, high = within
    if not np.isfinite(high - low):
        return float, lambda value: 1.0, float
    if low == -high:
        width = high
        return (
            lambda v: float(np.arctanh(v / width)),
            lambda v: width / (width**2 - v**2),
            lambda v: width * float(np.tanh(v)),
        )
    return (
        lambda v: float(np.log((v - low) / (high - v))),
        lambda v: (high - low) / ((v - low) * (high - v)),
        lambda v: low + (high - low) / (1 + float(np.exp(-v))),
    )
