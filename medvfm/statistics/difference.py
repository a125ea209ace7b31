"""Which test a paired difference has: the one that goes with what its interval is made from.

AUROC have DeLong's test (Obuchowski's variance where patients have several cases). Means and shares of cases have a
permutation test: without a difference the two models' answers to a patient might as well be exchanged, which turns the
sign of what he adds (Fisher 1935); of right and wrong with one case a patient that is McNemar's exact test. Anything
else is tested by its interval: p is 1 less the highest level at which the interval leaves 0 out. Asked for by name,
`permutation` exchanges the two models' ranks for AUROC, and `wilcoxon` ranks the differences of means by patient.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.stats import binomtest

from medvfm.statistics.delong import NO_TEST, SeparationDifference
from medvfm.statistics.exchange import exchange_p
from medvfm.statistics.interval import Drawing
from medvfm.statistics.means import Means
from medvfm.statistics.paired import sign_flip_p
from medvfm.statistics.shares import Share, Shares
from medvfm.statistics.signed_ranks import hodges_lehmann, wilcoxon_p
from medvfm.statistics.spread import Mixture, Spread

LEAST_P = 1e-6  # of tests by an interval: what lies beyond is told by no number of patients
STEPS = 40
NOTHING = 1e-12


@dataclass(frozen=True)
class PairedTest:
    """Two-sided p-value of no difference, None where there is no test and `note` says why.

    test: delong, obuchowski, exchange, mcnemar, sign_flip, wilcoxon, interval; empty where there is none.
    """

    p: float | None
    test: str
    note: str | None = None


Kind = Literal["auto", "permutation", "wilcoxon"]
KINDS: tuple[Kind, ...] = ("auto", "permutation", "wilcoxon")


def paired_test(apart: Spread, drawing: Drawing, kind: Kind = "auto") -> PairedTest:
    """The test of a difference by its spread, as `Spread.minus` gives it; one of another `kind` where there is one."""
    if same(apart):
        return PairedTest(1.0, "", "no case tells the two apart")
    if isinstance(apart, SeparationDifference) and kind == "permutation":
        exchanged = exchange_p(apart.ours, apart.theirs, permutations=drawing.resamples, seed=drawing.seed)
        return PairedTest(exchanged, "exchange")
    if isinstance(apart, Means) and kind == "wilcoxon":
        return _of_ranks(apart, drawing.level)
    if isinstance(apart, SeparationDifference):
        p = apart.p_value
        return PairedTest(p, apart.test) if p is not None else PairedTest(None, "", NO_TEST)
    added = contributions(apart)
    if added is not None:
        return _of_signs(added, drawing.seed, counts=isinstance(apart, Mixture) and _alone(apart))
    return _of_interval(apart, drawing)


def same(apart: Spread) -> bool:
    """The difference is 0, and no patient moves it."""
    return abs(apart.value) <= NOTHING and bool(np.all(np.abs(apart.influence) <= NOTHING))


def contributions(apart: Spread) -> np.ndarray | None:
    """(P,) what each patient adds to the difference, whose sign turns when the models are exchanged for him; None where
    the difference is no such sum."""
    if isinstance(apart, Means):
        sums, counts = apart.patients.sums(np.nan_to_num(apart.values)), (~np.isnan(apart.values)).sum(axis=0)
        return (sums / counts) @ apart.weights
    if not isinstance(apart, Mixture) or list(apart.weights) != [1.0, -1.0]:
        return None
    ours, theirs = (_listed(part) for part in apart.parts)
    if len(ours) != len(theirs) or not ours:
        return None
    if any(a.rises or b.rises or not np.array_equal(a.among, b.among) for a, b in zip(ours, theirs, strict=True)):
        return None
    found = [a.added - b.added for a, b in zip(ours, theirs, strict=True)]
    return np.asarray(np.mean(found, axis=0))


def _listed(part: Spread) -> tuple[Share, ...]:
    return (part,) if isinstance(part, Share) else part.shares if isinstance(part, Shares) else ()


def _alone(apart: Mixture) -> bool:
    """One share of one fold, one case a patient: what turns are single cases."""
    shares = _listed(apart.parts[0])
    return len(shares) == 1 and shares[0].patients.alone and len(np.unique(shares[0].fold)) == 1


def _of_signs(added: np.ndarray, seed: int, *, counts: bool) -> PairedTest:
    moved = added[np.abs(added) > NOTHING]
    if len(moved) and np.allclose(np.abs(moved), np.abs(moved[0]), rtol=1e-9):  # only how many turn either way counts
        p = float(binomtest(int((moved > 0).sum()), len(moved), 0.5).pvalue)
        return PairedTest(p, "mcnemar" if counts else "sign_flip")
    return PairedTest(sign_flip_p(added, np.arange(len(added)), seed=seed), "sign_flip")


def _of_ranks(apart: Means, level: float) -> PairedTest:
    """Each patient by the mean of his differences; the note has the shift of Hodges and Lehmann."""
    sums = apart.patients.sums(np.nan_to_num(apart.values))
    counts = apart.patients.sums(~np.isnan(apart.values))
    with np.errstate(invalid="ignore", divide="ignore"):
        each = (sums / counts) @ apart.weights
    each = each[~np.isnan(each)]
    shift, interval = hodges_lehmann(each, level)
    bounds = "" if interval.low is None else f" ({100 * level:g}% CI {interval.low:.4g} to {interval.high:.4g})"
    return PairedTest(wilcoxon_p(each), "wilcoxon", f"shift of Hodges and Lehmann {shift:.4g}{bounds}")


def _of_interval(apart: Spread, drawing: Drawing) -> PairedTest:
    """By halving on the logarithm of p."""

    def leaves_out(p: float) -> bool | None:
        with np.errstate(over="ignore"):  # at the most extreme levels an end lies at the end of its range
            found = apart.interval(replace(drawing, level=1 - p))
        return None if found.low is None or found.high is None else found.low > 0 or found.high < 0

    first = leaves_out(LEAST_P)
    if first is None:
        return PairedTest(None, "", apart.interval(drawing).note or "the difference has no interval, and no test")
    if first:
        return PairedTest(LEAST_P, "interval", f"p is {LEAST_P:g} or less")
    below, above = np.log(LEAST_P), 0.0
    for _ in range(STEPS):
        middle = (below + above) / 2
        if leaves_out(min(float(np.exp(middle)), 1 - 1e-9)):
            above = middle
        else:
            below = middle
    return PairedTest(float(np.exp(above)), "interval")
