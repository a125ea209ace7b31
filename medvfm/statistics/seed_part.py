"""One method trained with several seeds and asked the same cases: the mean over seeds, with an interval that holds both
how far the choice of patients moves it and how far the seeds do.

Seeds are to a method what readers are to a modality in reader studies, every reader reading every case. Obuchowski and
Rockette 1995 (Communications in Statistics, Simulation 24, 285): the variance of the mean over S seeds is s²/S + c, s²
being the variance between seeds, and c the covariance of two seeds on the same patients. s² holds sampling error too,
that which the seeds do not share (v - c, v the variance of one seed): the part of the seeds alone is (s² - v + c) / S.
Hillis 2007 (Statistics in Medicine 26, 596) for the degrees of freedom.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from medvfm.statistics.interval import Drawing, Interval, normal_quantile, t_quantile
from medvfm.statistics.spread import Spread


@dataclass(frozen=True)
class SeedPart:
    """What the seeds add to the error of their mean.

    values    (S,) the number of each seed
    unshared  sampling variance of one seed that another seed on the same patients does not have: v - c; 0 where it is
              not known, which makes the part of the seeds too large rather than too small
    """

    values: tuple[float, ...]
    unshared: float = 0.0

    @property
    def sd(self) -> float:
        """Standard deviation of the seeds' numbers, as they are."""
        return float(np.std(self.values, ddof=1))

    @property
    def error(self) -> float:
        """Standard error of the mean over seeds that comes from the seeds alone."""
        return float(np.sqrt(max(self.sd**2 - self.unshared, 0.0) / len(self.values)))

    def freedom(self, sampling: float) -> float:
        """Degrees of freedom (Hillis 2007) beside a standard error `sampling` of the mean over these very seeds."""
        count = len(self.values)
        between = max(self.sd**2, self.unshared)
        if between <= 0:
            return float("inf")
        total = count * (sampling**2 + self.error**2)
        return max(total**2 / (between**2 / (count - 1)), count - 1.0)

    def widened(self, sampling: Interval, value: float, within: tuple[float, float]) -> Interval:
        """The interval of the mean over these very seeds, `sampling`, widened on each side by the part of the seeds."""
        if sampling.low is None or sampling.high is None:
            return sampling
        z = normal_quantile(sampling.level)
        down, up = (value - sampling.low) / z, (sampling.high - value) / z
        t = t_quantile(sampling.level, self.freedom((down + up) / 2))
        low, high = (value + sign * t * np.hypot(part, self.error) for sign, part in ((-1, down), (1, up)))
        return replace(sampling, low=float(max(low, within[0])), high=float(min(high, within[1])))


@dataclass(frozen=True, eq=False)
class Seeded:
    """A Spread: the mean over seeds. `sampling` is that of the mean of these very seeds on other patients."""

    sampling: Spread
    seeds: SeedPart
    within: tuple[float, float] = (-np.inf, np.inf)

    @property
    def value(self) -> float:
        return self.sampling.value

    @property
    def influence(self) -> np.ndarray:
        """Of each patient; the part of the seeds belongs to none."""
        return self.sampling.influence

    def interval(self, drawing: Drawing) -> Interval:
        return self.seeds.widened(self.sampling.interval(drawing), self.value, self.within)

    def minus(self, other: Spread) -> None:
        """Differences are made seed by seed: `paired`."""
