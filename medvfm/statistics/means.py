"""Means over cases, such as Dice or a Brier score, with the studentised bootstrap over patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from medvfm.statistics.bootstrap import weight_blocks
from medvfm.statistics.interval import Drawing, Interval, none, t_quantile
from medvfm.statistics.patients import Patients
from medvfm.statistics.spread import Spread

MOST_UNDEFINED = 0.05
LEAST = 8  # patients; resamples of fewer hold too few different ones to studentise by
FEW, MANY = 30, 100  # patients; see `_found`


@dataclass(frozen=True, eq=False)
class Means:
    """weights[c] * mean of values[:, c], summed: a mean over folds and targets, or a difference of two such.

    values   (n, C), NaN for a case that does not count there
    within   the least and the greatest value that there can be
    """

    values: np.ndarray
    weights: np.ndarray
    patients: Patients
    within: tuple[float, float] = (-np.inf, np.inf)
    _drawn: dict[tuple[int, int], np.ndarray] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def value(self) -> float:
        return float(np.nanmean(self.values, axis=0) @ self.weights)

    @cached_property
    def influence(self) -> np.ndarray:
        sums, counts = self._by_patient
        means = sums.sum(axis=0) / counts.sum(axis=0)
        return ((sums - means * counts) / counts.sum(axis=0)) @ self.weights

    def interval(self, drawing: Drawing) -> Interval:
        """Efron 1982 and Hall 1988 (Annals of Statistics 16, 927): quantiles of (mean - value) / its error, both made
        anew in each resample of patients, in place of those of Student's t.

        With skewed values it covers as it says where percentiles and t do not. A resample has no error where all its
        patients have the same value; with more than 5% of such, or where one of the means that are averaged rests on
        fewer than 8 patients, t serves, with the freedom of the mean with the fewest.
        """
        counts = self._by_patient[1]
        involved = int(np.count_nonzero(counts.sum(axis=1)))
        least = int(np.count_nonzero(counts, axis=0).min())
        if involved < 2:
            return none(drawing.level, "bootstrap_t", f"it rests on {involved} patient: no interval")
        value, error = self.value, float(np.sqrt((self.influence**2).sum() * involved / (involved - 1)))
        if error <= 1e-12 * max(1.0, abs(value)):
            return none(drawing.level, "bootstrap_t", "no interval: every patient has the same value")
        tails = self._tails(drawing) if least >= LEAST else None
        if tails is None:
            half = t_quantile(drawing.level, max(least - 1, 1))
            tails, method = (-half, half), "t"
        else:
            method = "bootstrap_t"
        low = max(value - tails[1] * error, self.within[0])
        high = min(value - tails[0] * error, self.within[1])
        return Interval(low, high, drawing.level, method).around(value).marked(_found(least, method))

    def minus(self, other: Spread) -> Spread | None:
        if not isinstance(other, Means):
            return None
        low, high = self.within
        return Means(
            np.concatenate([self.values, other.values], axis=1),
            np.concatenate([self.weights, -other.weights]),
            self.patients,
            (low - high, high - low),
        )

    @cached_property
    def _by_patient(self) -> tuple[np.ndarray, np.ndarray]:
        """(P, C) sums and numbers of a patient's values."""
        return self.patients.sums(np.nan_to_num(self.values)), self.patients.sums(~np.isnan(self.values))

    def _tails(self, drawing: Drawing) -> tuple[float, float] | None:
        t = self._studentised(drawing.resamples, drawing.seed)
        defined = t[np.isfinite(t)]
        if len(t) - len(defined) > MOST_UNDEFINED * len(t):
            return None
        low, high = np.quantile(defined, [(1 - drawing.level) / 2, (1 + drawing.level) / 2])
        return float(low), float(high)

    def _studentised(self, resamples: int, seed: int) -> np.ndarray:
        """(resamples,) (mean - value) / error of each, NaN without an error; kept, for a test asks at many levels."""
        if (resamples, seed) in self._drawn:
            return self._drawn[resamples, seed]
        sums, counts = self._by_patient
        found = []
        for drawn in weight_blocks(np.arange(self.patients.count), resamples, seed):
            weights = drawn.astype(np.float64)
            with np.errstate(invalid="ignore", divide="ignore"):
                total = weights @ counts
                means = (weights @ sums) / total
                # what each patient adds to the error of each resample (r, P)
                shares = self.weights / total
                apart = shares @ sums.T - (shares * means) @ counts.T
                involved = weights @ (counts.sum(axis=1) > 0)
                errors = np.sqrt((weights * apart**2).sum(axis=1) * involved / (involved - 1))
                found.append((means @ self.weights - self.value) / np.where(errors > 1e-12, errors, np.nan))
        return self._drawn.setdefault((resamples, seed), np.concatenate(found))


def _found(patients: int, method: str) -> str | None:
    """What the simulation found of values such as Dice, a few of which are 0 because the structure was missed."""
    if method == "t":
        return f"Student's t for want of patients that differ ({patients} in all); with skewed values it covers less"
    if patients < FEW:
        return f"covers 0.70 to 0.98 in simulation with so few patients ({patients}), the less the rarer failures are"
    if patients < MANY:
        return f"covers 0.91 to 0.97 in simulation with {patients} patients, the less the rarer failures are"
    return None


def over_folds(
    values: np.ndarray, fold: np.ndarray, patients: Patients, within: tuple[float, float] = (-np.inf, np.inf)
) -> Means:
    """The mean over folds of the mean over targets of the mean over cases; values (n, T)."""
    columns: list[np.ndarray] = []
    weights: list[float] = []
    folds = [f for f in np.unique(fold) if not np.isnan(values[fold == f]).all()]
    for f in folds:
        inside = np.where((fold == f)[:, None], values, np.nan)
        held = [c for c in inside.T if not np.isnan(c).all()]
        columns += held
        weights += [1 / (len(folds) * len(held))] * len(held)
    return Means(np.stack(columns, axis=1), np.array(weights), patients, within)


def joined(parts: Sequence[Means]) -> Means:
    """The mean of several means over the same cases."""
    first = parts[0]
    return Means(
        np.concatenate([p.values for p in parts], axis=1),
        np.concatenate([p.weights for p in parts]) / len(parts),
        first.patients,
        first.within,
    )
