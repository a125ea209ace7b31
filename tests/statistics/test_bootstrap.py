"""The bootstrap over patients: what is drawn, and intervals against scipy and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap as scipy_bootstrap

from medvfm.statistics import bootstrap
from medvfm.statistics.bootstrap import bootstrap_draws, bootstrap_interval, mean_interval, patient_weights


def mean_of(values: np.ndarray):
    return lambda weights: (weights @ values) / weights.sum(axis=1)


def test_patients_are_drawn_whole_and_as_many_as_there_are() -> None:
    patients = np.array(["b", "a", "c", "a", "c", "c", "d"])
    weights = patient_weights(patients, 500, seed=3)
    assert weights.shape == (500, 7)
    assert np.issubdtype(weights.dtype, np.integer)
    by_patient = {p: weights[:, patients == p] for p in "abcd"}
    for columns in by_patient.values():
        assert (columns == columns[:, :1]).all()
    assert (sum(columns[:, 0] for columns in by_patient.values()) == 4).all()
    # Counts are multinomial: mean 1, variance 1 - 1/4.
    drawn = np.stack([columns[:, 0] for columns in by_patient.values()])
    assert drawn.mean() == 1
    assert drawn.var() == pytest.approx(0.75, abs=0.08)


def test_the_seed_decides_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    patients = np.array([f"p{i % 9}" for i in range(20)])
    first = patient_weights(patients, 50, seed=1)
    np.testing.assert_array_equal(first, patient_weights(patients, 50, seed=1))
    assert (first != patient_weights(patients, 50, seed=2)).any()
    order = np.random.default_rng(0).permutation(20)
    np.testing.assert_array_equal(first[:, order], patient_weights(patients[order], 50, seed=1))
    np.testing.assert_array_equal(first[:30], patient_weights(patients, 30, seed=1))
    monkeypatch.setattr(bootstrap, "BLOCK", 60)
    np.testing.assert_array_equal(first, patient_weights(patients, 50, seed=1))
    sizes = [len(block) for block in bootstrap.weight_blocks(patients, 50, seed=1)]
    assert sizes == [3] * 16 + [2]


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_intervals_agree_with_scipy(method: str) -> None:
    values = np.random.default_rng(0).exponential(size=60)
    ours = bootstrap_interval(mean_of(values), np.arange(60), resamples=20_000, seed=1, method=method)
    theirs = scipy_bootstrap(
        (values,), np.mean, n_resamples=20_000, method=method, rng=np.random.default_rng(2)
    ).confidence_interval
    assert ours.low == pytest.approx(theirs.low, abs=0.012)
    assert ours.high == pytest.approx(theirs.high, abs=0.012)
    assert ours.method == ("bootstrap" if method == "percentile" else "bootstrap_bca")


def test_grouped_jackknife_gives_nearly_the_same_acceleration(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).exponential(size=2000)
    ends = []
    for groups in (2000, 200):
        monkeypatch.setattr(bootstrap, "JACKKNIFE_GROUPS", groups)
        interval = bootstrap_interval(mean_of(values), np.arange(2000), resamples=2000, seed=1, method="bca")
        ends.append((interval.low, interval.high))
    assert ends[0] == pytest.approx(ends[1], abs=1e-3)


def test_repeating_every_case_of_a_patient_does_not_narrow_the_interval() -> None:
    values = np.random.default_rng(0).normal(size=30)
    once = mean_interval(values, np.arange(30), seed=0)
    often = mean_interval(np.repeat(values, 5), np.repeat(np.arange(30), 5), seed=0)
    assert (often.low, often.high) == pytest.approx((once.low, once.high))
    ignored = mean_interval(np.repeat(values, 5), np.arange(150), seed=0)
    assert ignored.high - ignored.low < 0.6 * (once.high - once.low)


def test_undefined_resamples_are_counted_and_too_many_are_refused() -> None:
    def sometimes(share: float):
        return lambda weights: np.where(weights[:, 0] > 0, weights[:, 1], np.nan if share else 0.0)

    few = np.arange(4)  # (1 - 1 / 4) ** 4 = 32% of the resamples lack the first: too many
    assert bootstrap_interval(sometimes(0.37), few, resamples=1000, seed=0).low is None
    among_three = lambda w: np.where(w[:, :3].any(axis=1), w[:, 3], np.nan)  # noqa: E731  # 4 to 5% lack all three
    interval = bootstrap_interval(among_three, np.arange(50), resamples=1000, seed=0)
    assert interval.low is not None
    assert "of 1000 resamples are undefined and left out" in (interval.note or "")
    rare = bootstrap_interval(
        lambda weights: np.where(weights[:, 0] > 1, 1.0, np.nan), np.arange(50), resamples=1000, seed=0
    )
    assert (rare.low, rare.high) == (None, None)
    assert "resamples are undefined" in (rare.note or "")


def test_intervals_that_say_nothing_say_so() -> None:
    lone = bootstrap_interval(mean_of(np.ones(4)), np.array(["a"] * 4), seed=0)
    assert (lone.low, lone.note) == (None, "1 patient: nothing to resample")
    flat = bootstrap_interval(mean_of(np.ones(4)), np.arange(4), seed=0, method="bca")
    assert (flat.low, flat.high) == (None, None)
    assert "same value" in (flat.note or "")


def test_bca_falls_back_to_percentiles_where_every_resample_lies_on_one_side() -> None:
    def distinct(weights: np.ndarray) -> np.ndarray:
        return (weights > 0).mean(axis=1)

    interval = bootstrap_interval(distinct, np.arange(30), seed=0, method="bca")
    assert interval.method == "bootstrap"
    assert interval.low is None and "does not hold the value" in (interval.note or "")


def test_a_biased_statistic_says_so() -> None:
    values = np.random.default_rng(0).normal(size=200)
    values -= values.mean()
    shifted = bootstrap_interval(lambda w: np.abs(mean_of(values)(w)), np.arange(200), seed=0)
    assert (shifted.low, shifted.high) == (None, None)  # it would not hold 0, which was found
    some = bootstrap_interval(lambda w: np.abs(mean_of(values + 0.004)(w)), np.arange(200), seed=0)
    assert some.low is None or "of the resamples lie above the value" in (some.note or "")
    assert bootstrap_interval(mean_of(values), np.arange(200), seed=0).note is None


def test_components_without_a_value_are_left_out_and_counted() -> None:
    values = np.array([0.5, np.nan, 0.7, 0.9, 0.8, np.nan])
    patients = np.array(list("abcdef"))
    interval = mean_interval(values, patients, seed=0)
    known = ~np.isnan(values)
    expected = mean_interval(values[known], patients[known], seed=0)
    assert (interval.low, interval.high) == (expected.low, expected.high)
    assert interval.note == "2 of 6 cases have no value and are left out"
    assert mean_interval(np.full(3, np.nan), patients[:3], seed=0).low is None


def test_draws_of_curves_and_wrong_shapes() -> None:
    draws = bootstrap_draws(lambda w: w[:, :3], np.arange(5), resamples=10, seed=0)
    np.testing.assert_array_equal(draws, patient_weights(np.arange(5), 10, 0)[:, :3])
    with pytest.raises(ValueError, match="for 10 resamples"):
        bootstrap_draws(lambda w: w.sum(), np.arange(5), resamples=10, seed=0)
    with pytest.raises(ValueError, match="1 cases have no patient"):
        patient_weights(np.array(["a", None], dtype=object), 10, 0)
    with pytest.raises(ValueError, match="one of: bca, percentile"):
        bootstrap_interval(lambda w: w[:, 0], np.arange(5), seed=0, method="basic")  # type: ignore[arg-type]
