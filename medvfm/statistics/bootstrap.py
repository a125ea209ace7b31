"""Bootstrap over patients: all cases of a patient are resampled together, since they are not independent.

A statistic takes counts (r, n), how often each case occurs in each resample, and gives (r,) values, NaN where a
resample has none; so it may sort its cases once and weigh them r times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy.stats import norm

from medvfm.statistics.interval import Interval, check_level, none
from medvfm.statistics.patients import Patients

Statistic = Callable[[np.ndarray], np.ndarray]
Kind = Literal["percentile", "bca"]
BLOCK = 2**24  # counts (int32) in a block: 64 MiB
KEPT = 2**23  # counts that are kept for the next call: 32 MiB
MOST_UNDEFINED = 0.05  # an interval of the resamples that happen to be defined describes something else
SHIFTED = 0.9  # share of the resamples on one side of the value from which the note speaks of bias
JACKKNIFE_GROUPS = 1000
FOUND = "percentiles of resamples cover 0.65 to 0.97, the less the fewer patients"


def patient_weights(patients: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """(R, n) counts of every case in every resample, all at once; `weight_blocks` takes less memory."""
    whose = Patients.of(patients)
    codes = whose.codes
    blocks = list(_blocks(codes, whose.count, resamples, seed))
    return np.concatenate(blocks) if blocks else np.zeros((0, len(codes)), np.int32)


def weight_blocks(patients: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """The rows of `patient_weights` in blocks (r, n) int32 of bounded memory.

    patients  (n,) any labels. As many patients are sampled, with replacement, as there are.
    The resamples depend on the set of patients and the seed; not on the block size, nor on the order of the cases.
    """
    whose = Patients.of(patients)
    return _blocks(whose.codes, whose.count, resamples, seed)


def bootstrap_draws(statistic: Statistic, patients: np.ndarray, *, resamples: int, seed: int) -> np.ndarray:
    """(R,) values of the statistic, or (R, m) for one that gives (r, m)."""
    blocks = [_values(statistic, block) for block in weight_blocks(patients, resamples, seed)]
    return np.concatenate(blocks)


def bootstrap_interval(
    statistic: Statistic,
    patients: np.ndarray,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int,
    method: Kind = "percentile",
) -> Interval:
    """Interval from resamples of patients (Efron and Tibshirani 1993, chapters 13 and 14).

    Undefined resamples are left out and counted in the note; with more than 5% of them undefined, with one patient
    only, or where the percentiles do not hold the value itself, the interval does not exist. Percentiles move with the
    bias of a statistic such as a calibration error, which
    is a sum of absolute values; where nearly all resamples lie on one side of the value the note states it. `bca`
    corrects bias and skewness; where it does not exist (all resamples on one side) percentiles are given and noted.
    """
    interval, _ = interval_and_draws(statistic, patients, level=level, resamples=resamples, seed=seed, method=method)
    return interval


def interval_and_draws(
    statistic: Statistic, patients: np.ndarray, *, level: float, resamples: int, seed: int, method: Kind
) -> tuple[Interval, np.ndarray]:
    """`bootstrap_interval` with the values of the resamples that are defined."""
    check_level(level)
    if method not in ("percentile", "bca"):
        raise ValueError(f"no bootstrap {method!r}; one of: bca, percentile")
    name = "bootstrap" if method == "percentile" else "bootstrap_bca"
    whose = Patients.of(patients)
    codes, count = whose.codes, whose.count
    if count < 2:
        return none(level, name, f"{count} patient{'s' * (count != 1)}: nothing to resample"), np.empty(0)
    draws = np.concatenate([_values(statistic, block) for block in _blocks(codes, count, resamples, seed)])
    defined = draws[~np.isnan(draws)]
    missing = len(draws) - len(defined)
    notes = [f"{missing} of {len(draws)} resamples are undefined and left out"] if missing else []
    if missing > MOST_UNDEFINED * len(draws):
        return none(level, name, f"no interval: {missing} of {len(draws)} resamples are undefined"), defined
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    if defined.min() == defined.max():
        return none(level, name, "no interval: every resample gives the same value"), defined
    value = float(_values(statistic, np.ones((1, len(codes)), np.int32))[0])
    below = _share_below(value, defined)
    corrected = _bca_tails(statistic, codes, count, below, tails) if method == "bca" else None
    if corrected is not None:
        tails = corrected
    elif max(below, 1 - below) > SHIFTED:
        where, share = ("above", 1 - below) if below < 0.5 else ("below", below)
        notes.append(f"{share:.0%} of the resamples lie {where} the value: biased, and the interval with it")
    if method == "bca" and corrected is None:
        name = "bootstrap"
        notes.append("bias and skewness cannot be corrected here: percentiles")
    low, high = np.quantile(defined, tails)
    found = Interval(float(low), float(high), level, name, "; ".join(notes) or None)
    return found if np.isnan(value) else found.around(value), defined


def mean_interval(
    values: np.ndarray,
    patients: np.ndarray,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int,
    method: Kind = "percentile",
) -> Interval:
    """Interval of the mean over cases of values (n,), such as the Dice of each case.

    Cases whose value is NaN are left out and counted in the note. A patient weighs as many as he has cases.
    """
    values = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(values)
    if not known.any():
        return Interval(None, None, level, "bootstrap", "no case has a value")
    kept = values[known]
    interval = bootstrap_interval(
        lambda weights: (weights @ kept) / weights.sum(axis=1),
        np.asarray(patients)[known],
        level=level,
        resamples=resamples,
        seed=seed,
        method=method,
    )
    if known.all():
        return interval
    note = f"{int((~known).sum())} of {len(values)} cases have no value and are left out"
    joined = "; ".join(n for n in (note, interval.note) if n)
    return Interval(interval.low, interval.high, level, interval.method, joined)


def leave_out(statistic: Statistic, patients: Patients, known: np.ndarray) -> np.ndarray:
    """Values without each patient, or without each of 1,000 groups of patients where there are more.

    Only patients with a case where `known` (n,) is true are left out; for the others the value of all cases stands.
    """
    groups = patients.codes % min(patients.count, JACKKNIFE_GROUPS)
    held = np.unique(groups[known])
    rows = max(1, BLOCK // len(groups))
    parts = [held[start : start + rows] for start in range(0, len(held), rows)]
    found = [_values(statistic, (groups != part[:, None]).astype(np.int32)) for part in parts]
    return np.concatenate(found) if found else np.empty(0)


def _blocks(codes: np.ndarray, count: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    in_order = len(codes) == count and bool((codes == np.arange(count)).all())
    rows = max(1, BLOCK // max(1, len(codes)))
    if resamples * count <= KEPT:
        whole = _kept(count, resamples, seed)
        parts: Iterator[np.ndarray] = (whole[start : start + rows] for start in range(0, resamples, rows))
    else:
        parts = _drawn(count, resamples, seed, rows)
    for block in parts:
        yield block if in_order else block[:, codes]


def _drawn(count: int, resamples: int, seed: int, rows: int) -> Iterator[np.ndarray]:
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
    for start in range(0, resamples, rows):
        # One call of the generator for each resample, so that blocks of any size give the same resamples.
        sampled = [
            np.bincount(generator.integers(0, count, count), minlength=count).astype(np.int32)
            for _ in range(min(rows, resamples - start))
        ]
        yield np.stack(sampled)


@lru_cache(maxsize=4)
def _kept(count: int, resamples: int, seed: int) -> np.ndarray:
    """All resamples at once: the rows of a report ask for the same ones again and again."""
    found = next(_drawn(count, resamples, seed, max(1, resamples)))
    found.setflags(write=False)
    return found


def _values(statistic: Statistic, weights: np.ndarray) -> np.ndarray:
    values = np.asarray(statistic(weights), dtype=np.float64)
    if values.shape[:1] != weights.shape[:1]:
        raise ValueError(f"the statistic gave {values.shape} for {len(weights)} resamples")
    return values


def _share_below(value: float, draws: np.ndarray) -> float:
    """Share of the draws below the value of all cases, equals counted half: few distinct values must not look biased.

    A half where all cases together have no value.
    """
    return 0.5 if np.isnan(value) else float(((draws < value).sum() + (draws == value).sum() / 2) / len(draws))


def _bca_tails(
    statistic: Statistic, codes: np.ndarray, count: int, below: float, tails: np.ndarray
) -> np.ndarray | None:
    """Efron 1987: the quantiles that correct for bias z0 and acceleration; None where they do not exist."""
    left_out = leave_out(statistic, Patients(codes, count), np.ones(len(codes), dtype=bool))
    if not 0 < below < 1 or np.isnan(left_out).any():
        return None
    gaps = left_out.mean() - left_out
    spread = (gaps**2).sum()
    if spread == 0:
        return None
    acceleration = (gaps**3).sum() / (6 * spread**1.5)
    z0 = norm.ppf(below)
    z = z0 + norm.ppf(tails)
    if (1 - acceleration * z <= 0).any():
        return None
    return norm.cdf(z0 + z / (1 - acceleration * z))
