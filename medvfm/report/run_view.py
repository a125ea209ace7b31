"""A run directory as the report reads it: the record and its tables, any part of which may be missing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medvfm.io.run_directory import read_record
from medvfm.report import text

SCORES = {"patient", "split", "target", "truth", "score"}
MEASURES = {"case_id", "patient", "split", "target", "baseline", "metric", "value"}
MACRO, MEAN = "macro", "mean"
VOLUMES = {"MR", "CT", "PT", "NM"}  # modalities
WHOLE = (None, MACRO, MEAN)  # targets of rows that stand for all classes or structures
ORACLE = "oracle prompt: "
OTHERWISE = {
    "shots",
    "wording",
    "paraphrased",
    "recalibrated",
    "gap",
}  # groups of the same cases, answered after other training or words
Row = Mapping[str, Any]
EMPTY: dict[str, Any] = dict.fromkeys(
    ("target", "split", "group", "baseline", "value", "low", "high", "method", "positives", "better", "note")
) | {"metric": "", "level": 0.95, "cases": 0, "patients": 0, "unit": ""}


@dataclass(frozen=True, eq=False)
class Scores:
    """Units of one target whose label is known: truth (n,) 0 or 1, score, patients and fold (n,)."""

    truth: np.ndarray
    score: np.ndarray
    patients: np.ndarray
    fold: np.ndarray

    @property
    def independent(self) -> bool:
        """Every patient has one unit."""
        return len(set(self.patients.tolist())) == len(self.patients)

    def by_fold(self) -> list[Scores]:
        """Each fold alone: scores of different folds are never pooled."""
        rows = [self.fold == fold for fold in np.unique(self.fold)]
        return [Scores(self.truth[r], self.score[r], self.patients[r], self.fold[r]) for r in rows]


@dataclass(frozen=True, eq=False)
class View:
    """What sections are made from; nothing in it is written to."""

    directory: Path
    record: Mapping[str, Any]
    predictions: pd.DataFrame | None = None
    baselines: pd.DataFrame | None = None
    measures: pd.DataFrame | None = None  # values of each case, where metrics are means of cases

    def part(self, *keys: str) -> Any:
        """A part of the record by its keys, or an empty mapping where there is none."""
        found: Any = self.record
        for key in keys:
            found = found.get(key) if isinstance(found, Mapping) else None
        return {} if found is None else found

    @cached_property
    def metrics(self) -> list[Row]:
        """The rows of run.json, each with every key."""
        return [EMPTY | row for row in self.record.get("metrics") or []]

    @cached_property
    def split(self) -> str:
        """The split that the report is about: test, or else the first with numbers."""
        splits = [r["split"] for r in self.metrics if r.get("split")]
        return "test" if "test" in splits or not splits else splits[0]

    def rows(self, **wanted: Any) -> list[Row]:
        """Rows of the split and the task that the report is about, of everyone and of the model unless `wanted` says
        otherwise."""
        filters = {"split": self.split, "group": None, "baseline": None} | wanted
        mine = (None, self.task.get("name"))
        rows = [r for r in self.metrics if r.get("task") in mine]
        return [r for r in rows if all(r.get(k) == v for k, v in filters.items() if v is not ...)]

    @cached_property
    def primary(self) -> Row | None:
        """The first metric's row that stands for the run: over all targets where there are several."""
        rows = self.rows()
        first = [r for r in rows if r["metric"] == rows[0]["metric"]]
        whole = [r for r in first if r.get("target") in WHOLE]
        return next(iter([*whole, *first]), None)

    def subgroups(self, **wanted: Any) -> list[Row]:
        """Rows of groups of cases: `sex=F`. Those of all cases among fewer candidates (`within plane`) are none."""
        found = [r for r in self.rows(group=..., **wanted) if "=" in str(r.get("group") or "")]
        return [r for r in found if not is_variant(r) and group_name(r) not in OTHERWISE]

    def variants(self, **wanted: Any) -> list[Row]:
        """Rows of everyone under another prompt: `box_jitter_px=5`."""
        return [r for r in self.rows(group=..., **wanted) if is_variant(r)]

    @cached_property
    def task(self) -> Mapping[str, Any]:
        """The task's section of the record; of several tasks the first."""
        several = self.record.get("tasks") or [{}]
        return self.part("task") or several[0]

    @cached_property
    def further(self) -> list[View]:
        """This run as each of its further tasks sees it: its words, pictures and thresholds, its rows and tables."""
        listed = (self.record.get("tasks") or [])[1:]
        return [self._of(task) for task in listed]

    def _of(self, task: Mapping[str, Any]) -> View:
        record = {k: v for k, v in self.record.items() if k not in ("tasks", "answer")} | dict(task) | {"task": task}
        tables = load_tables(self.directory, str(task.get("name")))
        return View(self.directory, record, *tables)

    def word(self, name: str) -> str | None:
        """What the task calls something, by `NAME_KIND` or else `NAME` of its words; None where it has no word."""
        words = self.task.get("words") or {}
        return words.get(f"{name}_{self.task.get('kind')}") or words.get(name)

    def baseline(self, name: str) -> str:
        """What a baseline is called: by its adapter, by the task where it is built in, else by its own name."""
        words = self.part("baselines", name, "said")
        said = words.get("label") or words.get("title")
        found = str(said or self.word(f"baseline_{name}") or name.replace("_", " "))
        if self.part("generation").get("volumes"):
            found = re.sub(r"\bpx\b", "voxels", found.replace("pixel", "voxel").replace("by 1 px", "by 1 voxel"))
        return found

    @cached_property
    def oracle(self) -> str | None:
        """Which truth the model's prompts took, in words; None where they took none."""
        notes = [self.part("model").get("oracle"), *(r.get("note") for r in self.rows())]
        found = next((str(n) for n in notes if is_oracle(n)), None)
        return None if found is None else found.removeprefix(ORACLE).partition(";")[0]

    @property
    def holds_volumes(self) -> bool:
        """The data are of a modality that gives volumes."""
        return bool(VOLUMES & set(self.part("data", "card").get("modality") or []))

    @cached_property
    def names_patients(self) -> bool:
        """Whether cases are known to be of patients; where not, each counts as one, and no number of them is told."""
        said = self.part("data", "card").get("patients", "known") != "known"
        return not said and not any(self.says_unknown(w) for w in self.record.get("warnings") or [])

    @property
    def has_splits(self) -> bool:
        """Whether what answered was trained on a part of the data: not where answers alone were handed in."""
        judged = self.part("compared", "runs") or [self.record]
        return any(record.get("kind") != "evaluation" for record in judged)

    @staticmethod
    def says_unknown(warning: Any) -> bool:
        """A warning of the record that is about patients who are not named."""
        return re.search(r"\bnames? no patients\b|^Patients are unknown\b", str(warning)) is not None

    @property
    def owner(self) -> str:
        """Who is resampled, in the singular: the patient, or the unit where patients are unknown."""
        return "patient" if self.names_patients else self.unit

    @property
    def unit(self) -> str:
        """What is scored: image, side, exam or patient."""
        unit = str(self.task.get("unit") or "case")
        return "case" if unit == "patient" and not self.names_patients else unit

    @property
    def level(self) -> float:
        return float((self.primary or EMPTY)["level"] or 0.95)

    @cached_property
    def targets(self) -> list[str]:
        """Targets with scores, in the order of the task's classes."""
        if self.predictions is None:
            return []
        known = list(dict.fromkeys(self.predictions.loc[self.predictions["split"] == self.split, "target"]))
        classes = [c for c in self.task.get("classes", []) if c in known]
        return [*classes, *(t for t in known if t not in classes)]

    def scores(self, target: str, baseline: str | None = None) -> Scores | None:
        """Scores of the units with a known label; None where there are none."""
        table = self.predictions if baseline is None else self.baselines
        if table is None:
            return None
        rows = (table["split"] == self.split) & (table["target"] == target) & table["truth"].notna()
        if baseline is not None:
            rows &= table["baseline"] == baseline
        part = table[rows]
        fold = part["fold"].to_numpy() if "fold" in part else np.zeros(len(part), dtype=int)
        if not len(part):
            return None
        truth = (part["truth"].to_numpy(dtype=float) > 0.5).astype(np.int64)
        score = part["score"].to_numpy(dtype=float, copy=True)  # tables hand out read-only views, which torch dislikes
        return Scores(truth, score, part["patient"].to_numpy(dtype=object), fold)

    def value(self, metric: str, **wanted: Any) -> float | None:
        """The number of the one row, None where it does not exist."""
        return next((r.get("value") for r in self.rows(metric=metric, **wanted)), None)


def group_name(row: Row) -> str:
    """`shots` of `shots=4`."""
    return str(row.get("group") or "").partition("=")[0]


def is_variant(row: Row) -> bool:
    """The row is of other prompts, and not of a group of cases."""
    return group_name(row) in text.VARIANTS


def is_reference(baseline: str) -> bool:
    """`real_images`: what real data reach. It is shown beside the model, and no baseline to be beaten."""
    return baseline.startswith("real")


def is_oracle(note: Any) -> bool:
    """The number took prompts from the truth."""
    return str(note or "").startswith(ORACLE.rstrip())


def load(directory: Path) -> View:
    """Read a run directory; predictions that are no scores, such as masks, are left to the sections of their task."""
    record = _without_nulls(read_record(directory))
    listed = record.get("tasks") or []
    view = View(directory, record, *load_tables(directory, str(listed[0].get("name")) if listed else None))
    return view if view.names_patients else replace(view, record=_without_patients(view.record, view.unit))


Tables = tuple[pd.DataFrame | None, pd.DataFrame | None, pd.DataFrame | None]


def load_tables(directory: Path, task: str | None) -> Tables:
    """Scores of the model, those of baselines, and values of cases; of one task where a run has several."""
    model, baselines = _scores(directory, task)
    return model, baselines, _table(directory / "measures.parquet", MEASURES, task)


def _scores(directory: Path, task: str | None) -> tuple[pd.DataFrame | None, pd.DataFrame | None]:
    """The model's scores, and those of baselines: in one table, by `baseline`, or in a table of their own."""
    table = _table(directory / "predictions.parquet", SCORES, task)
    if table is None or "baseline" not in table:
        return table, _table(directory / "baselines.parquet", SCORES | {"baseline"}, task)
    table = table[table["score"].notna()]
    parts = (table[table["baseline"].isna()], table[table["baseline"].notna()])
    model, baselines = (part.reset_index(drop=True) if len(part) else None for part in parts)
    return model, baselines


def _without_nulls(value: Any) -> Any:
    """What is null is missing; rows of metrics get every key back."""
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    return [_without_nulls(v) for v in value] if isinstance(value, list) else value


def _without_patients(record: Mapping[str, Any], unit: str) -> Mapping[str, Any]:
    """Where patients are unknown the record counts every case as one: such numbers are no numbers of patients, and what
    notes and warnings count are units."""
    data = dict(record.get("data") or {})
    if "flow" in data:
        data["flow"] = [{k: v for k, v in step.items() if k != "patients"} for step in data["flow"]]
    if "splits" in data:
        data["splits"] = {n: {k: v for k, v in s.items() if k != "patients"} for n, s in data["splits"].items()}
    if "characteristics" in data:
        data["characteristics"] = [row for row in data["characteristics"] if row.get("name") != "Patients"]
    said = [re.sub(r"(?<=\d )patient(?=s?\b)", unit, str(warning)) for warning in record.get("warnings") or []]
    judged: Mapping[str, Any] = _rows_of_units({k: v for k, v in record.items() if k not in ("data", "warnings")}, unit)
    return {**judged, "data": data, "warnings": said}


def _rows_of_units(value: Any, unit: str) -> Any:
    """A record whose rows, wherever they stand (metrics, shortcuts, self_check), speak of units."""
    if isinstance(value, list):
        return [_rows_of_units(entry, unit) for entry in value]
    if not isinstance(value, Mapping):
        return value
    if not {"metric", "split"} <= set(value):
        return {k: _rows_of_units(v, unit) for k, v in value.items()}
    row = {k: v for k, v in value.items() if k != "patients"}
    return row | {"note": re.sub(r"\bpatient(?=s?\b)", unit, row["note"])} if row.get("note") else row


def _table(path: Path, columns: set[str], task: str | None) -> pd.DataFrame | None:
    if not path.is_file():
        return None
    table = pd.read_parquet(path)
    if task is not None and "task" in table:
        table = table[table["task"] == task].reset_index(drop=True)
    return table if columns <= set(table.columns) and len(table) else None
