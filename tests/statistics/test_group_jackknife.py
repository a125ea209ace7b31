"""Leaving out groups of patients: closed forms, dealing, pairs, and whether the intervals cover."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import t

from medvfm.core.metric_spec import parse
from medvfm.metrics import fidelity
from medvfm.metrics.fidelity_left_out import leave_out
from medvfm.statistics.group_jackknife import GroupJackknifed, estimand, groups_of_both
from medvfm.statistics.interval import Drawing, Interval
from medvfm.statistics.means import Means
from medvfm.statistics.patients import Patients

ANY = (-np.inf, np.inf)
TWENTY = groups_of_both(np.arange(40), np.arange(40), 0)


def made(value, left_out, within=ANY, patients=40, grouping=TWENTY):
    return GroupJackknifed(value, np.asarray(left_out, dtype=float), patients, within, grouping)


def test_of_a_mean_it_is_students_interval_of_the_groups_means():
    values = np.random.default_rng(0).normal(size=40)
    groups = TWENTY.truth
    left = [values[groups != g].mean() for g in range(20)]
    found = made(values.mean(), left).interval(Drawing(0.9))
    means = np.array([values[groups == g].mean() for g in range(20)])
    expected = t.interval(0.9, 19, values.mean(), means.std(ddof=1) / 20**0.5)
    assert (found.low, found.high) == pytest.approx(expected)
    assert "jackknife" in found.method


def test_within_0_and_1_it_is_made_on_the_logit_scale():
    left = np.random.default_rng(0).normal(0.9, 0.004, 20)
    found = made(0.9, left, (0.0, 1.0)).interval(Drawing())
    half = t.ppf(0.975, 19) * np.sqrt(19 / 20 * ((left - left.mean()) ** 2).sum()) / 0.09
    assert (found.low, found.high) == pytest.approx((expit(logit(0.9) - half), expit(logit(0.9) + half)))


@settings(deadline=None)
@given(
    st.sampled_from([(0.0, 1.0), (0.0, np.inf), ANY, (-1.0, 1.0)]),
    st.floats(0, 1),
    st.floats(-12, 1),
    st.integers(2, 20),
    st.integers(0, 99),
)
def test_the_interval_holds_the_value_and_stays_within_its_range(within, value, size, groups, seed):
    left = value + 10**size * np.random.default_rng(seed).normal(size=groups)
    found = made(value, left, within).interval(Drawing())
    assert found.exists or "does not change" in found.note
    if found.exists:
        assert within[0] <= found.low <= value + 1e-9 and value - 1e-9 <= found.high <= within[1]


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_or_none_of_the_images_have_an_interval_by_the_patients(value):
    found = made(value, np.full(20, value), (0.0, 1.0)).interval(Drawing())
    ends = (found.low, found.high) if value == 0 else (1 - found.high, 1 - found.low)
    assert ends == pytest.approx((0, 0.0876), abs=1e-3)  # Wilson of 0 in 40
    assert found.note.startswith("all alike: from the number of patients (40)")


def test_no_interval_and_why():
    few = made(1.0, [1.0, 2.0], patients=1).interval(Drawing())
    assert not few.exists and "one patient" in few.note
    lost = made(1.0, [1.0, np.nan, 2.0]).interval(Drawing())
    assert not lost.exists and "undefined without one group" in lost.note
    still = made(0.5, np.full(20, 0.5)).interval(Drawing())
    assert not still.exists and "does not change" in still.note
    assert (
        made(1.0, np.linspace(0.9, 1.1, 20), patients=12).interval(Drawing()).note.startswith("approximate: rests on")
    )


def test_groups_are_of_whole_patients_and_of_nearly_equal_numbers():
    rng = np.random.default_rng(1)
    true, own = rng.integers(0, 70, 400).astype(str), np.array([f"made{n}" for n in rng.integers(0, 51, 300)])
    found = groups_of_both(true, own, 3)
    assert found.count == 20 and found.patients == (len(set(true)), len(set(own)))
    for labels, groups in ((true, found.truth), (own, found.made)):
        of_patient = {p: set(groups[labels == p].tolist()) for p in set(labels)}
        assert all(len(g) == 1 for g in of_patient.values())
        sizes = np.bincount([next(iter(g)) for g in of_patient.values()], minlength=20)
        assert sizes.max() - sizes.min() <= 1
    again, other = groups_of_both(true, own, 3), groups_of_both(true, own, 4)
    assert np.array_equal(found.truth, again.truth) and np.array_equal(found.made, again.made)
    assert not np.array_equal(found.truth, other.truth)


def test_a_patient_of_both_sides_is_left_out_of_both():
    true, own = np.repeat(np.arange(30), 3), np.repeat(np.arange(30)[::-1], 2)
    found = groups_of_both(true, own, 0)
    of_true = dict(zip(true.tolist(), found.truth.tolist(), strict=True))
    assert [of_true[p] for p in own.tolist()] == found.made.tolist()
    few = groups_of_both(np.arange(100), np.arange(5), 0)  # made for 5 of 100 patients
    assert few.count == 5 and sorted(few.made.tolist()) == [0, 1, 2, 3, 4]


def test_the_true_images_are_grouped_alike_for_a_model_and_its_baselines():
    true = np.array([f"p{n}" for n in range(50)])
    model = groups_of_both(true, np.repeat(true, 2), 7)
    for baseline in (groups_of_both(true, np.arange(60), 7), groups_of_both(true, true, 7)):
        assert model.share_truth(baseline)
    assert not model.share_truth(groups_of_both(true, true, 8))
    assert not model.share_truth(groups_of_both(true[:-1], true, 7))
    assert not model.share_truth(groups_of_both(true, true[:6], 7))


def of_sets(truth, images, patients, name="fid", seed=0):
    grouping = groups_of_both(np.arange(len(truth)), patients, seed)
    spec = parse(name, fidelity.METRICS)
    left = leave_out(name, truth, images, torch.from_numpy(grouping.truth), torch.from_numpy(grouping.made))
    value = spec.metric.function(truth, images).item()
    return estimand(spec, None, value, left.numpy(), grouping, np.ones(len(images), dtype=bool), notes=["n 80"])


def test_the_difference_of_two_models_leaves_the_same_patients_out_of_both():
    rng = np.random.default_rng(0)
    truth, good, bad = (torch.from_numpy(rng.normal(m, 1, (80, 3))) for m in (0, 0.3, 1.0))
    ours, theirs = of_sets(truth, good, np.arange(80)), of_sets(truth, bad, 100 + np.arange(80))
    apart = ours.minus(theirs)
    assert apart.value == pytest.approx(ours.value - theirs.value)
    found = apart.spread.interval(Drawing())
    expected = t.interval(0.95, 19, apart.value, np.sqrt(19 * (ours.spread.left_out - theirs.spread.left_out).var()))
    assert (found.low, found.high) == pytest.approx(expected)
    assert found.high < 0
    itself = ours.minus(ours).spread
    assert itself.value == 0 and not itself.interval(Drawing()).exists
    assert ours.minus(of_sets(truth, bad, np.arange(80), seed=1)) is None  # other groups
    no_spread = Means(np.ones((80, 1)), np.ones(1), Patients.of(np.arange(80)))
    assert ours.spread.minus(no_spread) is None


def test_the_difference_to_a_number_that_does_not_exist_says_why():
    rng = np.random.default_rng(0)
    truth, images = (torch.from_numpy(rng.normal(size=(30, 3))) for _ in range(2))
    ours = of_sets(truth, images, np.arange(30))
    apart = ours.minus(type(ours)(ours.metric, None, None, ours.known, reason="1 made image: a set has 2 or more"))
    assert apart.value is None and apart.reason.startswith("1 made image")


def test_the_range_of_a_difference():
    one, other = made(0.9, np.full(20, 0.9), (0.0, 1.0)), made(0.2, np.linspace(0.1, 0.3, 20), (0.0, 1.0))
    apart = one.minus(other)
    assert apart.within == (-1.0, 1.0)
    assert apart.interval(Drawing()).high <= 1.0


def intervals(name: str, patients: int, cases: int, repeats: int) -> tuple[list[Interval], float]:
    """Of sets from two normal distributions in 4 dimensions, images of a patient alike; and the mean of all values."""
    rng, found, values = np.random.default_rng(0), [], []
    whose = np.repeat(np.arange(patients), cases)
    grouping = groups_of_both(whose, 1000 + whose, 0)
    spec = parse(name, fidelity.METRICS)
    for _ in range(repeats):
        sets = []
        for scale, shift in ((1.0, 0.0), (1.2, 0.5)):
            own = rng.normal(size=(patients, 4))[whose]
            sets.append(torch.from_numpy((own + rng.normal(size=own.shape)) * scale / 2**0.5 + shift))
        left = leave_out(name, *sets, torch.from_numpy(grouping.truth), torch.from_numpy(grouping.made))
        values.append(spec.metric.function(*sets).item())
        spread = GroupJackknifed(values[-1], left.numpy(), patients, spec.metric.within, grouping)
        found.append(spread.interval(Drawing()))
    return found, float(np.mean(values))


@pytest.mark.acceptance
@pytest.mark.parametrize(("patients", "cases"), [(100, 1), (40, 4), (200, 1)])
@pytest.mark.parametrize("name", ["fid", "kid"])
def test_it_covers(name, patients, cases):
    """Of 400 repetitions at 95% the standard error is 0.011. What is covered is the mean over sets of this size."""
    found, true = intervals(name, patients, cases, 400)
    assert all(i.exists for i in found)
    assert 0.90 <= np.mean([i.low <= true <= i.high for i in found]) <= 0.98


@pytest.mark.acceptance
@pytest.mark.parametrize("name", ["precision", "recall", "density", "coverage"])
def test_numbers_of_neighbourhoods_cover_roughly_what_their_mark_says(name):
    """See WIDE; of 150 repetitions the standard error is 0.02."""
    found, true = intervals(name, 60, 1, 150)
    assert np.mean([i.low <= true <= i.high for i in found]) >= 0.88


def test_images_of_a_patient_taken_as_patients_of_their_own_cover_too_little():
    """So that the simulation above could fail."""
    rng, missed = np.random.default_rng(0), 0
    for _ in range(60):
        sets = [torch.from_numpy(rng.normal(size=(25, 3)).repeat(8, axis=0) + shift) for shift in (0, 0.5)]
        spread = of_sets(*sets, 1000 + np.arange(200)).spread
        found = spread.interval(Drawing())
        missed += not found.low <= 0.75 + 0.35 <= found.high  # |shift|^2, and the bias of 25 patients
    assert missed > 12
