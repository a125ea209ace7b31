"""Splits: by patient, stratified, seeded, and the same whatever the order of the rows."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medvfm.core.case import Case
from medvfm.core.errors import DataError
from medvfm.core.recipe_sections import Split
from medvfm.io.dataset import splits


def cohort(patients=100, each=(1, 4), seed=0, splits_=None):
    rng = np.random.default_rng(seed)
    found = []
    for p in range(patients):
        sick, site = float(rng.random() < 0.2), "ABC"[int(rng.integers(3))]
        for i in range(int(rng.integers(*each))):
            split = None if splits_ is None else splits_[p % len(splits_)]
            found.append(
                Case(f"p{p}i{i}", f"p{p}", {"image": ()}, {"sick": sick}, groups={"scanner": site}, split=split)
            )
    return found


def by_patient(cases, fold):
    found = {}
    for case in cases:
        found.setdefault(case.owner, set()).add(fold.assigned[case.case_id])
    return found


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(20, 120))
def test_no_patient_is_shared_and_shares_and_classes_hold(seed, patients):
    cases = cohort(patients, seed=seed)
    (fold,) = splits.split_cases(cases, Split(fractions=(0.5, 0.2, 0.3)), seed, ["sick"])
    parts = by_patient(cases, fold)
    assert all(len(p) == 1 for p in parts.values())
    sizes = Counter(next(iter(p)) for p in parts.values())
    sick = {c.owner for c in cases if c.targets["sick"]}
    for name, share in (("train", 0.5), ("val", 0.2), ("test", 0.3)):
        assert abs(sizes[name] - share * patients) <= 2
        assert abs(sum(parts[o] == {name} for o in sick) - share * len(sick)) <= 1


def test_order_does_not_matter_and_the_seed_does():
    cases = cohort()
    first, again, other = (
        splits.split_cases(c, Split(), s, ["sick"])[0].assigned for c, s in ((cases, 1), (cases[::-1], 1), (cases, 2))
    )
    assert first == again
    assert first != other


def test_folds_test_each_patient_once():
    cases = cohort()
    folds = splits.split_cases(cases, Split(folds=5), 0, ["sick"])
    tested = Counter(c.owner for f in folds for c in cases if f.assigned[c.case_id] == "test")
    assert all(len(p) == 1 for f in folds for p in by_patient(cases, f).values())
    assert set(tested) == {c.owner for c in cases}
    images = Counter(c.case_id for f in folds for c in cases if f.assigned[c.case_id] == "test")
    assert set(images.values()) == {1}
    assert all({"train", "val", "test"} == set(f.assigned.values()) for f in folds)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(3, 90), st.sampled_from([(0.6, 0.15, 0.25), (0.5, 0.2, 0.3), (0.7, 0.0, 0.3)])
)
def test_sizes_are_exact_to_rounding_with_many_classes(seed, patients, shares):
    rng = np.random.default_rng(seed)
    cases = [
        Case(f"p{p}i{i}", f"p{p}", {"image": ()}, {n: float(rng.random() < 0.3) for n in "abcdef"})
        for p in range(patients)
        for i in range(2)
    ]
    (fold,) = splits.split_cases(cases, Split(fractions=shares), seed, list("abcdef"))
    sizes = Counter(next(iter(p)) for p in by_patient(cases, fold).values())
    for name, share in zip(("train", "val", "test"), shares, strict=True):
        assert abs(sizes[name] - share * patients) < 1 or sizes[name] == 1 > share * patients
        assert (sizes[name] > 0) == (share > 0)


def test_columns_and_numbers_are_balanced_where_asked():
    rng = np.random.default_rng(0)
    cases = [
        Case(f"p{p}", f"p{p}", {"image": ()}, groups={"age": float(rng.normal(50, 15)), "site": "AB"[p % 5 == 0]})
        for p in range(200)
    ]
    apart = []
    for seed in range(10):
        (fold,) = splits.split_cases(cases, Split(stratify=("age", "site")), seed, [])
        ages = {
            s: np.mean([c.groups["age"] for c in cases if fold.assigned[c.case_id] == s]) for s in ("train", "test")
        }
        sites = Counter(fold.assigned[c.case_id] for c in cases if c.groups["site"] == "B")
        assert abs(sites["test"] - 10) <= 1
        apart.append(abs(ages["train"] - ages["test"]))
    assert np.mean(apart) < 1  # by chance 2: 15 years of deviation, 120 against 50 patients
    with pytest.raises(DataError, match="stratify: no case has 'sit'; did you mean 'site'"):
        splits.split_cases(cases, Split(stratify=("sit",)), 0, [])


def test_more_folds_than_patients_are_refused():
    cases = [Case(f"{p}", f"{p}", {"image": ()}) for p in range(3)]
    with pytest.raises(DataError, match="4 folds of 3 patients"):
        splits.split_cases(cases, Split(folds=4), 0, [])


def test_what_else_there_is_of_patients_held_out_takes_no_part():
    cases = [*cohort(60), Case("moved", "p0", {"image": ()}, {"sick": 0.0}, groups={"scanner": "Z"})]
    (fold,) = splits.split_cases(cases, Split(hold_out={"scanner": ("Z",)}), 0, ["sick"])
    tested = {c for c, s in fold.assigned.items() if s == "test"}
    assert tested == {"moved"}
    assert not any(c.case_id in fold.assigned for c in cases if c.owner == "p0" and c.case_id != "moved")
    assert "are not used" in fold.warnings[0]
    with pytest.raises(DataError, match="no case has a column 'scaner'; did you mean 'scanner'"):
        splits.split_cases(cases, Split(hold_out={"scaner": ("Z",)}), 0, [])


def test_a_site_held_out_is_tested_alone():
    cases = cohort()
    (fold,) = splits.split_cases(cases, Split(hold_out={"scanner": ("C",)}), 0, ["sick"])
    assert {c.groups["scanner"] for c in cases if fold.assigned[c.case_id] == "test"} == {"C"}
    assert all(fold.assigned[c.case_id] == "test" for c in cases if c.groups["scanner"] == "C")
    with pytest.raises(DataError, match="no case has scanner 'D'"):
        splits.split_cases(cases, Split(hold_out={"scanner": ("D",)}), 0, [])


def test_the_cards_own_split_and_validation_carved_from_training_patients():
    cases = cohort(splits_=["train", "train", "test"])
    (fold,) = splits.split_cases(cases, Split(origin="card"), 0, ["sick"])
    assert all((fold.assigned[c.case_id] == "test") == (c.split == "test") for c in cases)
    assert "val" in fold.assigned.values()
    assert "no validation split" in fold.warnings[0]
    with pytest.raises(DataError, match="have no split"):
        splits.split_cases(cohort(), Split(origin="card"), 0, [])
    with pytest.raises(DataError, match="no test cases"):
        splits.split_cases(cohort(splits_=["train", "val"]), Split(origin="card"), 0, [])
    (fold,) = splits.split_cases(cohort(splits_=["train", "val", "test", None]), Split(origin="card"), 0, [])
    assert "are in no split of the card" in fold.warnings[0]
    assert set(fold.assigned) == {c.case_id for c in cohort(splits_=["train", "val", "test", None]) if c.split}
