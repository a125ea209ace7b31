"""What can be looked at of a run: for each test case its images, the masks that were predicted, and the true ones."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from medvfm import lookup
from medvfm.core import recipe as recipes
from medvfm.core.case import Case
from medvfm.core.errors import RunError
from medvfm.io import run_directory
from medvfm.io.console import Console
from medvfm.io.dataset import case_names, roots
from medvfm.io.dataset import cases as tables
from medvfm.io.dataset.safe_paths import Inside
from medvfm.io.read import read_image
from medvfm.io.writers.nifti import write_nifti

NIFTI = (".nii", ".nii.gz")


@dataclass(frozen=True)
class Layer:
    """A volume of a case: what it is called, `image`, `prediction` or `truth`, and its file or series folder."""

    name: str
    kind: str
    path: Path


@dataclass(frozen=True)
class ViewedCase:
    """A test case with what was predicted of it, in a few words."""

    name: str
    said: str
    layers: tuple[Layer, ...]


@dataclass(frozen=True, eq=False)
class Viewed:
    """title of the run, its cases, and how its image files are read."""

    title: str
    cases: tuple[ViewedCase, ...]
    reading: Mapping[Any, Any] = field(default_factory=dict)

    def volume(self, case: int, layer: int) -> bytes:
        """A layer as a compressed NIfTI file; raises a MedvfmError for a file that cannot be read."""
        chosen = self.cases[case].layers[layer]
        reading = self.reading if chosen.kind == "image" else {}
        image = read_image(chosen.path, **reading)
        with tempfile.TemporaryDirectory(prefix="medvfm-view-") as folder:
            return write_nifti(image, Path(folder) / "volume.nii.gz").read_bytes()


def of_run(directory: Path, root: str | None, console: Console) -> Viewed:
    """Test cases of a run, found in the data by the card that it carries. RunError where there is nothing to see."""
    record = run_directory.read_record(directory)
    if not (directory / run_directory.CARD).is_file() or not (directory / run_directory.PREDICTIONS).is_file():
        raise RunError("holds no card or no predictions", where=directory, remedy="only a finished run can be viewed")
    recipe = recipes.from_data(record["recipe"], run_directory.RECORD)
    card = lookup.card(str(directory / run_directory.CARD))
    where = root or recipe.data.root
    beside = lookup.beside(recipe.data.card)
    folder = roots.locate(card, where, recipe.data.options, console, layout=recipe.data.layout, beside=beside)
    known = {case.case_id: case for case in tables.read_cases(card, folder, layout=recipe.data.layout).cases}
    table = pd.read_parquet(directory / run_directory.PREDICTIONS)
    table = table[(table["split"] == "test") & table["baseline"].isna()] if "baseline" in table else table
    real, inside = case_names.read(directory), Inside(directory)
    found = []
    for name, rows in table.groupby("case_id", sort=False):
        case = known.get(real.get(str(name), str(name)))
        if case is not None:
            found.append(_viewed(case, rows, inside))
    if not found:
        raise RunError(
            "none of its test cases is among the data", where=directory, remedy="give their folder with --root"
        )
    return Viewed(str(record.get("title") or "Run"), tuple(found), dict(card.reading))


def _viewed(case: Case, rows: pd.DataFrame, inside: Inside) -> ViewedCase:
    layers = [Layer(role, "image", path) for role, paths in case.images.items() for path in paths]
    masks: list[str] = []
    for listed in rows.get("mask", pd.Series(dtype=object)).dropna():
        masks += [str(listed)] if isinstance(listed, str) else [str(one) for one in listed]
    layers += [Layer(Path(one).name, "prediction", inside.path(one)) for one in dict.fromkeys(masks)]
    layers += [Layer(name, "truth", path) for name, paths in case.masks.items() for path in paths]
    return ViewedCase(case.case_id, _said(rows), tuple(layer for layer in layers if layer.path.exists()))


def _said(rows: pd.DataFrame) -> str:
    """`lesion: truth 1, score 0.83`, for as many targets as a line holds."""
    parts = []
    for row in rows.head(6).to_dict("records"):
        values = [f"{key} {_short(row[key])}" for key in ("truth", "score", "answer") if row.get(key) is not None]
        parts.append(f"{row['target']}: {', '.join(values)}" if values else str(row["target"]))
    return "; ".join(parts)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)[:60]
