"""Patients who are in several folds, or in test and validation cases alike, of answers that were handed in.

Cases are named, patients are not.
"""

from __future__ import annotations

from medvfm.core.plurals import have
from medvfm.core.protocols import Predictions


def warnings(test: Predictions, val: Predictions | None) -> list[str]:
    """One for folds and one for splits, each with two cases of one patient."""
    first_of: dict[object, tuple[str, int]] = {}
    of_folds: dict[object, tuple[str, str]] = {}
    for case_id, owner, fold in zip(test.ids, test.patients.tolist(), test.fold.tolist(), strict=True):
        first, first_fold = first_of.setdefault(owner, (case_id, fold))
        if fold != first_fold:
            of_folds.setdefault(owner, (first, case_id))
    of_splits: dict[object, tuple[str, str]] = {}
    tested = _by_fold(test)
    for place, case_id in [] if val is None else _placed(val):
        if place in tested:
            of_splits.setdefault(place[0], (tested[place], case_id))
    return [
        *_said(of_folds, "several folds", "a model that learned from the other folds knows them"),
        *_said(of_splits, "test and val", "what was chosen on val knows patients of test"),
    ]


def _placed(given: Predictions) -> list[tuple[tuple[object, int], str]]:
    """The patient and fold of each case: within a fold, test and validation cases must not know each other."""
    return list(zip(zip(given.patients.tolist(), given.fold.tolist(), strict=True), given.ids, strict=True))


def _by_fold(given: Predictions) -> dict[tuple[object, int], str]:
    found: dict[tuple[object, int], str] = {}
    for place, case_id in _placed(given):
        found.setdefault(place, case_id)
    return found


def _said(shared: dict[object, tuple[str, str]], where: str, why: str) -> list[str]:
    if not shared:
        return []
    first, second = next(iter(shared.values()))
    return [
        f"{have(len(shared), 'patient')} cases in {where}, such as {first} and {second}: {why}, and numbers may be too "
        "good."
    ]
