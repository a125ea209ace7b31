"""What `medvfm data show` says of a data set: the card's statement, counts, sizes, structures, samples and problems.

The record names no patient and no case: samples are drawn by a fixed seed and numbered, and pictures that say of
themselves that text is burned into them are left out.
"""

from __future__ import annotations

import datetime
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from medvfm.core.array import Array
from medvfm.core.case import SPLITS, Case
from medvfm.core.data_card import DataCard
from medvfm.core.errors import MedvfmError, RunError
from medvfm.core.plurals import plural
from medvfm.core.protocols import Record
from medvfm.engine import record as records
from medvfm.engine.dataset_check import Findings, Look, Looker
from medvfm.io import run_directory
from medvfm.io.dataset.cases import CaseTable
from medvfm.io.read import read_image
from medvfm.io.rendering import overlays
from medvfm.io.run_directory import FORMAT, RECORD

SAMPLES, VOLUMES = 12, 6  # pictures, and volumes in three planes, that are shown
LONGEST_PX = 480  # of a sample that is one picture; three planes of a volume keep their width
LEVELS = 12  # of a group column; one with more is no group but a name
_LETTERS_MOST = 40


def write(card: DataCard, table: CaseTable | None, found: Findings | None, directory: Path) -> Record:
    """run.json and the samples; without cases, what the card alone says. An earlier page of a card is replaced."""
    _claim(directory)
    record: Record = {
        "format": FORMAT,
        "kind": "card",
        "status": "complete",
        "medvfm": metadata.version("medvfm"),
        "title": card.title,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "data": {"card": records.card_summary(card)},
        "warnings": [],
        "metrics": [],
    }
    run_directory.write_json(directory / RECORD, record | {"status": "running"})
    if table is None or found is None:
        record["answer"] = "The card alone: its data are not on this machine."
    else:
        record["answer"] = _answer(card, table, found)
        record["data"] |= _data(table, found)
        record["measures"] = _measures(found.looks)
        record["truth"] = _truth(found)
        record["problems"] = _problems(found)
        record["samples"] = _samples(card, found, directory / "previews")
    run_directory.write_json(directory / RECORD, record)
    return record


def _claim(directory: Path) -> None:
    if (directory / RECORD).exists():
        if run_directory.read_record(directory).get("kind") != "card":
            raise RunError("holds a run, which is never overwritten", where=directory, remedy="give another --out")
    elif directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise RunError("exists and is not the page of a card", where=directory, remedy="give another --out")
    directory.mkdir(parents=True, exist_ok=True)


def _answer(card: DataCard, table: CaseTable, found: Findings) -> str:
    """What was found in the files, and what the card says against the data: neither is told without the other."""
    owners = len({case.owner for case in found.cases})
    known = any(case.patient_id is not None for case in table.cases)
    whose = f" of {plural(owners, 'patient')}" if known else ""
    told = ((found.errors, "error"), (found.warnings, "warning"), (card.confounders, "known confounder"),
            (card.known_flaws, "known flaw"))  # fmt: skip
    against = [plural(len(what), word) for what, word in told if what]
    said = "; " + ", ".join(against) if against else "; no errors, no warnings"
    unknown = "" if known else " (patients unknown)"
    return f"{plural(len(found.cases), 'case')}{whose}{unknown} can be read{said}."


def _parts(cases: Sequence[Case]) -> dict[str, list[Case]]:
    """By split, in the order of training; one part where the card has no splits."""
    if not any(case.split for case in cases):
        return {"all": list(cases)}
    found = {split: [c for c in cases if c.split == split] for split in SPLITS}
    found["without a split"] = [c for c in cases if c.split is None]
    return {split: part for split, part in found.items() if part}


def _data(table: CaseTable, found: Findings) -> Record:
    parts = _parts(found.cases)
    names = sorted({name for case in found.cases for name in case.targets})
    known = any(case.patient_id is not None for case in table.cases)
    return {
        "layout": table.layout,
        "flow": table.flow if known else [{**step, "patients": None} for step in table.flow],
        "left_out": [{"case_id": case_id, "reason": reason} for case_id, reason in found.left_out],
        "splits": {
            split: {
                "cases": len(part),
                "patients": len({case.owner for case in part}) if known else None,
                "positives": {name: sum(case.target(name) > 0.5 for case in part) for name in names},
            }
            for split, part in parts.items()
        },
        "characteristics": _groups(parts),
    }


def _groups(parts: Mapping[str, Sequence[Case]]) -> list[dict[str, str]]:
    """A row a level of each group column, a column a split: counts with shares, or mean and deviation of numbers."""
    rows = []
    everyone = [case for part in parts.values() for case in part]
    for column in sorted({name for case in everyone for name in case.groups}):
        values = {split: [case.groups.get(column) for case in part] for split, part in parts.items()}
        if any(isinstance(v, int | float) for part in values.values() for v in part):
            rows.append({"name": f"{column}, mean (SD)"} | {s: records.mean_sd(v) for s, v in values.items()})
            continue
        levels = sorted({str(v) for part in values.values() for v in part if v not in (None, "")})
        for level in levels if len(levels) <= LEVELS else ():
            counts = {s: records.share(sum(str(x) == level for x in v), len(v)) for s, v in values.items()}
            rows.append({"name": f"{column}: {level}"} | counts)
    return rows


def _measures(looks: Sequence[Look]) -> Record:
    """Sizes in voxels and spacings in mm: how often each occurs, for a table and a histogram."""
    found: Record = {}
    for axis, name in enumerate(("columns", "rows", "slices")):
        sizes = [look.shape_vox[axis] for look in looks]
        if axis < 2 or max(sizes, default=1) > 1:
            found[name] = _spread(sizes, "voxels" if max((x.shape_vox[2] for x in looks), default=1) > 1 else "pixels")
    placed = [look.spacing_mm for look in looks if look.spacing_mm is not None]
    for axis, name in enumerate(("between columns", "between rows", "between slices")):
        if placed:
            found[name] = _spread([round(s[axis], 3) for s in placed], "mm")
    return {
        "axes": found,
        "without_spacing": len(looks) - len(placed),
        "units": dict(Counter(look.unit for look in looks).most_common()),
        "repairs": dict(Counter(r for look in looks for r in set(look.repairs)).most_common(SAMPLES)),
    }


def _spread(values: Sequence[float], unit: str) -> Record:
    low, first, middle, third, high = (float(v) for v in np.percentile(values, [0, 25, 50, 75, 100]))
    counts, edges = np.histogram(values, bins=min(24, max(1, len(set(values)))))
    return {
        "unit": unit, "cases": len(values), "low": low, "first": first, "median": middle, "third": third, "high": high,
        "distinct": len(set(values)), "counts": counts.tolist(), "edges": edges.tolist(),
    }  # fmt: skip


def _truth(found: Findings) -> Record:
    """Labels of classes by value; structures by how many cases hold them, and how large they are; objects; words."""
    classes, structures = [], []
    for name in sorted({name for case in found.cases for name in case.targets}):
        values = np.array([case.target(name) for case in found.cases])
        known = values[~np.isnan(values)]
        positive, negative = int((known > 0.5).sum()), int((known < 0.5).sum())
        classes.append(
            {"name": name, "positive": positive, "negative": negative, "soft": len(known) - positive - negative,
             "unknown": len(values) - len(known)}
        )  # fmt: skip
    for name in dict.fromkeys(name for look in found.looks for name in look.structures):
        sizes = [_size(look, look.structures[name]) for look in found.looks if look.structures.get(name)]
        asked = sum(name in look.structures for look in found.looks)
        structures.append({"name": name, "asked": asked, "present": len(sizes)} | _range(sizes))
    objects = [look.objects for look in found.looks if look.objects is not None]
    measured = {_unit(look) for look in found.looks}
    return {
        "classes": classes,
        "structures": structures,
        "size_unit": measured.pop() if len(measured) == 1 else "ml or pixels",
        "objects": ({"cases": len(objects), "total": sum(objects)} | _range(objects)) if objects else None,
        "questions": sum(case.question is not None for case in found.cases) or None,
        "texts": sum(case.text is not None for case in found.cases) or None,
        "masks": sum(bool(case.masks) for case in found.cases),
        "cases": len(found.cases),
    }


def _unit(look: Look) -> str:
    return "pixels" if look.spacing_mm is None or look.shape_vox[2] == 1 else "ml"


def _size(look: Look, voxels: int) -> float:
    """Volume in ml, or pixels of a picture."""
    if look.spacing_mm is None or look.shape_vox[2] == 1:
        return voxels
    return voxels * float(np.prod(look.spacing_mm)) / 1000


def _range(values: Sequence[float]) -> dict[str, float | None]:
    if not values:
        return {"low": None, "median": None, "high": None}
    return {"low": float(min(values)), "median": float(np.median(values)), "high": float(max(values))}


def _problems(found: Findings) -> Record:
    return {
        "left_out": len(found.left_out),
        "faults": found.faults,
        "leak": bool(found.leaks),
        "twins": len(found.copies) + len(found.twins),
        "notes": found.notes,
    }


def _samples(card: DataCard, found: Findings, folder: Path) -> list[Record]:
    """Pictures of cases from all over the set, each image once; no file and no caption holds a name."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    looker = Looker(card.reading, card.labels, card.masks)
    unique = list({case.files: row for row, case in enumerate(found.cases)}.values())
    order = np.random.default_rng(0).permutation(unique)
    windows = list(card.windows.values())
    samples: list[Record] = []
    most = VOLUMES if any(look.shape_vox[2] > 1 and look.spacing_mm is not None for look in found.looks) else SAMPLES
    for row in order.tolist():
        if len(samples) == most:
            break
        case = found.cases[row]
        try:
            image = read_image(case.files[0], **looker.reading)
            if str(image.header.get("burned_in", "")).upper() == "YES":
                continue
            masks, names = looker.outlined(case, image)
            drawn = overlays.three_planes(
                image, None, masks, intensity=windows[0] if windows else "auto", names=names
            )  # each structure in a colour of its own, as a prediction alone has it
        except MedvfmError:
            continue  # it could be read a moment ago; a sample more or less is no finding
        name = f"{len(samples):03d}.png"
        run_directory.write_bytes(folder / name, _png(drawn, is_volume=image.is_volume and image.has_spacing))
        samples.append({"file": f"previews/{name}", "caption": _caption(case, row, len(found.cases))})
    return samples


def _caption(case: Case, row: int, total: int) -> str:
    told = [f"case {row + 1:,} of {total:,}"]
    told += [case.split] if case.split else []
    told += [name for name in case.targets if case.target(name) > 0.5][:3]
    if case.targets and len(told) == 1 + bool(case.split):
        told.append(f"no {next(iter(case.targets))}" if len(case.targets) == 1 else "no class")
    return ", ".join(told)[: _LETTERS_MOST * 3]


def _png(picture: Array, *, is_volume: bool) -> bytes:
    shown = Picture.fromarray(picture)
    if not is_volume:
        shown.thumbnail((LONGEST_PX, LONGEST_PX))
    out = io.BytesIO()
    shown.save(out, format="PNG", compress_level=4)
    return out.getvalue()
