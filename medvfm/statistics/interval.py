"""What every interval and every comparison gives back, and the words for one that is not to be relied on.

Where an interval was simulated to cover less than 93% or more than 97% at a nominal 95% its note begins with
`approximate:` and says what was found. The simulation is tests/benchmarks/interval_coverage.py, its table
tests/benchmarks/COVERAGE.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from scipy.stats import norm, t

APPROXIMATE = "approximate"


@dataclass(frozen=True)
class Interval:
    """A confidence interval, both ends None where it does not exist; `note` then gives the reason.

    method: delong, obuchowski, pairs, wilson, mover, bootstrap_t, jackknife, bootstrap, bootstrap_bca,
    clopper_pearson; empty where nothing was tried.
    """

    low: float | None
    high: float | None
    level: float
    method: str
    note: str | None = None

    @property
    def exists(self) -> bool:
        return self.low is not None and self.high is not None

    @property
    def error(self) -> float | None:
        """The standard error that a normal distribution would have with ends so far apart; None without ends."""
        if self.low is None or self.high is None:
            return None
        return (self.high - self.low) / (2 * normal_quantile(self.level))

    def noted(self, *notes: str | None) -> Interval:
        """The same with more to say."""
        return replace(self, note="; ".join(n for n in (self.note, *notes) if n) or None)

    def marked(self, found: str | None) -> Interval:
        """The same as approximate, with what the simulation found; unchanged where there is nothing to say."""
        return self.noted(f"{APPROXIMATE}: {found}") if found and self.exists else self

    def around(self, value: float) -> Interval:
        """The same, or none where it does not hold the value that it belongs to."""
        if self.low is None or self.high is None:
            return self
        slack = 1e-9 * max(1.0, abs(value))
        if self.low - slack <= value <= self.high + slack:
            return self
        return none(self.level, self.method, "no interval: the one found does not hold the value itself")


def none(level: float, method: str, reason: str) -> Interval:
    """No interval, and why."""
    return Interval(None, None, level, method, reason)


@dataclass(frozen=True)
class Comparison:
    """A difference (first minus second) with its interval and the two-sided p-value of no difference."""

    difference: float
    interval: Interval
    p_value: float | None
    note: str | None = None


@dataclass(frozen=True)
class Drawing:
    """How intervals are asked for: the level, how many resamples by which seed where patients are resampled, and how
    those of shares are made."""

    level: float = 0.95
    resamples: int = 2000
    seed: int = 0
    shares: Literal["wilson", "clopper_pearson"] = "wilson"

    def __post_init__(self) -> None:
        check_level(self.level)


def normal_quantile(level: float) -> float:
    """z with P(|Z| <= z) = level for a standard normal Z."""
    check_level(level)
    return float(norm.ppf((1 + level) / 2))


def t_quantile(level: float, freedom: float) -> float:
    """t with P(|T| <= t) = level for Student's T; the degrees of freedom need not be whole."""
    check_level(level)
    return float(t.ppf((1 + level) / 2, freedom))


def check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level {level!r} is not between 0 and 1")
