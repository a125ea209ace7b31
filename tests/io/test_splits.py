"""Splits: by patient, stratified, seeded, and the same whatever the order of the rows."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medvfm.core.case import Case
from medvfm.core.errors import DataError
from medvfm.core.recipe import Split
from medvfm.io import leakage, splits


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


def test_a_patient_in_two_splits_stops_and_is_not_named():
    cases = [Case("a", "Secret^Name", {"image": ()}), Case("b", "Secret^Name", {"image": ()})]
    with pytest.raises(
        DataError, match=r"1 patients are in two splits, first seen in cases b \(test\) and a \(train\)|a"
    ) as e:
        leakage.check(cases, {"a": "train", "b": "test"})
    assert "Secret" not in str(e.value)


def test_identical_pixels_in_two_splits_stop_and_are_named(tmp_path):
    for name, content in (("a", b"same"), ("b", b"same"), ("c", b"other")):
        (tmp_path / name).write_bytes(content)
    cases = [Case(n, n, {"image": (tmp_path / n,)}) for n in "abc"]
    with pytest.raises(DataError, match=r"identical in two splits, first a \(train\) and b \(test\)"):
        leakage.check(cases, {"a": "train", "b": "test", "c": "test"})
    leakage.check(cases, {"a": "train", "b": "train", "c": "test"})
    kept, dropped = leakage.drop(cases, {"a": "train", "b": "test", "c": "test"})
    assert dropped == ["a"]
    assert set(kept) == {"b", "c"}
