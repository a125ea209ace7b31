"""Splits by patient: random and stratified, from the card, in folds, or with a site held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medvfm.core.case import SPLITS, Case
from medvfm.core.errors import DataError, nearest
from medvfm.core.recipe import Split

VAL_SHARE = 0.15  # of the training patients, where nothing says which cases are for validation


@dataclass(frozen=True)
class Fold:
    """case_id to train, val or test."""

    assigned: Mapping[str, str]
    warnings: tuple[str, ...] = ()


def split_cases(cases: Sequence[Case], split: Split, seed: int, classes: Sequence[str]) -> list[Fold]:
    """One fold, or several; the same whatever the order of the cases."""
    ordered = sorted(cases, key=lambda case: case.case_id)
    names = split.stratify if split.stratify is not None else tuple(classes)
    if split.folds is not None:
        return _folds(ordered, split.folds, seed, names)
    if split.hold_out is not None:
        return [_held_out(ordered, split.hold_out, seed, names)]
    if split.origin == "card":
        return [_from_card(ordered, seed, names)]
    parts = _shared_out(ordered, split.shares, seed, names)
    return [Fold({c.case_id: SPLITS[parts[c.owner]] for c in cases})]


def _folds(cases: Sequence[Case], count: int, seed: int, names: Sequence[str]) -> list[Fold]:
    parts = _shared_out(cases, [1 / count] * count, seed, names)
    folds = []
    for number in range(count):
        rest = [c for c in cases if parts[c.owner] != number]
        inner = _shared_out(rest, (1 - VAL_SHARE, VAL_SHARE), seed + 7919 * (number + 1), names)
        split_of = {c.case_id: SPLITS[inner[c.owner]] for c in rest}
        folds.append(Fold(split_of | {c.case_id: "test" for c in cases if parts[c.owner] == number}))
    return folds


def _held_out(cases: Sequence[Case], hold_out: Mapping[str, Sequence[object]], seed: int, names: Sequence[str]) -> Fold:
    for column, values in hold_out.items():
        known = {str(c.groups[column]) for c in cases if column in c.groups}
        for value in values:
            if str(value) not in known:
                raise DataError(f"split.hold_out: no case has {column} {value!r}; {nearest(str(value), known)}")
    held = {c.owner for c in cases if any(str(c.groups.get(k)) in {str(v) for v in vs} for k, vs in hold_out.items())}
    rest = [c for c in cases if c.owner not in held]
    inner = _shared_out(rest, (1 - VAL_SHARE, VAL_SHARE), seed, names)
    return Fold({c.case_id: "test" if c.owner in held else SPLITS[inner[c.owner]] for c in cases})


def _from_card(cases: Sequence[Case], seed: int, names: Sequence[str]) -> Fold:
    without = [c.case_id for c in cases if c.split is None]
    if without:
        raise DataError(
            f"split.from card, but {len(without)} cases have no split: {', '.join(without[:5])}",
            remedy="split.from=random makes one",
        )
    assigned = {c.case_id: str(c.split) for c in cases}
    if "val" in assigned.values():
        return Fold(assigned)
    train = [c for c in cases if c.split == "train"]
    inner = _shared_out(train, (1 - VAL_SHARE, VAL_SHARE), seed, names)
    assigned |= {c.case_id: SPLITS[inner[c.owner]] for c in train}
    return Fold(
        assigned, (f"The card has no validation split: {VAL_SHARE:.0%} of its training patients serve as one.",)
    )


def _shared_out(cases: Sequence[Case], shares: Sequence[float], seed: int, names: Sequence[str]) -> dict[str, int]:
    """Patient to part. Rarest label first, each patient goes where it is missing most (Sechidis 2011, by patient).

    Labels are classes (positive if any case of the patient is) or values of group columns.
    """
    rng = np.random.default_rng(seed)
    owners = sorted({c.owner for c in cases})
    labels = _labels(cases, names)
    owners = [owners[i] for i in rng.permutation(len(owners))]
    kinds = sorted({label for found in labels.values() for label in found})
    counts = {kind: sum(kind in labels[o] for o in owners) for kind in kinds}
    wanted = np.array(shares)[:, None] * np.array([[counts[k] for k in kinds] + [len(owners)]])
    place = {kind: n for n, kind in enumerate(kinds)}
    left = dict.fromkeys(owners)
    parts: dict[str, int] = {}
    while left:
        remaining = {k: sum(k in labels[o] for o in left) for k in kinds}
        open_kinds = [k for k in kinds if remaining[k]]
        rarest = min(open_kinds, key=lambda k: (remaining[k], k)) if open_kinds else None
        column = place[rarest] if rarest is not None else len(kinds)
        for owner in [o for o in left if rarest is None or rarest in labels[o]]:
            part = max(range(len(shares)), key=lambda p: (round(wanted[p, column], 9), round(wanted[p, -1], 9), -p))
            parts[owner] = part
            for label in labels[owner]:
                wanted[part, place[label]] -= 1
            wanted[part, -1] -= 1
            del left[owner]
    return parts


def _labels(cases: Sequence[Case], names: Sequence[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {c.owner: set() for c in cases}
    for case in cases:
        for name in names:
            if case.targets.get(name, 0) > 0.5:
                found[case.owner].add(name)
            elif name in case.groups:
                found[case.owner].add(f"{name}={case.groups[name]}")
    return found
