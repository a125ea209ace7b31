"""How many patients the next study needs: for an interval of some width, or for a test with some power.

A number is planned by its error in a study of n independent cases: AUROC by Hanley and McNeil 1982 (Radiology 143, 29;
exact for negative exponential scores), shares by the binomial, means by their standard deviation. Two models on the
same patients are planned by the correlation of their numbers (Hanley and McNeil 1983, Radiology 148, 839; Connor 1987,
Biometrics 43, 207, for shares). Several cases of a patient count as m / (1 + (m - 1) icc) independent ones (Kish 1965).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from scipy.stats import nct, norm
from scipy.stats import t as student

from medvfm.core.errors import Undefined
from medvfm.statistics.interval import normal_quantile, t_quantile
from medvfm.statistics.proportion import score_interval

MOST = 10_000_000  # patients; a study that needs more is none


@dataclass(frozen=True)
class Patients:
    """What a patient brings.

    share   of the patients whom the number rests on: with the finding, for a sensitivity; all, for a Dice
    cases   of each patient, such as images
    icc     how alike the cases of a patient are: 0 as those of strangers, 1 as if there were one
    """

    share: float = 1.0
    cases: float = 1.0
    icc: float = 0.0

    @property
    def design_effect(self) -> float:
        return 1 + (self.cases - 1) * self.icc

    def effective(self, patients: float) -> float:
        """Independent cases that the number of so many patients is worth."""
        return patients * self.share * self.cases / self.design_effect


class Number(Protocol):
    """A number that is planned: what it is expected to be, and its error in n independent cases."""

    @property
    def value(self) -> float: ...

    def error(self, n: float) -> float: ...

    def width(self, n: float, level: float) -> float:
        """The width of its interval, from end to end."""
        ...


@dataclass(frozen=True)
class Auroc:
    """`n` counts positives and negatives together; `positive` is their share."""

    value: float
    positive: float

    def error(self, n: float) -> float:
        return math.sqrt(auroc_variance(self.value, n * self.positive, n * (1 - self.positive)))

    def width(self, n: float, level: float) -> float:
        """On the logit scale with t of the smaller class, as the interval is made."""
        smaller = n * min(self.positive, 1 - self.positive)
        if smaller < 2:
            return 1.0
        scale = self.error(n) / (self.value * (1 - self.value))
        centre, half = math.log(self.value / (1 - self.value)), t_quantile(level, smaller - 1) * scale
        return _expit(centre + half) - _expit(centre - half)


@dataclass(frozen=True)
class Rate:
    """A share: sensitivity, specificity, accuracy."""

    value: float

    def error(self, n: float) -> float:
        return math.sqrt(self.value * (1 - self.value) / n)

    def width(self, n: float, level: float) -> float:
        """Wilson's."""
        found = score_interval(self.value, n, level)
        assert found.low is not None and found.high is not None
        return found.high - found.low


@dataclass(frozen=True)
class Mean:
    """A mean of values of cases, such as Dice."""

    value: float
    sd: float

    def error(self, n: float) -> float:
        return self.sd / math.sqrt(n)

    def width(self, n: float, level: float) -> float:
        return 2 * t_quantile(level, n - 1) * self.error(n) if n >= 2 else math.inf


def auroc_variance(auroc: float, positives: float, negatives: float) -> float:
    """Hanley and McNeil 1982, eq. 1."""
    q1, q2 = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    inner = auroc * (1 - auroc) + (positives - 1) * (q1 - auroc**2) + (negatives - 1) * (q2 - auroc**2)
    return max(inner, 0.0) / (positives * negatives)


def patients_for_width(number: Number, whom: Patients, width: float, level: float) -> int:
    """The fewest patients with whom the interval of the expected value is no wider."""
    return _least(lambda patients: number.width(whom.effective(patients), level) <= width)


@dataclass(frozen=True)
class Claim:
    """What a test of a number is to show: against a fixed one, or against that of another model on the same patients.

    other        the fixed value, or what the other model is expected to reach
    correlation  of the two models' numbers (AUROC, Dice), or of being right (shares); None against a fixed value
    margin       not worse by the margin or more is to be shown; None: a difference is
    level        of the interval that decides: two-sided, or its lower end for a margin
    """

    number: Number
    other: float
    correlation: float | None
    margin: float | None = None
    level: float = 0.95

    def power(self, n: float) -> float:
        """The probability that the study shows it, in n independent cases."""
        difference = self.number.value - self.other + (self.margin or 0.0)
        if self.margin is None:
            difference = abs(difference)
        null, real = self._errors(n)
        if real <= 0:
            return 1.0 if difference > 0 else 0.0
        if isinstance(self.number, Mean):
            return _power_of_t(difference / real, n - 1, self.level, two_sided=self.margin is None)
        quantile = normal_quantile(self.level)
        found = float(norm.cdf((difference - quantile * null) / real))
        return found + (float(norm.cdf((-difference - quantile * null) / real)) if self.margin is None else 0.0)

    def _errors(self, n: float) -> tuple[float, float]:
        """Of the difference where there is none, and as it is expected; with a margin the second serves for both."""
        number = self.number
        there = _at(number, self.other)
        if self.correlation is None:
            null, real = there.error(n), number.error(n)
        elif isinstance(number, Rate):
            apart = discordant(number.value, self.other, self.correlation)
            null = math.sqrt(apart / n)
            real = math.sqrt(max(apart - (number.value - self.other) ** 2, 0.0) / n)
        else:
            a, b, r = number.error(n), there.error(n), self.correlation
            null, real = b * math.sqrt(2 * (1 - r)), math.sqrt(max(a**2 + b**2 - 2 * r * a * b, 0.0))
        return (null, real) if self.margin is None else (real, real)


def discordant(one: float, other: float, correlation: float) -> float:
    """Share of cases on which one of two models is right and the other wrong, from the correlation of being right.

    Raises Undefined where such shares cannot be so correlated.
    """
    both = one * other + correlation * math.sqrt(one * (1 - one) * other * (1 - other))
    least, most = max(0.0, one + other - 1), min(one, other)
    if not least - 1e-12 <= both <= most + 1e-12:
        raise Undefined(f"being right {one:g} and {other:g} of the time cannot have a correlation of {correlation:g}")
    return one + other - 2 * both


def patients_for_power(claim: Claim, whom: Patients, power: float) -> int:
    """The fewest patients with whom the power is reached; raises Undefined where no number reaches it."""
    return _least(lambda patients: claim.power(whom.effective(patients)) >= power)


def _power_of_t(effect: float, freedom: float, level: float, *, two_sided: bool) -> float:
    """Of Student's t with the noncentrality `effect`."""
    if freedom < 1:
        return 0.0
    cut = t_quantile(level, freedom)
    if effect > 37:  # where the noncentral t loses its digits, all of it lies beyond
        return 1.0
    above = float(nct.sf(cut, freedom, effect)) if effect else float(student.sf(cut, freedom))
    below = float(nct.cdf(-cut, freedom, effect)) if effect else float(student.cdf(-cut, freedom))
    return above + (below if two_sided and math.isfinite(below) else 0.0)


def _at(number: Number, value: float) -> Number:
    """The same kind of number with another value."""
    if isinstance(number, Auroc):
        return Auroc(value, number.positive)
    return Mean(value, number.sd) if isinstance(number, Mean) else Rate(value)


def _least(enough: Callable[[int], bool]) -> int:
    """The least whole number from 2 on that is enough; more is never less."""
    high = 2
    while not enough(high):
        high *= 2
        if high > MOST:
            raise Undefined(f"not with {MOST:,} patients either")
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        if enough(middle):
            high = middle
        else:
            low = middle
    return high


def _expit(value: float) -> float:
    return 1 / (1 + math.exp(-value))
