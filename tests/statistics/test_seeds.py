"""The mean over seeds: its two parts against variances that are known, its coverage, and differences seed by seed."""

from __future__ import annotations

import numpy as np
import pytest

from medvfm.core.metric_spec import Metric, MetricSpec
from medvfm.statistics.bootstrap import bootstrap_interval
from medvfm.statistics.difference import paired_test
from medvfm.statistics.estimand import Estimand
from medvfm.statistics.interval import Drawing, Interval, normal_quantile
from medvfm.statistics.jackknife import Jackknifed
from medvfm.statistics.patients import Patients
from medvfm.statistics.seed_part import SeedPart
from medvfm.statistics.seeds import difference, mean_over_seeds

SPEC = MetricSpec("score", Metric(lambda truth, given: given, "answer", "higher", summary="a mean"), None)
HARDNESS, SEED, BOTH = 1.0, 0.15, 0.8  # standard deviations: of cases, of seeds, of what a seed does to a case


def drawn(rng, seeds, cases, mean=0.0):
    """(seeds, cases) values: how hard a case is for all, how good a seed is, and what only that pair has."""
    hard = rng.normal(0, HARDNESS, cases)
    return mean + hard + rng.normal(0, SEED, (seeds, 1)) + rng.normal(0, BOTH, (seeds, cases))


def of_one(values):
    """A mean of independent cases, with the interval that leaves one out at a time."""
    n = len(values)
    known = np.ones(n, dtype=bool)

    def statistic(counts):
        return counts @ values / counts.sum(axis=1)

    spread = Jackknifed(statistic, float(values.mean()), Patients.of(np.arange(n)), known, n - 1)

    def minus(other):
        return of_one(values - other.values)

    return Estimand(SPEC, None, float(values.mean()), known, statistic=statistic, spread=spread, minus=minus,
                    values=values)  # fmt: skip


def test_both_parts_are_those_that_the_values_were_drawn_with():
    """The expectation of the whole variance is hardness²/n + seed²/S + both²/(nS); that of the seeds' part seed²/S."""
    rng, seeds, cases = np.random.default_rng(0), 4, 60
    means, whole, alone = [], [], []
    for _ in range(300):
        found = mean_over_seeds([of_one(v) for v in drawn(rng, seeds, cases)])
        sampling = found.spread.sampling.interval(Drawing())
        part = found.seeds
        means.append(found.value)
        alone.append((part.sd**2 - part.unshared) / seeds)  # before what is below 0 is cut off
        whole.append((sampling.error * 1.96 / 2.001) ** 2 + alone[-1])  # the interval took t of 59
    expected = HARDNESS**2 / cases + SEED**2 / seeds + BOTH**2 / cases / seeds
    assert np.mean(alone) == pytest.approx(SEED**2 / seeds, rel=0.12)
    assert np.mean(whole) == pytest.approx(expected, rel=0.05)
    assert np.var(means) == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize(("seeds", "low", "high"), [(2, 0.92, 0.97), (3, 0.93, 0.975), (10, 0.93, 0.975)])
def test_the_interval_covers_the_mean_of_all_seeds_and_patients(seeds, low, high):
    """Where one run's own interval, which knows of no seeds, covers far less."""
    rng, cases, times = np.random.default_rng(seeds), 80, 400
    covered = once = 0
    for _ in range(times):
        values = drawn(rng, seeds, cases)
        whole = mean_over_seeds([of_one(v) for v in values]).spread.interval(Drawing())
        own = of_one(values[0]).spread.interval(Drawing())
        covered += whole.low <= 0 <= whole.high
        once += own.low <= 0 <= own.high
    assert low <= covered / times <= high
    assert once / times < 0.88


def test_by_hand():
    """s²/S + c of Obuchowski and Rockette, from the covariances of the values themselves."""
    values = drawn(np.random.default_rng(3), 5, 40)
    found = mean_over_seeds([of_one(v) for v in values])
    together = np.cov(values) / 40  # (S, S) of the means of the seeds
    shared = together[~np.eye(5, dtype=bool)].mean()
    s2 = values.mean(axis=1).var(ddof=1)
    own = np.diag(together).mean()
    assert found.seeds.unshared == pytest.approx(own - shared, rel=0.03)  # over n here, over n - 1 there
    sampling = together.sum() / 25
    assert sampling + found.seeds.error**2 == pytest.approx(max(s2 / 5 + shared, sampling), rel=0.02)
    freedom = (s2 + 5 * shared) ** 2 / (s2**2 / 4)  # Hillis 2007
    if s2 > own - shared:
        assert found.seeds.freedom(sampling**0.5) == pytest.approx(freedom, rel=0.05)


def test_seeds_that_agree_change_nothing():
    values = np.random.default_rng(1).normal(0, 1, 30)
    one, same = of_one(values), mean_over_seeds([of_one(values)] * 4)
    assert same.seeds.error == 0
    a, b = one.spread.interval(Drawing()), same.spread.interval(Drawing())
    assert (a.low, a.high) == pytest.approx((b.low, b.high))


def test_without_influences_no_error_is_taken_off_the_seeds():
    part = SeedPart((0.7, 0.8, 0.9))
    assert part.error == pytest.approx(0.1 / 3**0.5)
    wide = part.widened(Interval(0.7, 0.9, 0.95, "bootstrap"), 0.8, (0.0, 1.0))
    assert wide.low < 0.7
    assert wide.high > 0.9
    assert wide.low >= 0
    z = normal_quantile(0.95)
    assert (wide.high - 0.8) / z > np.hypot(0.1 / z, part.error)  # and t of few seeds reaches further than z


def test_percentiles_of_the_mean_resample_all_seeds_together():
    values = drawn(np.random.default_rng(2), 3, 50)
    found = mean_over_seeds([of_one(v) for v in values])
    patients = np.arange(50)
    ours = bootstrap_interval(found.statistic, patients, resamples=300, seed=1)
    mean = values.mean(axis=0)
    theirs = bootstrap_interval(lambda c: c @ mean / c.sum(axis=1), patients, resamples=300, seed=1)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))


def test_differences_are_taken_seed_by_seed_and_tested_with_the_seeds():
    rng = np.random.default_rng(5)
    ours = drawn(rng, 5, 60, mean=0.05)
    theirs = ours - 0.05 + rng.normal(0, 0.3, (5, 1)) + rng.normal(0, 0.1, (5, 60))
    a, b = (mean_over_seeds([of_one(v) for v in values]) for values in (ours, theirs))
    apart = difference(a, b)
    assert apart.value == pytest.approx((ours - theirs).mean())
    assert apart.seeds.sd == pytest.approx((ours - theirs).mean(axis=1).std(ddof=1))
    assert apart.seeds.error > 0.05
    interval, test = apart.spread.interval(Drawing()), paired_test(apart.spread, Drawing())
    assert test.test == "interval"
    assert (test.p < 0.05) == (interval.low > 0 or interval.high < 0)
    single = difference(a, of_one(theirs[0]))  # trained once: beside every seed of the other
    assert single.value == pytest.approx((ours - theirs[0]).mean())
    back = difference(of_one(theirs[0]), a)
    assert back.value == pytest.approx(-single.value)
    assert back.seeds.error == pytest.approx(single.seeds.error)


def test_a_seed_without_the_number_is_left_out_and_said():
    values = drawn(np.random.default_rng(6), 3, 20)
    lacking = Estimand(SPEC, None, None, np.ones(20, dtype=bool), reason="no positives")
    found = mean_over_seeds([of_one(values[0]), lacking, of_one(values[1])])
    assert found.value == pytest.approx(values[:2].mean())
    assert "of 1 seeds it does not exist" in found.notes[0]
    assert mean_over_seeds([lacking, lacking]).value is None
