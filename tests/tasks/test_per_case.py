"""Estimands over values of single cases, against NumPy on the cases written out; tables that come back as they were."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from medvfm.core.metric_spec import Metric, MetricSpec
from medvfm.tasks import per_case
from medvfm.tasks.per_case import PerCaseValues


def spec(over: str, name: str = "m") -> MetricSpec:
    return MetricSpec(name, Metric(np.mean, takes="ranks", better="higher", over_cases=over), None)


def made(n: int = 30, targets: tuple[str, ...] = ("a", "b"), folds: int = 1, seed: int = 0) -> PerCaseValues:
    """Values on a coarse grid, so that ties occur; one of five does not exist."""
    rng = np.random.default_rng(seed)
    shape = (n, len(targets))
    values = {name: np.where(rng.random(shape) < 0.2, np.nan, rng.integers(0, 9, shape) / 2) for name in ("m", "k")}
    sizes = rng.integers(0, 3, shape).astype(float)
    return PerCaseValues(
        tuple(f"c{seed}-{i}" for i in range(n)),
        np.array([f"p{i // 2}" for i in range(n)], dtype=object),
        np.arange(n) * folds // n,
        targets,
        {**values, "truth_size": sizes},
        sizes > 0,
        {"truth": sizes, "score": sizes + 1},
        {"sex": np.array(["FM"[i % 2] for i in range(n)], dtype=object)},
    )


def why(metric: MetricSpec) -> str:
    return "no case has it"


@pytest.mark.parametrize(("over", "numpy"), [("median", np.median), ("mean", np.mean)])
@pytest.mark.parametrize("folds", [1, 3])
def test_resamples_are_those_of_the_cases_written_out(over, numpy, folds):
    cases = made(folds=folds)
    found = {e.target: e for e in per_case.estimands(cases, [spec(over)], why)}
    assert set(found) == {"a", "b", "mean"}
    counts = np.random.default_rng(1).integers(0, 3, (200, 30))
    counts = np.concatenate([np.ones((1, 30), int), counts])
    each = np.full((2, len(counts)), np.nan)
    for column in range(2):
        for number, row in enumerate(counts):
            parts = []
            for fold in range(folds):
                drawn = np.repeat(cases.values["m"][:, column], np.where(cases.fold == fold, row, 0))
                parts.append(numpy(drawn[~np.isnan(drawn)]))
            each[column, number] = np.mean(parts)
    for target, expected in (("a", each[0]), ("b", each[1]), ("mean", each.mean(axis=0))):
        np.testing.assert_allclose(found[target].statistic(counts), expected)
        assert found[target].value == pytest.approx(expected[0])


def test_a_resample_without_a_case_that_has_a_value_is_nan():
    cases = made(4, ("a",))
    cases = replace(cases, values={"m": np.array([[1.0], [np.nan], [3.0], [np.nan]])})
    counts = np.array([[0, 2, 0, 2], [1, 1, 1, 1], [3, 0, 1, 0]])
    for over, expected in (("median", [np.nan, 2, 1]), ("mean", [np.nan, 2, 1.5])):
        found = per_case.estimands(cases, [spec(over)], why)[0]
        np.testing.assert_allclose(found.statistic(counts), expected)
        assert found.known.tolist() == [True, False, True, False]
        assert found.notes == ("only 2 patients: the interval is unreliable", "2 of 4 cases have no value")


def test_differences_are_paired_over_the_cases_where_both_exist():
    cases, other = made(), made(seed=3)
    for over, numpy in (("mean", np.nanmean), ("median", np.nanmedian)):
        mine, theirs = (per_case.estimands(c, [spec(over)], why)[1] for c in (cases, other))
        apart = mine.minus(theirs)
        expected = cases.values["m"][:, 1] - other.values["m"][:, 1]
        assert apart.value == pytest.approx(numpy(expected))
        assert apart.known.tolist() == (~np.isnan(expected)).tolist()


def test_sums_count_cases_and_nothing_says_why():
    cases = made()
    found = per_case.estimands(cases, [spec("sum")], why)
    assert [e.target for e in found] == ["a", "b"]  # a mean over targets would count no case
    assert found[0].value == np.nansum(cases.values["m"][:, 0]) and found[0].statistic is None
    empty = replace(cases, values={"m": np.full((30, 2), np.nan)})
    nothing = per_case.estimands(empty, [spec("mean")], why)[0]
    assert nothing.value is None and nothing.reason == "no case has it" and nothing.minus is not None


def same(one: PerCaseValues, other: PerCaseValues) -> None:
    assert one.ids == other.ids and one.targets == other.targets and set(one.values) == set(other.values)
    assert one.fold.tolist() == other.fold.tolist() and one.patients.tolist() == other.patients.tolist()
    for name, values in one.values.items():
        np.testing.assert_array_equal(values, other.values[name])
    np.testing.assert_array_equal(one.present, other.present)
    for name, values in one.table.items():
        np.testing.assert_array_equal(values.astype(float), other.table[name].astype(float))


def test_folds_are_joined_numbered_and_read_back_from_the_tables_of_a_run(tmp_path):
    """Through parquet, with rows in another order among the measures."""
    whole = per_case.joined([made(8), made(6, seed=1)])
    assert whole.ids[7:9] == ("c0-7", "c1-0") and whole.fold.tolist() == [0] * 8 + [1] * 6
    assert whole.groups["sex"].tolist() == list("FMFMFMFM") + list("FMFMFM")
    hashed = {str(p): str(p) for p in whole.patients}
    frames = {"predictions": whole.as_frame("test", hashed, None), "measures": whole.measures("test", hashed, None)}
    frames["measures"] = frames["measures"].sample(frac=1, random_state=0)
    for name, frame in frames.items():
        frame.astype({"baseline": object}).to_parquet(tmp_path / name)
    again = per_case.read_frames(*(pd.read_parquet(tmp_path / name) for name in ("predictions", "measures")))
    same(whole, again)
    metrics = [spec("mean"), spec("median", "k")]
    for mine, theirs in zip(
        per_case.estimands(whole, metrics, why), per_case.estimands(again, metrics, why), strict=True
    ):
        assert (mine.value, mine.target, mine.positives) == (theirs.value, theirs.target, theirs.positives)


def test_a_part_of_the_cases_by_mask_or_by_number():
    cases = made(10)
    keep = np.arange(10) % 3 == 0
    part = cases.subset(keep)
    assert part.ids == tuple(np.array(cases.ids)[keep])
    same(part, cases.subset(np.flatnonzero(keep)))
    turned = cases.subset(np.array([4, 1]))
    assert turned.ids == (cases.ids[4], cases.ids[1])
    np.testing.assert_array_equal(turned.values["m"], cases.values["m"][[4, 1]])
