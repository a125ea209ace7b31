"""What cases are called in the files of a run: keyed hashes, unless the card says that its ids are safe to show.

A case_id is often an accession number. Whoever is given a run sees hashes alone; its private/cases.csv leads back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from medvfm.core.case import Case
from medvfm.io import patient_hashes, run_directory
from medvfm.io.writers import file_names

PRIVATE = "private"  # folder of a run that is never passed on
CASES = f"{PRIVATE}/cases.csv"


def names(case_ids: Iterable[str], *, safe: bool) -> dict[str, str]:
    """Each case_id to its name in tables: itself where ids are safe, else 16 hexadecimal digits that are the same in
    every run of this installation."""
    unique = dict.fromkeys(case_ids)
    if safe:
        return {case_id: case_id for case_id in unique}
    key = patient_hashes.installation_key()
    return {case_id: patient_hashes.hashed(case_id, key, "case") for case_id in unique}


def with_stems(cases: Sequence[Case], *, safe: bool) -> list[Case]:
    """The cases with the stems of their files, distinct for all of them."""
    named = names((case.case_id for case in cases), safe=safe)
    stems = file_names.stems(named.values())
    return [replace(case, stem=stems[named[case.case_id]]) for case in cases]


def reasons(left_out: Iterable[tuple[str, str]], *, safe: bool) -> list[dict[str, str]]:
    """(case_id, reason) of cases that were left out, as run.json says it: {case_id, reason}."""
    pairs = list(left_out)
    named = names((case_id for case_id, _ in pairs), safe=safe)
    return [
        {"case_id": named[case_id], "reason": reason if safe else impersonal(reason, case_id)}
        for case_id, reason in pairs
    ]


def impersonal(reason: str, case_id: str) -> str:
    """A reason without names of files and cases: hospitals write patients' numbers there."""
    head, colon, rest = reason.partition(": ")
    if colon and (re.search(r"[/\\]|\.\w{2,6}$", head) or (case_id and case_id in head)):
        reason = rest
    if case_id:
        reason = reason.replace(case_id, "…")
    kept = [
        "…" if re.search(r"[/\\]|\w\.(dcm|nii|gz|png|jpe?g|tiff?|mha|nrrd)\b", w, re.I) else w for w in reason.split()
    ]
    return re.sub(r"(… )+…", "…", " ".join(kept)) or "no reason was recorded"


@dataclass(frozen=True)
class Use:
    """What became of a case in a run: its split (`folds` where it was in several), and `leakage.fingerprint` of its
    prepared pixels, empty where there are none."""

    split: str
    pixels: str


def write(
    out: Path,
    owners: Mapping[str, str],
    named: Mapping[str, str],
    hashed: Mapping[str, str],
    uses: Mapping[str, Use] | None = None,
) -> None:
    """private/cases.csv of a run, readable by its user alone: name, case_id, patient, patient_id; split and pixels.

    owners  case_id to its patient (or to itself, where patients are unknown)
    named   case_id to its name in tables
    hashed  patient to its hash
    uses    case_id to what became of it, for `medvfm test`; None where nothing was trained
    """
    folder = out / PRIVATE
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    rows = [(named[case_id], case_id, hashed[owner], owner) for case_id, owner in owners.items()]
    table = pd.DataFrame(rows, columns=["name", "case_id", "patient", "patient_id"])
    if uses is not None:
        table["split"] = [uses[case_id].split if case_id in uses else "" for case_id in owners]
        table["pixels"] = [uses[case_id].pixels if case_id in uses else "" for case_id in owners]
    run_directory.write_table(out / CASES, table)
    (out / CASES).chmod(0o600)


def read(out: Path) -> dict[str, str]:
    """Name in a run's tables to the case_id behind it; empty for a run that came without its private folder."""
    table = read_table(out)
    return {} if table is None else dict(zip(table["name"], table["case_id"], strict=True))


def read_table(out: Path) -> pd.DataFrame | None:
    """private/cases.csv as `write` left it, all text; None where it is not there."""
    path = out / CASES
    return pd.read_csv(path, dtype=str, keep_default_na=False) if path.is_file() else None
