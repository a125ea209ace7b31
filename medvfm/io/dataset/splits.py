"""Splits by patient: random and stratified, from the card, in folds, or with a site held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medvfm.core.case import SPLITS, Case
from medvfm.core.errors import DataError, nearest
from medvfm.core.recipe_sections import Split

VAL_SHARE = 0.15  # of the training patients, where nothing says which cases are for validation


@dataclass(frozen=True)
class Fold:
    """case_id to train, val or test; a case that is not in it takes no part."""

    assigned: Mapping[str, str]
    warnings: tuple[str, ...] = ()


def split_cases(cases: Sequence[Case], split: Split, seed: int, classes: Sequence[str]) -> list[Fold]:
    """One fold, or several; the same whatever the order of the cases.

    Patients are dealt out, never cases. Shares are of patients, exact to rounding; the classes, or the columns of
    `split.stratify`, are held in balance.
    """
    ordered = sorted(cases, key=lambda case: case.case_id)
    names = split.stratify if split.stratify is not None else tuple(classes)
    if split.stratify:
        _refuse_unknown(ordered, split.stratify)
    if split.folds is not None:
        return _folds(ordered, split.folds, _val_share(split), seed, names)
    if split.hold_out is not None:
        return [_held_out(ordered, split.hold_out, _val_share(split), seed, names)]
    if split.origin == "card":
        return [_from_card(ordered, _val_share(split), seed, names)]
    parts = _shared_out(ordered, split.shares, seed, names)
    return [Fold({c.case_id: SPLITS[parts[c.owner]] for c in ordered})]


def _val_share(split: Split) -> float:
    """Of the patients that are not for test: as `fractions` say, where they do."""
    if split.fractions is None:
        return VAL_SHARE
    return split.fractions[1] / (split.fractions[0] + split.fractions[1])


def _refuse_unknown(cases: Sequence[Case], names: Sequence[str]) -> None:
    known = {name for case in cases for name in (*case.targets, *case.groups)}
    for name in names:
        if name not in known:
            raise DataError(f"split.stratify: no case has {name!r}; {nearest(name, known)}")


def _folds(cases: Sequence[Case], count: int, val_share: float, seed: int, names: Sequence[str]) -> list[Fold]:
    patients = len({c.owner for c in cases})
    if patients < count:
        raise DataError(f"split.folds: {count} folds of {patients} patients", remedy="at most one fold a patient")
    parts = _shared_out(cases, [1 / count] * count, seed, names)
    folds = []
    for number in range(count):
        rest = [c for c in cases if parts[c.owner] != number]
        inner = _train_and_val(rest, val_share, seed + 7919 * (number + 1), names)
        folds.append(Fold(inner | {c.case_id: "test" for c in cases if parts[c.owner] == number}))
    return folds


def _train_and_val(cases: Sequence[Case], val_share: float, seed: int, names: Sequence[str]) -> dict[str, str]:
    parts = _shared_out(cases, (1 - val_share, val_share), seed, names)
    return {c.case_id: SPLITS[parts[c.owner]] for c in cases}


def _held_out(
    cases: Sequence[Case], hold_out: Mapping[str, Sequence[object]], val_share: float, seed: int, names: Sequence[str]
) -> Fold:
    """Cases with any of the values are the test set; other cases of their patients are left out."""
    wanted = {column: {str(v) for v in values} for column, values in hold_out.items()}
    for column, values in wanted.items():
        columns = {name for c in cases for name in c.groups}
        if column not in columns:
            raise DataError(f"split.hold_out: no case has a column {column!r}; {nearest(column, columns)}")
        known = {str(c.groups[column]) for c in cases if column in c.groups}
        for value in sorted(values - known):
            raise DataError(f"split.hold_out: no case has {column} {value!r}; {nearest(value, known)}")
    test = {c.case_id for c in cases if any(str(c.groups.get(k)) in values for k, values in wanted.items())}
    held = {c.owner for c in cases if c.case_id in test}
    rest = [c for c in cases if c.owner not in held]
    aside = sum(c.owner in held and c.case_id not in test for c in cases)
    warnings = (f"{aside} cases of patients who are held out lie elsewhere and are not used.",) if aside else ()
    return Fold(_train_and_val(rest, val_share, seed, names) | dict.fromkeys(sorted(test), "test"), warnings)


def _from_card(cases: Sequence[Case], val_share: float, seed: int, names: Sequence[str]) -> Fold:
    with_split = [c for c in cases if c.split is not None]
    assigned = {c.case_id: str(c.split) for c in with_split}
    missing = [name for name in ("train", "test") if name not in assigned.values()]
    if missing:
        without = f"{len(cases) - len(with_split)} of {len(cases)} cases have no split"
        raise DataError(
            f"split.from card, but the card has no {' and no '.join(missing)} cases; {without}",
            remedy="split.from=random makes a split",
        )
    warnings = []
    if len(with_split) < len(cases):
        warnings.append(f"{len(cases) - len(with_split)} cases are in no split of the card and are not used.")
    if "val" not in assigned.values():
        assigned |= _train_and_val([c for c in with_split if c.split == "train"], val_share, seed, names)
        share = f"{val_share:.0%} of its training patients serve as one"
        warnings.append(f"The card has no validation split: {share}.")
    return Fold(assigned, tuple(warnings))


def _shared_out(cases: Sequence[Case], shares: Sequence[float], seed: int, names: Sequence[str]) -> dict[str, int]:
    """Patient to part. Rarest label first, each patient goes where it is missing most (Sechidis 2011, by patient).

    A part that has its number of patients takes no more, so that sizes are exact. Labels are classes (positive if any
    case of the patient is) and values of group columns.
    """
    rng = np.random.default_rng(seed)
    owners = sorted({c.owner for c in cases})
    labels = _labels(cases, names)
    owners = [owners[i] for i in rng.permutation(len(owners))]
    kinds = sorted({label for found in labels.values() for label in found})
    place = {kind: n for n, kind in enumerate(kinds)}
    counts = np.array([sum(kind in labels[o] for o in owners) for kind in kinds] + [len(owners)], dtype=float)
    missing = np.array(shares)[:, None] * counts  # (parts, kinds and, last, patients)
    room = _rounded(shares, len(owners))
    left = dict.fromkeys(owners)
    parts: dict[str, int] = {}
    while left:
        remaining = {k: n for k in kinds if (n := sum(k in labels[o] for o in left))}
        rarest = min(remaining, key=lambda k: (remaining[k], k)) if remaining else None
        column = place[rarest] if rarest is not None else -1
        for owner in [o for o in left if rarest is None or rarest in labels[o]]:
            part = max(
                (p for p in range(len(shares)) if room[p]),
                key=lambda p: (round(missing[p, column], 9), round(missing[p, -1], 9), -p),
            )
            parts[owner] = part
            for label in labels[owner]:
                missing[part, place[label]] -= 1
            missing[part, -1] -= 1
            room[part] -= 1
            del left[owner]
    return parts


def _rounded(shares: Sequence[float], count: int) -> list[int]:
    """Whole numbers that sum to `count`, by largest remainder; a part with a share is not left empty if it can be."""
    exact = np.array(shares) * count
    found = np.floor(exact + 1e-9).astype(int)
    for part in np.argsort(-(exact - found), kind="stable")[: count - found.sum()]:
        found[part] += 1
    for part in [p for p, share in enumerate(shares) if share > 0 and not found[p]]:
        largest = int(np.argmax(found))
        if found[largest] > 1:
            found[largest] -= 1
            found[part] += 1
    return [int(n) for n in found]


def _labels(cases: Sequence[Case], names: Sequence[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {c.owner: set() for c in cases}
    cuts = {name: _quartiles(cases, name) for name in names}
    for case in cases:
        for name in names:
            value = case.groups.get(name)
            if case.targets.get(name, 0) > 0.5:
                found[case.owner].add(name)
            elif isinstance(value, int | float):
                found[case.owner].add(f"{name} in quarter {int(np.searchsorted(cuts[name], value))}")
            elif value is not None:
                found[case.owner].add(f"{name}={value}")
    return found


def _quartiles(cases: Sequence[Case], name: str) -> np.ndarray:
    """Numbers, such as ages, are balanced by quarters of their distribution."""
    values = [v for c in cases if isinstance(v := c.groups.get(name), int | float)]
    return np.percentile(values, [25, 50, 75]) if values else np.zeros(0)
