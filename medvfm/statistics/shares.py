"""Shares of cases with something: a sensitivity, an accuracy; also F1, which a share determines.

Several cases of a patient count as fewer independent ones. Of several folds the mean of their shares is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from medvfm.statistics.interval import Drawing, Interval, none
from medvfm.statistics.patients import Patients
from medvfm.statistics.proportion import effective_size, exact_interval, score_interval
from medvfm.statistics.spread import Mixture, Spread

FEW_PATIENTS, FEW_OF_A_KIND = 31, 6  # below either the simulated coverage leaves 93 to 97%


@dataclass(frozen=True, eq=False)
class Share:
    """The mean over folds of the share hits / among, with Wilson's interval, or that of Clopper and Pearson where it is
    asked for, in as many cases as they are worth.

    hits, among  (n,) of 0 and 1, hits only where `among`; fold (n,)
    rises        f(share) is the number wanted, which rises with the share, and its slope; None for the share itself
    """

    hits: np.ndarray
    among: np.ndarray
    fold: np.ndarray
    patients: Patients
    rises: tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]] | None = None

    @property
    def value(self) -> float:
        return float(self._values().mean())

    @property
    def influence(self) -> np.ndarray:
        return self._influence(self._slopes())

    @property
    def added(self) -> np.ndarray:
        """(P,) what each patient adds to the share itself, the mean over folds: they sum to it."""
        folds, each = self._folds(), np.zeros(len(self.hits))
        for rows in folds:
            each[rows] = self.hits[rows] / self.among[rows].sum() / len(folds)
        return self.patients.sums(each)

    def interval(self, drawing: Drawing) -> Interval:
        shares, among = self._shares(), self.among > 0
        cases, patients = int(among.sum()), self.patients.among(among)
        if patients < 2:
            return none(drawing.level, "wilson", f"it rests on {patients} patient: no interval")
        share = float(shares.mean())
        own = self._influence(np.ones(len(shares)))
        alone = cases == patients
        variance = float((own**2).sum()) * (1 if alone else patients / (patients - 1))
        size = effective_size(share, variance, cases, patients)
        exact = drawing.shares == "clopper_pearson"
        if exact:
            found = exact_interval(share, size, drawing.level)
        else:
            found = score_interval(share, size, drawing.level, None if alone else patients - 1)
        low, high = found.low, found.high
        assert low is not None and high is not None
        if self.rises is not None:
            # The share is moved along; folds that differ make the mean of f differ from f of the mean a little.
            f = self.rises[0]
            shift = self.value - float(f(np.array(share)))
            low, high = float(f(np.array(low))) + shift, float(f(np.array(high))) + shift
        fewer = min(share, 1 - share) * min(size, patients)
        made = Interval(max(low, 0.0), min(high, 1.0), drawing.level, found.method)
        return made if exact and alone else made.marked(_found(patients, fewer))

    def minus(self, other: Spread) -> Spread | None:
        return Mixture([self, other], [1.0, -1.0], (-1.0, 1.0)) if isinstance(other, Share) else None

    def _folds(self) -> list[np.ndarray]:
        return [rows for f in np.unique(self.fold) if self.among[rows := self.fold == f].any()]

    def _shares(self) -> np.ndarray:
        return np.array([self.hits[rows].sum() / self.among[rows].sum() for rows in self._folds()])

    def _values(self) -> np.ndarray:
        return self._shares() if self.rises is None else self.rises[0](self._shares())

    def _slopes(self) -> np.ndarray:
        shares = self._shares()
        return np.ones(len(shares)) if self.rises is None else self.rises[1](shares)

    def _influence(self, slopes: np.ndarray) -> np.ndarray:
        """(P,) of the mean over folds."""
        folds, each = self._folds(), np.zeros(len(self.hits))
        for rows, share, slope in zip(folds, self._shares(), slopes, strict=True):
            gaps = self.hits[rows] - share * self.among[rows]
            each[rows] = slope * gaps / self.among[rows].sum() / len(folds)
        return self.patients.sums(each)


def mean_of(shares: Sequence[Share]) -> Spread:
    """The mean of several shares of the same cases, such as sensitivity and specificity."""
    if len(shares) == 1:
        return shares[0]
    return Shares(tuple(shares))


@dataclass(frozen=True, eq=False)
class Shares:
    """The mean of shares, whose intervals are combined; see spread.Mixture."""

    shares: tuple[Share, ...]

    @property
    def value(self) -> float:
        return float(np.mean([s.value for s in self.shares]))

    @property
    def influence(self) -> np.ndarray:
        return np.mean([s.influence for s in self.shares], axis=0)

    def interval(self, drawing: Drawing) -> Interval:
        weights = [1 / len(self.shares)] * len(self.shares)
        return Mixture(self.shares, weights, (0.0, 1.0)).interval(drawing)

    def minus(self, other: Spread) -> Spread | None:
        return Mixture([self, other], [1.0, -1.0], (-1.0, 1.0)) if isinstance(other, Shares) else None


def f1_of_share(share: np.ndarray) -> np.ndarray:
    """F1 from the share TP / (TP + FP + FN), which is Jaccard's index."""
    return 2 * share / (1 + share)


def f1_slope(share: np.ndarray) -> np.ndarray:
    return 2 / (1 + share) ** 2


def _found(patients: int, fewer: float) -> str | None:
    if patients < FEW_PATIENTS:
        return f"covers 0.91 to 1 in simulation with so few patients ({patients})"
    if fewer < FEW_OF_A_KIND:
        return f"covers 0.91 to 1 in simulation where so few are the exception ({round(fewer)})"
    return None
