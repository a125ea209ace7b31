"""A finished run's model: saved so that `medvfm predict` needs no more, and loaded again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from medvfm.core import recipe as recipes
from medvfm.core.errors import RunError, WeightsError
from medvfm.core.protocols import Adapter, Points, Recalibration, Record, Task
from medvfm.core.recipe import Recipe
from medvfm.io import run_directory

FILE = "adapter.json"


def save(folder: Path, recipe: Recipe, task: Task, adapters: Sequence[Adapter], points: Points) -> None:
    """Trained weights of every fold, what is needed to use them, and what answers mean. The frozen weights are named by
    their hashes."""
    parts = [folder / f"fold{n}" if len(adapters) > 1 else folder for n in range(len(adapters))]
    for adapter, part in zip(adapters, parts, strict=True):
        part.mkdir(parents=True, exist_ok=True)
        adapter.save(part)
    plain = recipe.as_data(located=True)
    if recipe.adapter.weights is not None:  # a path beside the recipe is found from any folder
        plain["adapter"]["weights"] = recipe.located("adapter", "weights", must_be_path=False)
    given = recipe.adapter.prompts
    if given is not None and given.adapter is not None and given.adapter.weights is not None:
        place = recipe.located("adapter", "prompts", "adapter", "weights", must_be_path=False)
        plain["adapter"]["prompts"]["adapter"]["weights"] = place
    decisions = {target: values for (metric, target), values in points.thresholds.items() if metric == "decision"}
    scaling = points.recalibration
    run_directory.write_json(
        folder / FILE,
        {
            "format": run_directory.FORMAT,
            "recipe": plain,
            "hash": recipe.digest(),
            "task": {key: value for key, value in task.describe().items() if key != "words"},
            "folds": len(adapters),
            "towers": towers(adapters[0]),
            "trained_sha256": _digest(folder),
            "windows": {k: list(v) for k, v in adapters[0].preparer.windows.items()},
            "read": dict(adapters[0].preparer.read),
            "thresholds": {t: [float(v) if np.isfinite(v) else None for v in vs] for t, vs in decisions.items()},
            "recalibration": None if scaling is None else {**asdict(scaling), "values": scaling.values.tolist()},
        },
    )


def towers(adapter: Adapter) -> list[Record]:
    """The frozen weights that an adapter stands on: role, weights, sha256; one entry for a model of one tower."""
    record = adapter.record()
    listed = record.get("towers") or [{"role": "model", **record}]
    return [{key: tower.get(key) for key in ("role", "weights", "sha256", "licence", "trained")} for tower in listed]


def describe(folder: Path) -> Record:
    """adapter.json of a run's weights."""
    path = folder / FILE
    if not path.is_file():
        raise RunError("holds no trained weights", where=folder, remedy="only a finished run can predict")
    found: Record = json.loads(path.read_text(encoding="utf-8"))
    if found.get("format") != run_directory.FORMAT:
        raise RunError(f"not of format {run_directory.FORMAT}", where=path)
    return found


def recipe_of(found: Mapping[str, object], directory: Path, prompts: Path | None = None) -> Recipe:
    """The recipe that the weights came from; its card is the one that the run carries. Baselines, and data of single
    stages, are not needed any more and may be gone.

    prompts  a file of boxes or points, or a folder of masks, that stands in for the prompts of the run
    """
    data = json.loads(json.dumps(found["recipe"]))
    data["baselines"] = []
    for stage in data["adapter"].get("stages") or []:
        stage["data"] = None
    if prompts is not None:
        before = data["adapter"].get("prompts")
        if not before:
            raise RunError("the model of this run takes no prompts", where="--prompts", remedy="leave --prompts out")
        data["adapter"]["prompts"] = {"from": "file", "file": str(prompts.absolute()), "kind": before.get("kind")}
    card = directory / run_directory.CARD
    if card.is_file():
        data["data"]["card"] = str(card)
    return recipes.from_data(data, FILE)


def points_of(found: Record) -> Points:
    """What was fixed on validation data."""
    cuts = {
        ("decision", target): np.array([np.nan if v is None else v for v in values], dtype=float)
        for target, values in found["thresholds"].items()
    }
    return Points(cuts, _recalibration(found))


def _recalibration(found: Record) -> Recalibration | None:
    scaling = found.get("recalibration")
    if scaling is None and found.get("platt") is not None:  # as runs were saved before temperatures were fitted
        scaling = {"method": "platt", "values": found["platt"]}
    return None if scaling is None else Recalibration(**{**scaling, "values": np.array(scaling["values"])})


def restore(folder: Path, found: Record, make: Callable[[], Adapter]) -> list[Adapter]:
    """One adapter a fold, with its trained weights; refuses frozen weights other than those it was trained on."""
    if _digest(folder) != found["trained_sha256"]:
        raise WeightsError("the trained weights are not those that the run wrote", where=folder)
    adapters = []
    later = (found["recipe"]["adapter"].get("stages") or [])[1:]
    for number in range(found["folds"]):
        adapter = make()
        for stage in later:
            adapter.start_stage(stage["method"], stage.get("options") or {})
        _refuse_others(towers(adapter), found["towers"], folder)
        adapter.load(folder / f"fold{number}" if found["folds"] > 1 else folder)
        adapters.append(adapter)
    return adapters


def name_of(found: Record) -> str:
    """Recipe and trained weights, short."""
    return f"{found['hash']}-{found['trained_sha256'][:12]}"


def _refuse_others(here: Sequence[Record], trained_on: Sequence[Record], folder: Path) -> None:
    known = {tower["role"]: tower for tower in here}
    for tower in trained_on:
        given = known.get(tower["role"], {}).get("sha256")
        if given != tower["sha256"]:
            what = "frozen weights" if len(trained_on) == 1 else f"frozen weights of the {tower['role']} tower"
            raise WeightsError(
                f"the {what} differ (sha256 {str(given)[:12]}) from those of the run ({str(tower['sha256'])[:12]})",
                where=folder,
                remedy="give the run the weights that it was trained with",
            )


def _digest(folder: Path) -> str:
    """sha256 over names and contents of every trained tensor file."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
