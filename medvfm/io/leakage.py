"""The same patient or the same pixels in two splits stop a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medvfm.core.case import Case
from medvfm.core.errors import DataError
from medvfm.io import cache


def check(cases: Sequence[Case], assigned: Mapping[str, str]) -> None:
    """Raise DataError naming the cases; patients are not named."""
    _patients(cases, assigned)
    pairs = identical(cases, assigned)
    if pairs:
        first = " and ".join(f"{case_id} ({assigned[case_id]})" for case_id in pairs[0])
        raise DataError(
            f"{len(pairs)} images are identical in two splits, first {first}",
            remedy="remove one of each, or say split.leaks=drop",
        )


def _patients(cases: Sequence[Case], assigned: Mapping[str, str]) -> None:
    seen: dict[str, dict[str, str]] = {}
    for case in cases:
        if case.case_id in assigned:
            seen.setdefault(case.owner, {}).setdefault(assigned[case.case_id], case.case_id)
    shared = [splits for splits in seen.values() if len(splits) > 1]
    if shared:
        first = " and ".join(f"{case_id} ({split})" for split, case_id in sorted(shared[0].items()))
        raise DataError(f"{len(shared)} patients are in two splits, first seen in cases {first}")


def identical(cases: Sequence[Case], assigned: Mapping[str, str]) -> list[tuple[str, str]]:
    """Pairs of cases with the same file content in different splits."""
    first: dict[str, str] = {}
    pairs = []
    cases = [case for case in cases if case.case_id in assigned]
    for case, key in zip(cases, cache.content_keys([c.files for c in cases]), strict=True):
        if isinstance(key, Exception):
            continue
        other = first.setdefault(key, case.case_id)
        if other != case.case_id and assigned[other] != assigned[case.case_id]:
            pairs.append((other, case.case_id))
    return pairs


def drop(cases: Sequence[Case], assigned: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The assignment without training and validation cases whose pixels occur in a later split; and those cases."""
    order = {"train": 0, "val": 1, "test": 2}
    dropped = sorted({min(pair, key=lambda c: order[assigned[c]]) for pair in identical(cases, assigned)})
    return {c: s for c, s in assigned.items() if c not in dropped}, dropped
