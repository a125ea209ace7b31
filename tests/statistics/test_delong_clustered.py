"""AUROC with several cases a patient and over several parts, against slow sums over all pairs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import t

from medvfm.statistics.delong import Ranks, Separation, delong_covariance, delong_interval, separation
from medvfm.statistics.interval import Drawing
from medvfm.statistics.patients import Patients


def study(seed: int = 0, patients: int = 14):
    rng = np.random.default_rng(seed)
    whose = rng.permutation(np.repeat(np.arange(patients), rng.integers(1, 5, patients)))
    truth = (rng.random(len(whose)) < 0.4).astype(int)
    return truth, np.round(rng.normal(size=len(whose)) + truth + rng.normal(size=patients)[whose], 1), whose


def obuchowski(truth, score, whose) -> tuple[float, float]:
    """The sums of the paper, pair by pair."""
    kernel = lambda x, y: float(x > y) + 0.5 * (x == y)  # noqa: E731
    x, y = np.flatnonzero(truth == 1), np.flatnonzero(truth == 0)
    v10 = {i: np.mean([kernel(score[i], score[j]) for j in y]) for i in x}
    v01 = {j: np.mean([kernel(score[i], score[j]) for i in x]) for j in y}
    auroc = float(np.mean(list(v10.values())))
    own = {p: [sum(v10[i] - auroc for i in x if whose[i] == p), sum(v01[j] - auroc for j in y if whose[j] == p)]
           for p in set(whose)}  # fmt: skip
    i10, i01, every = len({whose[i] for i in x}), len({whose[j] for j in y}), len(own)
    s10 = i10 / ((i10 - 1) * len(x)) * sum(a**2 for a, _ in own.values())
    s01 = i01 / ((i01 - 1) * len(y)) * sum(b**2 for _, b in own.values())
    s11 = every / (every - 1) * sum(a * b for a, b in own.values())
    return auroc, s10 / len(x) + s01 / len(y) + 2 * s11 / (len(x) * len(y))


@pytest.mark.parametrize("seed", range(4))
def test_the_variance_is_that_of_the_paper(seed):
    truth, score, whose = study(seed)
    auroc, variance = obuchowski(truth, score, whose)
    found = separation(truth, score, whose)
    assert (found.value, found.variance) == pytest.approx((auroc, variance))
    fewer = min(len(set(whose[truth == 1])), len(set(whose[truth == 0])))
    half = t.ppf(0.975, fewer - 1) * variance**0.5 / (auroc * (1 - auroc))
    interval = delong_interval(truth, score, patients=whose)
    assert (interval.low, interval.high) == pytest.approx((expit(logit(auroc) - half), expit(logit(auroc) + half)))
    assert interval.method == "obuchowski"


def test_with_one_case_a_patient_it_is_delongs():
    truth, score, _ = study()
    found, fast = separation(truth, score), delong_covariance(truth, score)
    assert found.variance == pytest.approx(fast.covariance[0, 0])
    assert (found.influence**2).sum() == pytest.approx(found.variance, rel=0.1)
    assert found.interval(Drawing()).method == "delong"


def test_folds_of_other_patients_add_their_variances():
    truth, score, whose = study(1, 30)
    inside = whose < 15
    folds = [Ranks(rows := np.flatnonzero(part), truth[rows], score[rows]) for part in (inside, ~inside)]
    each = [separation(truth[p], score[p], whose[p]) for p in (inside, ~inside)]
    found = Separation(folds, Patients.of(whose))
    assert found.value == pytest.approx((each[0].value + each[1].value) / 2)
    assert found.variance == pytest.approx((each[0].variance + each[1].variance) / 4)
    assert found.freedom == each[0].freedom + each[1].freedom


def test_targets_of_the_same_patients_count_their_correlation():
    truth, score, whose = study(2, 30)
    part = Ranks(np.arange(len(truth)), truth, score)
    once, twice = Separation([part], Patients.of(whose)), Separation([part, part], Patients.of(whose))
    assert twice.variance == pytest.approx(once.variance, rel=0.05)  # the same twice is not worth more
    assert twice.freedom == once.freedom


def test_no_interval_from_one_patient_of_a_class():
    found = delong_interval(np.array([1, 1, 0, 0, 0]), np.array([0.3, 0.9, 0.2, 0.4, 0.6]), patients=list("aabcd"))
    assert found.low is None and found.note is not None and "1 positive patient" in found.note
    constant = delong_interval(np.array([1, 0, 1, 0]), np.ones(4))
    assert constant.low is None and constant.high is None


def test_less_a_constant_score_only_ours_varies():
    truth, score, whose = study(3)
    ours, theirs = (separation(truth, s, whose) for s in (score, np.zeros(len(truth))))
    own, apart = ours.interval(Drawing()), ours.minus(theirs).interval(Drawing())
    assert (apart.low, apart.high) == pytest.approx((own.low - 0.5, own.high - 0.5))


def test_the_same_cases_three_times_are_worth_no_more():
    truth, score, _ = study(3)
    once = delong_interval(truth, score)
    thrice = delong_interval(truth.repeat(3), score.repeat(3), patients=np.arange(len(truth)).repeat(3))
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))
