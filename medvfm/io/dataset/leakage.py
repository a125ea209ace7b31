"""Leakage between splits: the same patient or the same pixels in two splits stop a run."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

from medvfm.core.case import Case
from medvfm.core.errors import DataError
from medvfm.core.plurals import plural
from medvfm.io.dataset.content_hash import content_keys

NAMED = 5
_UID = re.compile(r"\d+(\.\d+){4,}")
_ORDER = {"train": 0, "val": 1, "test": 2}
_SAMPLE = 1 << 14  # values of an image that are looked at first

Pixels = Mapping[str, Sequence[str]]  # case_id to the `pixel_key` of its images


def check(cases: Sequence[Case], assigned: Mapping[str, str], pixels: Pixels | None = None) -> None:
    """Raise DataError naming the cases; patients are not named."""
    patients(cases, assigned)
    studies(cases, assigned)
    refuse(identical(cases, assigned, pixels), assigned)


def refuse(pairs: Sequence[tuple[str, str]], assigned: Mapping[str, str]) -> None:
    """Raise DataError for pairs of cases with the same pixels, if there are any."""
    if pairs:
        named = "; ".join(" and ".join(f"{c} ({assigned[c]})" for c in pair) for pair in pairs[:NAMED])
        raise DataError(
            f"{plural(len(pairs), 'image')} identical in two splits, first {named}",
            remedy="remove one of each, or say split.leaks=drop",
        )


def patients(cases: Sequence[Case], assigned: Mapping[str, str]) -> None:
    """Raise DataError where one patient is in two splits."""
    seen: dict[str, dict[str, str]] = {}
    for case in cases:
        if case.case_id in assigned:
            seen.setdefault(case.owner, {}).setdefault(assigned[case.case_id], case.case_id)
    _refuse_shared(seen, "patient")


def _refuse_shared(seen: Mapping[str, Mapping[str, str]], what: str) -> None:
    shared = [splits for splits in seen.values() if len(splits) > 1]
    if shared:
        first = " and ".join(f"{case_id} ({split})" for split, case_id in sorted(shared[0].items()))
        raise DataError(f"{plural(len(shared), what)} in two splits, first seen in cases {first}")


def identical(
    cases: Sequence[Case], assigned: Mapping[str, str], pixels: Pixels | None = None
) -> list[tuple[str, str]]:
    """Pairs of cases in different splits that have an image of the same content, or of the same pixels.

    Content is that of a file, or of a folder of files. Each case is named once, with its counterpart in the latest
    split. Questions on one image share it by intent: they have one owner, and an owner is never split.

    pixels  `pixel_key` of each image of a case: finds one picture in two formats, or under two headers
    """
    used = [case for case in cases if case.case_id in assigned]
    files = [(case, path) for case in used for path in case.files]
    keys = content_keys([[path] for _, path in files])
    by_key: dict[str, list[Case]] = {}
    for (case, _), key in zip(files, keys, strict=True):
        if not isinstance(key, Exception):  # what cannot be read is left out later, with its reason
            by_key.setdefault(key, []).append(case)
    for case in used:
        for key in (pixels or {}).get(case.case_id, ()):
            by_key.setdefault(f"pixels {key}", []).append(case)
    return _across(by_key, assigned)


def studies(
    cases: Sequence[Case], assigned: Mapping[str, str], uids: Mapping[str, Sequence[str]] | None = None
) -> None:
    """Raise DataError where one StudyInstanceUID is in two splits: a patient who has two names there.

    Studies are not named; those that are only numbered (`study1`) say nothing beyond their own patient.

    uids  case_id to the UIDs of studies and series that the headers of its images state
    """
    seen: dict[str, dict[str, str]] = {}
    for case in cases:
        for uid in {case.study_id or "", *(uids or {}).get(case.case_id, ())}:
            if case.case_id in assigned and _UID.fullmatch(uid):
                seen.setdefault(uid, {}).setdefault(assigned[case.case_id], case.case_id)
    _refuse_shared(seen, "study")


def pixel_key(voxels: np.ndarray) -> str:
    """A hash of shape and values. How they are stored does not matter: 8-bit pixels in 16 bits, as they are or
    stretched (times 257), and grey ones as three equal colours are the same pixels."""
    values = _in_one_type(np.ascontiguousarray(_grey(voxels)))
    return hashlib.sha256(f"{values.shape} {values.dtype}".encode() + values.tobytes()).hexdigest()[:32]


def fingerprint(voxels: np.ndarray) -> str:
    """A hash of shape and of some of the values, evenly spread: equal for equal arrays, and cheap for large ones."""
    step = max(1, math.ceil((voxels.size / _SAMPLE) ** (1 / voxels.ndim)))
    return pixel_key(voxels[(slice(None, None, step),) * voxels.ndim])[:16] + f"-{voxels.shape}"


def _grey(voxels: np.ndarray) -> np.ndarray:
    """(i, j, k) of colour (i, j, k, 3) without colours."""
    if voxels.ndim != 4 or voxels.shape[-1] != 3 or not (voxels == voxels[..., :1]).all():
        return voxels
    return voxels[..., 0]


def _in_one_type(values: np.ndarray) -> np.ndarray:
    """The same numbers in a type that depends on them alone."""
    if values.dtype == np.uint16 and values.max(initial=0) > 255 and not (values % 257).any():
        values = values // 257
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    if values.dtype.kind == "f" and not (np.array_equal(values, np.rint(values)) and max(-low, high) < 2**53):
        return values.astype(np.float64) + 0.0  # -0.0 is 0.0
    kinds = (np.uint8, np.int16, np.uint16, np.int32)
    fits = [kind for kind in kinds if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max]
    return values.astype(fits[0] if fits else np.int64)


def _across(by_key: Mapping[str, Sequence[Case]], assigned: Mapping[str, str]) -> list[tuple[str, str]]:
    pairs: dict[str, tuple[str, str]] = {}
    for same in by_key.values():
        last = max(same, key=lambda c: (_ORDER[assigned[c.case_id]], c.case_id))
        for case in same:
            if assigned[case.case_id] != assigned[last.case_id]:
                pairs.setdefault(case.case_id, (case.case_id, last.case_id))
    return [pairs[case_id] for case_id in sorted(pairs)]


def drop(
    cases: Sequence[Case], assigned: Mapping[str, str], pixels: Pixels | None = None
) -> tuple[dict[str, str], list[str]]:
    """The assignment without training and validation cases whose pixels occur in a later split; and those cases."""
    dropped = sorted({earlier for earlier, _ in identical(cases, assigned, pixels)})
    return {c: s for c, s in assigned.items() if c not in dropped}, dropped
