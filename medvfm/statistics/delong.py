"""AUROC: the variance of DeLong, that of Obuchowski where patients have several cases, interval and paired test.

DeLong, DeLong and Clarke-Pearson 1988; fast form Sun and Xu 2014 (IEEE Signal Processing Letters 21, 1389): placements
from ranks. The ranks come from sorting each class by itself, which is faster than ranking all cases at once.

Obuchowski 1997 (Biometrics 53, 567) sums placements by patient, with I10 patients who have a positive, I01 who have a
negative and I in all, M positives and N negatives:

    S10 = I10 / ((I10 - 1) M) sum_i (V10_i. - m_i A)^2, and S01 alike
    S11 = I / (I - 1) sum_i (V10_i. - m_i A)(V01_i. - n_i A)
    var(A) = S10 / M + S01 / N + 2 S11 / (M N)

With one case a patient that is DeLong's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.stats import t as student

from medvfm.core.errors import PredictionError, Undefined
from medvfm.statistics.interval import APPROXIMATE, Comparison, Drawing, Interval, check_level, none, t_quantile
from medvfm.statistics.patients import Patients
from medvfm.statistics.spread import Mixture, Spread

NO_TEST = "the variance of the difference is 0: it has no test"
SAME = "the scores rank the cases alike: the difference is 0 and has variance 0"
FEW, SOME, MANY = 15, 30, 100  # patients of the smaller class; see `_found`
FEW_IN_A_FOLD = 5
NEAR_ONE, NEARER_ONE = 0.9, 0.95


@dataclass(frozen=True)
class Variance:
    """AUROC (k,) of k scores on the same cases, and their covariance (k, k)."""

    auroc: np.ndarray
    covariance: np.ndarray
    positives: int
    negatives: int


def delong_covariance(truth: np.ndarray, scores: np.ndarray) -> Variance:
    """truth (n,) of 0/1, scores (n,) or (n, k). Covariance NaN where a class has one case. Raises Undefined."""
    positive, columns = _checked(truth, scores)
    m, n = int(positive.sum()), int((~positive).sum())
    # One score alone needs no pairing of its placements, and sorted ones are found several times faster.
    places = [_placements(c[positive], c[~positive], paired=len(columns) > 1) for c in columns]
    above = np.stack([p for p, _ in places])  # (k, m): share of negatives below each positive
    below = np.stack([q for _, q in places])  # (k, n): share of positives above each negative
    k = len(columns)
    covariance = np.full((k, k), np.nan)
    if m > 1 and n > 1:
        covariance = np.cov(above).reshape(k, k) / m + np.cov(below).reshape(k, k) / n
    return Variance(above.mean(axis=1), covariance, m, n)


@dataclass(frozen=True, eq=False)
class Ranks:
    """Cases of one fold and target that are ranked: places of `rows` in all cases, truth and score there."""

    rows: np.ndarray
    truth: np.ndarray
    score: np.ndarray


@dataclass(frozen=True, eq=False)
class Separation:
    """The mean of the AUROC of several parts (folds, targets) over the same patients.

    patients of all cases; a part's patients are those of its rows.
    """

    parts: Sequence[Ranks]
    patients: Patients

    @cached_property
    def _summed(self) -> list[_Sums]:
        return [_Sums.of(part, self.patients) for part in self.parts]

    @property
    def value(self) -> float:
        return float(np.mean([s.auroc for s in self._summed]))

    @property
    def influence(self) -> np.ndarray:
        return np.mean([s.positive + s.negative for s in self._summed], axis=0)

    @property
    def variance(self) -> float:
        """Obuchowski's of every part, and the products of different parts by patient; NaN where a class has one
        patient."""
        return _variance_of_mean(self._summed)

    @property
    def freedom(self) -> int:
        """Patients of the smaller class less 1; that of folds is summed, of targets on the same patients the least."""
        folds: dict[bytes, int] = {}
        for part, summed in zip(self.parts, self._summed, strict=True):
            key = np.unique(self.patients.codes[part.rows]).tobytes()
            folds[key] = min(folds.get(key, summed.smaller - 1), summed.smaller - 1)
        return sum(folds.values())

    def interval(self, drawing: Drawing) -> Interval:
        """On the logit scale, where it stays within 0 and 1 (Pepe 2003, section 5.2.5), with quantiles of Student's t.

        The variance is estimated from the smaller class above all; t with its patients less 1 as degrees of freedom
        makes up for that. At AUROC 0 or 1 the variance is 0 and useless. The interval is then exact from disjoint
        pairs: each pair of a positive and a negative, no patient in two of them, is ordered rightly with probability
        AUROC, and all of them are; the bound is Clopper and Pearson's, (alpha / 2)^(1 / pairs). It is wide.
        """
        level, auroc, variance = drawing.level, self.value, self.variance
        method = "delong" if self._alone else "obuchowski"
        if auroc in (0.0, 1.0):
            return self._from_pairs(level, auroc)
        if math.isnan(variance):
            return none(level, method, f"{self._counts()}: an interval needs two of each")
        if variance <= 1e-16:
            return none(level, method, "no interval: no case's score says more than another's")
        half = t_quantile(level, self.freedom) * math.sqrt(variance) / (auroc * (1 - auroc))
        centre = math.log(auroc / (1 - auroc))
        found = Interval(_expit(centre - half), _expit(centre + half), level, method)
        least = min(s.smaller for s in self._summed)
        if len(self.parts) > 1 and least < FEW_IN_A_FOLD:
            return found.marked(f"covers 0.93 to 1 in simulation with so few patients of one class in a part ({least})")
        return found.marked(_found(self.freedom + 1, auroc))

    @property
    def constant(self) -> bool:
        """Every case has the same score."""
        return all(len(np.unique(part.score)) == 1 for part in self.parts)

    def minus(self, other: Spread) -> Spread | None:
        return SeparationDifference(self, other) if isinstance(other, Separation) else None

    @property
    def _alone(self) -> bool:
        return all(s.alone for s in self._summed)

    def _counts(self) -> str:
        worst = min(self._summed, key=lambda s: s.smaller)
        return f"{_plural(worst.positives, 'positive patient')} and {_plural(worst.negatives, 'negative patient')}"

    def _from_pairs(self, level: float, auroc: float) -> Interval:
        """Of folds the product of their AUROC is at most the power of their mean."""
        sums = self._summed
        pairs = min(s.pairs for s in sums) * (len(sums) if self.freedom > sums[0].smaller - 1 else 1)
        bound = ((1 - level) / 2) ** (1 / pairs)
        low, high = (bound, 1.0) if auroc == 1 else (0.0, 1 - bound)
        shown = f"AUROC is {auroc:.0f}, where its variance is 0: bound from {_plural(pairs, 'disjoint pair')}"
        return Interval(low, high, level, "pairs", shown).marked("wider than needed")


@dataclass(frozen=True, eq=False)
class SeparationDifference:
    """AUROC less that of another model on the same cases."""

    ours: Separation
    theirs: Separation

    @property
    def value(self) -> float:
        return self.ours.value - self.theirs.value

    @property
    def influence(self) -> np.ndarray:
        return self.ours.influence - self.theirs.influence

    @property
    def variance(self) -> float:
        """Of placements less placements; NaN where a class has one patient."""
        pairs = zip(self.ours._summed, self.theirs._summed, strict=True)
        return _variance_of_mean([a.less(b) for a, b in pairs])

    @property
    def p_value(self) -> float | None:
        """Two-sided, of no difference, by Student's t; None where the variance is 0 and the difference is not."""
        variance, scale = self.variance, max(self.ours.variance, self.theirs.variance)
        if math.isnan(scale):
            return None
        if variance <= 1e-12 * scale or scale == 0:
            return 1.0 if self.value == 0 else None
        return float(2 * student.sf(abs(self.value) / math.sqrt(variance), self.ours.freedom))

    @property
    def test(self) -> str:
        return "delong" if self.ours._alone else "obuchowski"

    def interval(self, drawing: Drawing) -> Interval:
        """From the intervals of both AUROC and their correlation (spread.Mixture)."""
        if self.theirs.constant and not self.ours.constant:  # 0.5 whatever the cases: only ours varies
            own, value = self.ours.interval(drawing), self.theirs.value
            if own.low is None or own.high is None:
                return own
            return replace(own, low=own.low - value, high=own.high - value)
        found = Mixture([self.ours, self.theirs], [1.0, -1.0], (-1.0, 1.0)).interval(drawing)
        patients = min(self.ours.freedom, self.theirs.freedom) + 1
        if APPROXIMATE in (found.note or "") or patients >= SOME:
            return found
        return found.marked(f"covers 0.93 to 0.99 in simulation with so few patients of one class ({patients})")

    def minus(self, other: Spread) -> Spread | None:
        return None


@dataclass(frozen=True, eq=False)
class _Sums:
    """Of one part: AUROC, placements less their mean summed by patient (P,) over the number of cases, and the counts of
    patients with a positive, with a negative, and with either."""

    auroc: float
    positive: np.ndarray
    negative: np.ndarray
    positives: int
    negatives: int
    involved: int
    alone: bool

    @classmethod
    def of(cls, part: Ranks, patients: Patients) -> _Sums:
        positive, (score,) = _checked(part.truth, part.score)
        above, below = _placements(score[positive], score[~positive], paired=True)
        auroc, codes = float(above.mean()), patients.codes[part.rows]
        count = patients.count
        own, other = codes[positive], codes[~positive]
        return cls(
            auroc,
            np.bincount(own, (above - auroc) / len(above), count),
            np.bincount(other, (below - auroc) / len(below), count),
            len(np.unique(own)),
            len(np.unique(other)),
            len(np.unique(codes)),
            len(np.unique(codes)) == len(codes),
        )

    def less(self, other: _Sums) -> _Sums:
        """Of the difference to another score on the same cases."""
        return replace(
            self,
            auroc=self.auroc - other.auroc,
            positive=self.positive - other.positive,
            negative=self.negative - other.negative,
        )

    @property
    def smaller(self) -> int:
        return min(self.positives, self.negatives)

    @property
    def pairs(self) -> int:
        """Disjoint pairs of a positive and a negative of two patients; 1 of a single patient with both."""
        return max(1, min(self.smaller, self.involved // 2))

    @property
    def variance(self) -> float:
        if self.smaller < 2:
            return float("nan")
        factors = [i / (i - 1) for i in (self.positives, self.negatives, self.involved)]
        squares = [(self.positive**2).sum(), (self.negative**2).sum(), 2 * (self.positive * self.negative).sum()]
        return float(np.dot(factors, squares))


def separation(truth: np.ndarray, score: np.ndarray, patients: np.ndarray | None = None) -> Separation:
    """Of one fold and target; without `patients` every case is a patient."""
    whose = Patients.of(np.arange(len(np.asarray(truth))) if patients is None else patients)
    return Separation([Ranks(np.arange(len(whose.codes)), np.asarray(truth), np.asarray(score))], whose)


def delong_interval(
    truth: np.ndarray, score: np.ndarray, level: float = 0.95, patients: np.ndarray | None = None
) -> Interval:
    """Interval of AUROC; see `Separation.interval`. truth (n,) of 0/1, score (n,), patients (n,)."""
    return separation(truth, score, patients).interval(Drawing(level))


def delong_difference(
    truth: np.ndarray,
    score_a: np.ndarray,
    score_b: np.ndarray,
    level: float = 0.95,
    patients: np.ndarray | None = None,
) -> Comparison:
    """AUROC of a minus AUROC of b on the same cases: interval, and two-sided p-value by Student's t."""
    check_level(level)
    if np.shape(score_a) != np.shape(score_b):
        raise PredictionError(f"scores {np.shape(score_a)} and {np.shape(score_b)} are not of the same cases")
    ours, theirs = separation(truth, score_a, patients), separation(truth, score_b, patients)
    apart, scale = SeparationDifference(ours, theirs), max(ours.variance, theirs.variance)
    difference, interval, p_value = apart.value, apart.interval(Drawing(level)), apart.p_value
    if math.isnan(scale):
        return Comparison(difference, interval, None, interval.note)
    if p_value is None:
        return Comparison(difference, interval, None, NO_TEST)
    if difference == 0 and apart.variance <= 1e-12 * scale:
        return Comparison(0.0, Interval(0.0, 0.0, level, "delong", SAME), 1.0, SAME)
    return Comparison(difference, interval, p_value)


def _variance_of_mean(parts: Sequence[_Sums]) -> float:
    """Obuchowski's of every part, and the products of different parts by patient."""
    own = sum(s.variance for s in parts)
    totals = np.stack([s.positive + s.negative for s in parts])
    between = float((totals.sum(axis=0) ** 2).sum() - (totals**2).sum())
    return max(own + between, 0.0) / len(parts) ** 2


def _found(patients: int, auroc: float) -> str | None:
    """What the simulation found at as many patients of the smaller class."""
    if patients < FEW:
        return f"covers 0.93 to 1 in simulation with so few patients of one class ({patients})"
    if (max(auroc, 1 - auroc) > NEAR_ONE and patients < SOME) or (
        max(auroc, 1 - auroc) > NEARER_ONE and patients < MANY
    ):
        return f"covers 0.89 to 0.98 in simulation so near to 1 with so few patients of one class ({patients})"
    return None


def _checked(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    truth, scores = np.asarray(truth), np.asarray(scores)
    table = scores[:, None] if scores.ndim == 1 else scores
    if truth.ndim != 1 or table.ndim != 2 or len(truth) != len(table):
        raise PredictionError(f"truth {truth.shape} and scores {scores.shape} do not pair up")
    if not np.isin(truth, (0, 1)).all():
        raise PredictionError("labels must be 0 or 1")
    if np.issubdtype(table.dtype, np.floating) and np.isnan(table).any():
        raise Undefined("scores hold NaN")
    positive = truth == 1
    m = int(positive.sum())
    if m in (0, len(truth)):
        raise Undefined(f"one class only: {m} positives, {len(truth) - m} negatives")
    return positive, [np.ascontiguousarray(column) for column in table.T]


def _placements(positives: np.ndarray, negatives: np.ndarray, paired: bool) -> tuple[np.ndarray, np.ndarray]:
    """Share of negatives below each positive (m,), and of positives above each negative (n,); ties count half.

    DeLong's V10 and V01, in the order of the cases where `paired`, else in the order of the scores.
    """
    if not paired:
        sorted_p, sorted_n = np.sort(positives), np.sort(negatives)
        return _below(sorted_n, sorted_p) / len(negatives), 1 - _below(sorted_p, sorted_n) / len(positives)
    order_p, order_n = np.argsort(positives), np.argsort(negatives)
    above, below = _placements(positives[order_p], negatives[order_n], paired=False)
    return _reordered(above, order_p), _reordered(below, order_n)


def _reordered(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Values in the order of the scores, back in the order of the cases."""
    found = np.empty_like(values)
    found[order] = values
    return found


def _below(ranked: np.ndarray, values: np.ndarray) -> np.ndarray:
    """How many of `ranked` lie below each value, equals counted half."""
    return (np.searchsorted(ranked, values, "left") + np.searchsorted(ranked, values, "right")) / 2


def _expit(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value > -700 else 0.0


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
