"""A finished run's model: saved so that `medvfm predict` needs no more, loaded, and asked about new images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medvfm.core import recipe as recipes
from medvfm.core.case import Case
from medvfm.core.errors import DataError, RunError, WeightsError
from medvfm.core.recipe import Recipe
from medvfm.engine import loading
from medvfm.engine.context import RunContext
from medvfm.io import run_directory
from medvfm.tasks.classification import ClassificationTask

FILE = "adapter.json"


def save(
    folder: Path,
    recipe: Recipe,
    question: ClassificationTask,
    learners: Sequence[Any],
    thresholds: Mapping[tuple[str, str], np.ndarray],
    platt: np.ndarray | None,
) -> None:
    """Trained weights of every fold, and what is needed to use them. The frozen weights are named by their hash."""
    adapters = [learner.adapter for learner in learners]
    parts = [folder / f"fold{n}" if len(adapters) > 1 else folder for n in range(len(adapters))]
    for adapter, part in zip(adapters, parts, strict=True):
        part.mkdir(parents=True, exist_ok=True)
        adapter.save(part)
    plain = recipe.as_data()
    run_directory.write_json(
        folder / FILE,
        {
            "format": run_directory.FORMAT,
            "recipe": plain,
            "hash": recipe.digest(),
            "classes": list(question.classes),
            "folds": len(adapters),
            "frozen_sha256": adapters[0].record().get("sha256"),
            "trained_sha256": _digest(folder),
            "windows": {k: list(v) for k, v in adapters[0].preparer.windows.items()},
            "read": dict(adapters[0].preparer.read),
            "thresholds": {
                target: [float(v) if np.isfinite(v) else None for v in values]
                for (metric, target), values in thresholds.items()
                if metric == "decision"
            },
            "platt": None if platt is None else platt.tolist(),
        },
    )


def describe(folder: Path) -> dict[str, Any]:
    """adapter.json of a run's weights."""
    path = folder / FILE
    if not path.is_file():
        raise RunError("holds no trained weights", where=folder, remedy="only a finished run can predict")
    found = json.loads(path.read_text(encoding="utf-8"))
    if found.get("format") != run_directory.FORMAT:
        raise RunError(f"not of format {run_directory.FORMAT}", where=path)
    return found


def recipe_of(found: Mapping[str, Any]) -> Recipe:
    """The recipe that the weights came from."""
    return recipes.from_data(dict(found["recipe"]), FILE)


def restore(folder: Path, found: Mapping[str, Any], make: Callable[[], Any]) -> list[Any]:
    """One adapter a fold, with its trained weights; refuses frozen weights other than those it was trained on."""
    if _digest(folder) != found["trained_sha256"]:
        raise WeightsError("the trained weights are not those that the run wrote", where=folder)
    adapters = []
    later = [stage["method"] for stage in (found["recipe"]["adapter"].get("stages") or [])[1:]]
    for number in range(found["folds"]):
        adapter = make()
        for method in later:
            adapter.restage(method)
        frozen = adapter.record().get("sha256")
        if frozen != found["frozen_sha256"]:
            raise WeightsError(
                f"the frozen weights differ (sha256 {str(frozen)[:12]}) from those of the run "
                f"({str(found['frozen_sha256'])[:12]})",
                where=folder,
                remedy="give the run the weights that it was trained with",
            )
        adapter.load(folder / f"fold{number}" if found["folds"] > 1 else folder)
        adapters.append(adapter)
    return adapters


def new_cases(inputs: Sequence[Path]) -> list[Case]:
    """A case for each file or series folder; a name that stands twice gets a number."""
    seen: dict[str, int] = {}
    found = []
    for path in inputs:
        if not path.exists():
            raise DataError("no such file or folder", where=path)
        name = path.name.removesuffix(".gz").rsplit(".", 1)[0] if path.is_file() else path.name
        seen[name] = seen.get(name, 0) + 1
        number = f"-{seen[name]}" if seen[name] > 1 else ""
        found.append(Case(name + number, None, {"image": (path,)}))
    return found


def predict(
    adapters: Sequence[Any], found: Mapping[str, Any], cases: Sequence[Case], around: RunContext
) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """A row a case and target: score, threshold and decision (the mean score and threshold over folds)."""
    preparer = adapters[0].preparer
    for adapter in adapters:
        adapter.module.to(around.device)
    rows: list[dict[str, Any]] = []
    left_out: list[tuple[str, str]] = []
    items = loading.prepared(cases, preparer, around.workers, around.strict)
    for case, item in zip(cases, around.console.track(items, len(cases), "predicted"), strict=True):
        if isinstance(item, str):
            left_out.append((case.case_id, item))
            continue
        scores = np.stack([adapter.predict(adapter.collate([item]))[0] for adapter in adapters])
        if found["platt"] is not None:
            platt = np.array(found["platt"])
            scores = 1 / (1 + np.exp(-(platt[..., 0] * scores + platt[..., 1])))
        rows += _rows(case.case_id, scores.mean(axis=0), found)
    if not rows:
        case_id, reason = left_out[0]
        raise DataError(f"no input could be read; {case_id}: {reason}")
    return pd.DataFrame(rows), left_out


def _rows(case_id: str, scores: np.ndarray, found: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for target, score in zip(found["classes"], scores, strict=True):
        cuts = [v for v in found["thresholds"].get(target, []) if v is not None]
        threshold = float(np.mean(cuts)) if cuts else None
        rows.append(
            {
                "input": case_id,
                "target": target,
                "score": float(score),
                "threshold": threshold,
                "decision": None if threshold is None else int(score >= threshold),
                "model": name_of(found),
            }
        )
    return rows


def name_of(found: Mapping[str, Any]) -> str:
    """Recipe and trained weights, short."""
    return f"{found['hash']}-{found['trained_sha256'][:12]}"


def _digest(folder: Path) -> str:
    """sha256 over names and contents of every trained tensor file."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
