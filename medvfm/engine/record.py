"""What run.json says of a run besides its numbers: data, splits, environment, warnings."""

from __future__ import annotations

import datetime
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata

import numpy as np
import torch

from medvfm.core.array import Array
from medvfm.core.case import SPLITS, Case
from medvfm.core.data_card import DataCard
from medvfm.core.protocols import Points, Record, Task
from medvfm.core.recipe import Recipe
from medvfm.core.result_row import ResultRow
from medvfm.io.run_directory import FORMAT

PACKAGES = (
    "medvfm",
    "torch",
    "torchvision",
    "transformers",
    "timm",
    "peft",
    "accelerate",
    "monai",
    "open_clip_torch",
    "pydicom",
    "nibabel",
    "highdicom",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
)
MANY_OPENINGS = 10


def beginning(recipe: Recipe, card: DataCard, layout: str | None, device: str) -> Record:
    """The record of a run that has just started."""
    return {
        "format": FORMAT,
        "kind": "run",
        "status": "running",
        "medvfm": metadata.version("medvfm"),
        "title": recipe.title,
        "hash": recipe.digest(),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "recipe": recipe.as_data(),
        "data": {"card": card_summary(card.told(recipe.data.options)), "layout": layout},
        "environment": environment(device),
        "warnings": [],
        "metrics": [],
    }


def card_summary(card: DataCard) -> Record:
    """What a reader of a report must know about the data."""
    data = card.model_dump(mode="json", by_alias=True)
    wanted = (
        "name",
        "title",
        "version",
        "licence",
        "access",
        "simulated",
        "intended_use",
        "out_of_scope",
        "instructions",
        "patients",
        "statement",
        "truth",
        "known_flaws",
        "split_leaks",
        "confounders",
        "citation",
        "population",
        "modality",
        "verified",
        "links",
    )
    return {key: data[key] for key in wanted if key in data}


def environment(device: str) -> Record:
    """Versions, platform and device; nothing that names a person or a machine."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    shown = (
        torch.cuda.get_device_name() if device.startswith("cuda") else f"{device}, {torch.get_num_threads()} threads"
    )
    return {
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "device": shown,
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": versions,
    }


def cases(cases: Sequence[Case], truth: Array, assigned: Mapping[str, str], task: Task) -> Record:
    """Sizes and characteristics of the splits (of the first fold, with folds)."""
    return {
        "splits": splits(cases, truth, assigned, task),
        "characteristics": characteristics(cases, truth, assigned, task),
    }


def splits(cases: Sequence[Case], truth: Array, assigned: Mapping[str, str], task: Task) -> dict[str, Record]:
    """Cases, patients and positives of each class in each split of one fold."""
    found = {}
    for split in SPLITS:
        rows = [r for r, case in enumerate(cases) if assigned.get(case.case_id) == split]
        if rows:
            positives = (np.nan_to_num(truth[rows]) > 0.5).sum(axis=0)
            found[split] = {
                "cases": len(rows),
                "patients": len({cases[r].owner for r in rows}),
                "positives": {c: int(p) for c, p in zip(task.classes, positives, strict=True)},
            }
    return found


def characteristics(
    cases: Sequence[Case], truth: Array, assigned: Mapping[str, str], task: Task
) -> list[dict[str, str]]:
    """The table that clinical papers open with: a row a group column or class, a column a split."""
    parts = {
        split: [r for r, case in enumerate(cases) if assigned.get(case.case_id) == split]
        for split in SPLITS
        if split in assigned.values()
    }
    rows = [{"name": "Cases"} | {s: str(len(p)) for s, p in parts.items()}]
    rows.append({"name": "Patients"} | {s: str(len({cases[r].owner for r in p})) for s, p in parts.items()})
    for column in sorted({name for case in cases for name in case.groups}):
        values = [case.groups.get(column) for case in cases]
        if any(isinstance(v, int | float) for v in values):
            rows.append(
                {"name": f"{column}, mean (SD)"} | {s: mean_sd([values[r] for r in p]) for s, p in parts.items()}
            )
            continue
        levels = sorted({str(v) for v in values if v not in (None, "")})
        if len(levels) <= 12:
            for level in levels:
                counts = {s: share(sum(str(values[r]) == level for r in p), len(p)) for s, p in parts.items()}
                rows.append({"name": f"{column}: {level}"} | counts)
    for column_number, name in enumerate(task.classes):
        positive = {s: int((np.nan_to_num(truth[p, column_number]) > 0.5).sum()) for s, p in parts.items()}
        rows.append({"name": f"{name}: positive"} | {s: share(n, len(parts[s])) for s, n in positive.items()})
    return rows


def mean_sd(values: Sequence[object]) -> str:
    """Of the numbers among them; how many are unknown."""
    numbers = np.array([v for v in values if isinstance(v, int | float) and not np.isnan(v)], dtype=float)
    if not len(numbers):
        return "unknown"
    missing = f", {len(values) - len(numbers)} unknown" if len(numbers) < len(values) else ""
    return f"{numbers.mean():.1f} ({numbers.std(ddof=1) if len(numbers) > 1 else 0:.1f}{missing})"


def share(count: int, total: int) -> str:
    """`12 (34%)`."""
    return f"{count} ({100 * count / total:.0f}%)" if total else "0"


def warnings(card: DataCard, rows: Sequence[ResultRow], openings: int, patients_known: bool) -> list[str]:
    """What a reader must not overlook."""
    found = []
    if card.simulated:
        found.append(
            f"{card.title} is simulated: the numbers show that the pipeline works, not how it does on patients."
        )
    if not patients_known:
        found.append(
            "The data name no patients: images of one patient may lie in several splits, intervals are too narrow."
        )
    few = sorted(
        {r.note for r in rows if r.split == "test" and not r.group and not r.baseline and r.note and "only" in r.note}
    )
    found += few[:2]
    if openings > MANY_OPENINGS:
        found.append(f"The test set of this card has been evaluated {openings} times for this task on this machine.")
    return found


def oracle_warning(oracle: str | None) -> list[str]:
    """What numbers of prompts from the truth mean."""
    if oracle is None:
        return []
    return [f"Prompts come from the truth ({oracle}): these numbers are those of a user who draws perfect prompts."]


def pretraining_warning(facts: Record) -> list[str]:
    """Where the weights saw the images of the card before they were adapted; `facts` are those of the model."""
    found = facts.get("pretraining") or {}
    return [str(found["said"])] if found.get("saw") == "yes" else []


def thresholds(points: Points) -> Record:
    """target to metric to its threshold (a list with folds)."""
    found: Record = {}
    for (metric, target), values in points.thresholds.items():
        numbers = [float(v) if np.isfinite(v) else None for v in values]
        value = numbers[0] if len(numbers) == 1 else numbers
        found.setdefault(target, {})[metric] = {"threshold": value, "fixed_on": points.fixed_on}
    return found


def points(record: Mapping[str, object]) -> Points:
    """What a finished run had fixed, from the thresholds of its record; its scores are recalibrated already."""
    found: dict[tuple[str, str], Array] = {}
    fixed_on = set()
    listed = record.get("thresholds")
    for target, metrics in (listed if isinstance(listed, dict) else {}).items():
        for metric, entry in metrics.items():
            values = entry["threshold"] if isinstance(entry["threshold"], list) else [entry["threshold"]]
            found[metric, target] = np.array([np.nan if v is None else v for v in values], dtype=np.float64)
            fixed_on.add(entry["fixed_on"])
    where = fixed_on.pop() if len(fixed_on) == 1 else "val"
    return Points(found, None, where, decided_at="the run's own threshold")


def evaluation(title: str, task: Task, device: str = "cpu") -> Record:
    """The record of `medvfm evaluate`, without its numbers."""
    return {
        "format": FORMAT,
        "kind": "evaluation",
        "status": "complete",
        "medvfm": metadata.version("medvfm"),
        "title": title,
        "hash": "",
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "task": task.describe(),
        "environment": environment(device),
    }
