"""Pictures of a run of restoration: degraded, restored and true image of a case side by side, and what lies between."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medvfm.core.array import Array
from medvfm.core.degradation import Degradation
from medvfm.core.protocols import Record
from medvfm.io.run_directory import write_bytes
from medvfm.tasks.generation.sheets import sheet
from medvfm.tasks.restoration.restored_set import RestoredSet

RANDOM, HARMED = 6, 4  # cases that are shown: drawn by the seed, and of those with an erased or invented lesion
GAIN = 4.0  # by which a difference is shown greater than it is
HARMS = {"lesions_erased": "a lesion is erased", "lesions_invented": "a lesion is invented"}


def write(found: RestoredSet, degradation: Degradation, folder: Path) -> Record:
    """Files below `folder`/previews, and what run.json says of them."""
    if found.pictures is None or found.restored is None:
        return {}
    n = len(found.ids)
    drawn = np.random.default_rng([n, 5]).permutation(n)[:RANDOM]
    harmed: list[tuple[int, str]] = []
    for name, words in HARMS.items():
        harmed += [(int(r), words) for r in np.flatnonzero(found.values[name][:, 0] == 1)[:HARMED]]
    cases = []
    for number, (row, why) in enumerate([*((int(r), "drawn by chance") for r in drawn), *harmed]):
        true, degraded = found.pictures.true[row], found.pictures.degraded[row]
        apart = np.clip(0.5 + GAIN / 2 * (found.restored[row] - true), 0, 1)
        file = f"previews/restored_{number:02d}.png"
        write_bytes(folder / file, sheet(np.stack([degraded, found.restored[row], true, apart]), columns=4))
        cases.append({"file": file, "why": why, "psnr": _number(found.values["psnr"][row])})
    lesion = None if found.beside is None else found.beside.lesion
    record: Record = {"degradation": degradation.words, "shown": cases, "gain": GAIN}
    if lesion is not None:
        record["usual_lesion"] = {
            "contrast": lesion.contrast, "least_px": lesion.least_px, "lesions": lesion.lesions,
        }  # fmt: skip
    if found.beside is not None:
        record["filters"] = dict(found.beside.filters.strengths)
    return {"restoration": record}


def _number(values: Array) -> float | None:
    return float(values[0]) if np.isfinite(values[0]) else None
