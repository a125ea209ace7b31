"""Sizes of studies against statsmodels, published examples, and simulation with the tests of the house."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm
from statsmodels.stats.power import TTestPower
from statsmodels.stats.proportion import proportion_confint

import medvfm
from medvfm.core.errors import RecipeError, Undefined
from medvfm.statistics import power
from medvfm.statistics.delong import delong_difference
from medvfm.statistics.power import Auroc, Claim, Mean, Patients, Rate

ONE = Patients()


@pytest.mark.parametrize(("auroc", "positives", "negatives"), [(0.7, 30, 50), (0.9, 15, 60)])
def test_the_variance_of_auroc_is_that_of_exponential_scores(auroc, positives, negatives):
    rng = np.random.default_rng(0)
    ratio = auroc / (1 - auroc)  # of the rates of two exponential distributions
    above = rng.exponential(ratio, (4000, positives, 1)) > rng.exponential(1, (4000, 1, negatives))
    found = above.mean(axis=(1, 2))
    assert found.mean() == pytest.approx(auroc, abs=0.003)
    assert power.auroc_variance(auroc, positives, negatives) == pytest.approx(found.var(), rel=0.07)


def test_an_unpaired_comparison_of_auroc_is_the_published_formula():
    """Hanley and McNeil 1982, eq. 3, one-sided 5%: (z_a sqrt(2 V1) + z_b sqrt(V1 + V2))^2 / d^2 of each class."""
    v1, v2 = (a / (2 - a) + 2 * a**2 / (1 + a) - 2 * a**2 for a in (0.7, 0.75))
    n = (norm.ppf(0.95) * math.sqrt(2 * v1) + norm.ppf(0.8) * math.sqrt(v1 + v2)) ** 2 / 0.05**2
    test = Claim(Auroc(0.75, 0.5), 0.7, 0.0, level=0.9)
    assert power.patients_for_power(test, ONE, 0.8) == pytest.approx(2 * n, rel=0.01)


def test_mcnemar_is_connors_formula_as_published_calculators_have_it():
    apart = power.discordant(0.75, 0.85, 0.6)
    both = 0.75 * 0.85 + 0.6 * math.sqrt(0.75 * 0.25 * 0.85 * 0.15)
    assert apart == pytest.approx((0.75 - both) + (0.85 - both))
    for gain, loss, pairs, beta in ((0.45, 0.05, 23, 0.1), (0.30, 0.15, 155, 0.2)):  # Connor 1987, by two calculators
        one, other = 0.5 + gain - loss, 0.5
        both = one - gain
        r = (both - one * other) / math.sqrt(one * (1 - one) * other * (1 - other))
        level = 0.9 if beta == 0.1 else 0.95  # the first example is one-sided
        needed = power.patients_for_power(Claim(Rate(one), other, r, level=level), ONE, 1 - beta)
        assert needed == pairs
    with pytest.raises(Undefined, match="cannot have a correlation"):
        power.discordant(0.95, 0.5, 0.9)


@pytest.mark.parametrize("power_wanted", [0.8, 0.9])
def test_paired_means_are_statsmodels_t_test(power_wanted):
    sd, r, gain = 0.12, 0.7, 0.03
    effect = gain / (sd * math.sqrt(2 * (1 - r)))
    there = TTestPower().solve_power(effect, alpha=0.05, power=power_wanted, alternative="two-sided")
    found = power.patients_for_power(Claim(Mean(0.85, sd), 0.82, r), ONE, power_wanted)
    assert found == math.ceil(there)
    larger = TTestPower().solve_power(effect, alpha=0.025, power=power_wanted, alternative="larger")
    as_margin = Claim(Mean(0.85, sd), 0.85, r, margin=gain)
    assert power.patients_for_power(as_margin, ONE, power_wanted) == math.ceil(larger)


def test_the_width_of_a_share_is_wilsons():
    n = power.patients_for_width(Rate(0.8), ONE, 0.1, 0.95)
    width = lambda k: float(np.diff(proportion_confint(0.8 * k, k, method="wilson")).item())  # noqa: E731
    assert width(n) <= 0.1 < width(n - 1)


def test_a_study_of_the_size_planned_has_the_power_planned():
    """Two scores of the same cases, each with a normal error, by DeLong's test."""
    rng, ours, theirs = np.random.default_rng(1), 0.85, 0.75
    shift = [math.sqrt(2) * norm.ppf(a) for a in (ours, theirs)]
    truth = np.repeat([0, 1], 100)
    right, rows = 0, []
    for _ in range(300):
        errors = rng.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]], 200)
        scores = errors + truth[:, None] * np.array(shift)
        found = delong_difference(truth, scores[:, 0], scores[:, 1])
        right += found.p_value < 0.05
        rows.append([np.mean(scores[truth == 1, k][:, None] > scores[truth == 0, k]) for k in (0, 1)])
    r = float(np.corrcoef(np.array(rows).T)[0, 1])
    planned = Claim(Auroc(ours, 0.5), theirs, r).power(200)
    assert right / 300 == pytest.approx(planned, abs=0.08)


def test_cases_of_a_patient_count_as_fewer():
    assert Patients(1, 4, 0.5).effective(10) == pytest.approx(40 / 2.5)
    alone = power.patients_for_width(Mean(0.8, 0.2), ONE, 0.05, 0.95)
    same = power.patients_for_width(Mean(0.8, 0.2), Patients(1, 5, 1.0), 0.05, 0.95)
    strangers = power.patients_for_width(Mean(0.8, 0.2), Patients(1, 5, 0.0), 0.05, 0.95)
    assert same == alone
    assert strangers == math.ceil(alone / 5)
    assert power.patients_for_width(Rate(0.9), Patients(0.1), 0.1, 0.95) == pytest.approx(
        10 * power.patients_for_width(Rate(0.9), ONE, 0.1, 0.95), abs=10
    )


@pytest.mark.parametrize("number", [Auroc(0.8, 0.3), Rate(0.8), Mean(0.8, 0.1)])
def test_more_patients_give_narrower_intervals_and_more_power(number):
    sizes = [20, 50, 200, 1000]
    widths = [number.width(n, 0.95) for n in sizes]
    powers = [Claim(number, 0.75, 0.3).power(n) for n in sizes]
    assert widths == sorted(widths, reverse=True)
    assert powers == sorted(powers)
    at_margin = Claim(number, 0.8, 0.3, margin=1e-12)
    assert at_margin.power(200) == pytest.approx(0.025, abs=2e-3)


def test_a_plan_in_words_and_what_is_refused():
    found = medvfm.power("auroc", value=0.85, prevalence=0.2, width=0.1)
    assert found.width <= 0.1
    assert found.positives == round(0.2 * found.patients)
    assert found.said[0].startswith(f"{found.patients} patients, {found.positives} of them with the finding")
    given = medvfm.power("dice", value=0.85, sd=0.1, other=0.83, patients=found.patients)
    assert given.patients == found.patients
    assert "differs from another model" in given.said[2]
    for more, said in (
        ({"value": 0.8}, "prevalence"),
        ({"value": 0.8, "prevalence": 0.2}, "what is the study to show"),
        ({"value": 1.2, "prevalence": 0.2, "width": 0.1}, "between 0 and 1"),
        ({"value": 0.8, "prevalence": 0.2, "other": 0.8}, "no number of patients"),
    ):
        with pytest.raises(RecipeError, match=said):
            medvfm.power("sensitivity", **more)
    with pytest.raises(RecipeError, match="did you mean 'auroc'"):
        medvfm.power("aurok", value=0.8)
