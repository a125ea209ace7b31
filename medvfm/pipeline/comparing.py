"""Finished runs, or evaluations of other programs' answers, compared on the same cases."""

from __future__ import annotations

import datetime
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from medvfm import lookup
from medvfm.core.errors import RunError, nearest
from medvfm.core.metric_spec import MetricSpec, parse
from medvfm.core.plurals import some
from medvfm.core.protocols import Record, Task
from medvfm.core.recipe_sections import Confidence
from medvfm.engine import compare as comparing
from medvfm.engine import record as records
from medvfm.engine import repeats
from medvfm.engine.evaluate import Judging
from medvfm.engine.of_seeds import OfSeeds
from medvfm.io import run_directory
from medvfm.io.dataset import case_names
from medvfm.io.dataset.prediction_tables import Table
from medvfm.io.run_directory import Run
from medvfm.pipeline import comparing_tables
from medvfm.report import page, paper_tables
from medvfm.report.run_view import View
from medvfm.statistics import difference
from medvfm.tasks import OF_LABELS

KINDS = ("run", "evaluation")
OF_DATA = ("without a label", "to patient_id", "cases in several folds", "cases in test and val")


def compare(
    runs: Sequence[str | Path | Run] | Mapping[str, Table],
    out: str | Path | None = None,
    *,
    truth: Table | None = None,
    task: str = OF_LABELS,
    options: Mapping[str, Any] | None = None,
    metrics: Sequence[str] | None = None,
    adjust: str = "holm",
    test: str = "auto",
    margin: float | str | Mapping[str, float] | None = None,
    confidence: Confidence | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Two finished runs or more of one task, on the same test cases: their differences, and each run's own numbers.

    metrics  as a recipe names them; default: those that all runs have. The first decides the places of the leaderboard
    adjust   of p-values for the number of tests: holm, or benjamini_hochberg
    test     auto; permutation exchanges the ranks of two AUROC; wilcoxon ranks the differences of means of cases
    margin   within which runs count as good as each other, in units of the first metric, or metric to margin
    out      folder for run.json, report.html, table.tex and table.md
    truth    where `runs` are predictions that were never evaluated, files or name to table: their truth, task and
             options (kind, classes, threshold, ...), as `evaluate` takes them

    Rows `METRIC_difference` hold `model` less `baseline`, with `p`, `p_adjusted` and whether they are `separated`;
    `attrs["leaderboard"]` holds the places. Runs of other cases, or of another truth, are refused.
    """
    if truth is not None:
        given = runs if isinstance(runs, Mapping) else _by_name(runs)
        with tempfile.TemporaryDirectory() as folder:
            made = comparing_tables.evaluated(task, truth, given, metrics, Path(folder), options or {})
            return compare(
                made, out, metrics=metrics, adjust=adjust, test=test, margin=margin, confidence=confidence, seed=seed
            )
    if isinstance(runs, Mapping):
        raise RunError("tables of predictions are compared against a truth", remedy="give truth=")
    if len(runs) < 2:
        raise RunError("one run alone has nothing to be compared with", remedy="name two or more")
    if adjust not in comparing.ADJUST:
        raise RunError(f"no adjustment {adjust!r}; {nearest(adjust, comparing.ADJUST)}", where="--adjust")
    if test not in difference.KINDS:
        raise RunError(f"no test {test!r}; {nearest(test, difference.KINDS)}", where="--test")
    directories = [run.directory if isinstance(run, Run) else Path(run) for run in runs]
    found = [_record(directory) for directory in directories]
    shared = _task(found, directories)
    specs = _specs(metrics, found, directories, shared)
    entries = comparing.aligned(
        [
            _entry(name, directory, record, shared)
            for name, directory, record in zip(_names(directories), directories, found, strict=True)
        ]
    )
    chosen = confidence or Confidence()
    asked = comparing.Asked(adjust, test, _margins(margin, specs))  # type: ignore[arg-type]
    result = comparing.compared(Judging(shared, specs, chosen, seed), entries, asked)
    record = _written(shared, entries, found, result, adjust)
    if out is not None:
        directory = Path(out)
        run_directory.open_new(directory, "", resume=False)
        if result.cases is not None:
            run_directory.write_table(directory / run_directory.MEASURES, result.cases)
        run_directory.write_json(directory / run_directory.RECORD, record)
        page.render(directory)
        paper_tables.write(directory)
    table = pd.DataFrame(record["metrics"])
    table.attrs["leaderboard"] = result.leaderboard
    return table


def _by_name(files: Sequence[str | Path | Run]) -> dict[str, Table]:
    """Predictions by the names of their files, without endings."""
    paths = [file.directory if isinstance(file, Run) else Path(file) for file in files]
    names = _names([path.parent / path.stem for path in paths])
    return dict(zip(names, paths, strict=True))


def _record(directory: Path) -> Record:
    record = run_directory.read_record(directory)
    kind, status = record.get("kind"), record.get("status")
    if kind not in KINDS:
        raise RunError(f"a {kind} is no run with answers", where=directory, remedy="name runs or evaluations")
    if status != "complete":
        raise RunError(f"the run is {status}", where=directory, remedy="finish it with --resume")
    return record


def _task(found: Sequence[Record], directories: Sequence[Path]) -> Task:
    """The first run's, which the others must share; of several tasks the first."""
    asked = [(record.get("tasks") or [record.get("task") or {}])[0] for record in found]
    for key in ("name", "kind", "classes", "unit"):
        for directory, other in zip(directories[1:], asked[1:], strict=True):
            if key == "unit" and "evaluation" in (found[0]["kind"], found[directories.index(directory)]["kind"]):
                continue  # tables of predictions do not say what their units are
            if other.get(key) != asked[0].get(key):
                raise RunError(
                    f"its {key} is {_said(other.get(key))}, that of {directories[0]} {_said(asked[0].get(key))}",
                    where=directory,
                    remedy="runs are compared on one task",
                )
    task: Task = lookup.module("tasks", str(asked[0].get("name")), str(directories[0])).from_record(asked[0])
    return task


def _said(value: object) -> str:
    return some(value) if isinstance(value, list) else str(value)


def _specs(
    wanted: Sequence[str] | None, found: Sequence[Record], directories: Sequence[Path], task: Task
) -> list[MetricSpec]:
    there = [
        list(
            dict.fromkeys(
                r["metric"]
                for r in record["metrics"]
                if r["split"] == _split(record)
                and not r["group"]
                and not r["baseline"]
                and r.get("task") in (None, task.name)
            )
        )
        for record in found
    ]
    for name in wanted or ():
        for directory, names in zip(directories, there, strict=True):
            if parse(name, task.metrics, "--metrics").name not in names:
                raise RunError(f"no metric {name!r} in this run; {nearest(name, names)}", where=directory)
    names = list(wanted or [name for name in there[0] if all(name in other for other in there[1:])])
    if not names:
        raise RunError(f"the runs have no metric in common: {'; '.join(map(some, there))}")
    return [parse(name, task.metrics, "--metrics") for name in names]


def _entry(name: str, directory: Path, record: Record, task: Task) -> comparing.ComparedRun:
    predictions = task.read_run(directory).get((_split(record), None))
    if predictions is None:
        raise RunError("has no answers to test cases", where=directory)
    there = case_names.read(directory)
    ids = tuple(there.get(case_id, case_id) for case_id in predictions.ids)
    points = records.points(record)
    further = (record.get("repeats") or {}).get("thresholds", {})
    if not further:
        return comparing.ComparedRun(name, predictions, points, ids)
    parts, fixed = [predictions], [points]
    for seed, thresholds in further.items():
        part = task.read_run(directory / repeats.FOLDER / seed).get((_split(record), None))
        if part is None or part.ids != predictions.ids:
            raise RunError(f"the answers of seed {seed} are not there", where=directory / repeats.FOLDER / seed)
        parts.append(part)
        fixed.append(records.points({"thresholds": thresholds}))
    return comparing.ComparedRun(name, OfSeeds(tuple(parts)), replace(points, of_seeds=tuple(fixed)), ids)


def _split(record: Record) -> str:
    """`test`, or `external:CARD` of a test on another data set."""
    splits = [str(r["split"]) for r in record["metrics"]]
    return next((split for split in splits if split.startswith("external:")), "test")


def _names(directories: Sequence[Path]) -> list[str]:
    """Names of the folders; with their parents' where two are called the same, numbered where that is no help."""
    for parts in (1, 2, 3):
        names = ["/".join(directory.resolve().parts[-parts:]) for directory in directories]
        if len(set(names)) == len(names):
            return names
    names, seen = [directory.resolve().name for directory in directories], Counter[str]()
    for place, name in enumerate(names):
        seen[name] += 1
        names[place] = name if seen[name] == 1 else f"{name} ({seen[name]})"
    return names


def _margins(given: float | str | Mapping[str, float] | None, specs: Sequence[MetricSpec]) -> dict[str, float]:
    """Metric to margin: of `0.05` that of the first metric, of `dice=0.02,hd95=1` those named."""
    if given is None:
        return {}
    known = [spec.name for spec in specs]
    if isinstance(given, Mapping):
        parts = {str(k): str(v) for k, v in given.items()}
    else:
        cut = [part.rpartition("=") for part in str(given).split(",")]
        parts = {name.strip() or known[0]: value.strip() for name, _, value in cut}
    found = {}
    for name, value in parts.items():
        if name not in known:
            raise RunError(f"no metric {name!r} is compared; {nearest(name, known)}", where="--margin")
        try:
            found[name] = float(value)
        except ValueError:
            raise RunError(f"{value!r} is no number", where="--margin") from None
        if not 0 < found[name] < float("inf"):
            raise RunError(f"a margin is above 0, and {name} has {value}", where="--margin")
    return found


def _written(
    task: Task,
    entries: Sequence[comparing.ComparedRun],
    found: Sequence[Record],
    result: comparing.Comparison,
    adjust: str,
) -> Record:
    cards = [record.get("data", {}).get("card") for record in found]
    same_card = all(card == cards[0] for card in cards) and cards[0]
    first = entries[0].predictions
    return {
        "format": run_directory.FORMAT,
        "kind": "comparison",
        "status": "complete",
        "medvfm": metadata.version("medvfm"),
        "title": f"{some([entry.name for entry in entries])} compared",
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "task": task.describe(),
        "data": {
            **({"card": cards[0]} if same_card else {}),
            "flow": [{"step": "compared", "cases": len(set(first.ids)), "patients": len(set(first.patients.tolist()))}],
        },
        "compared": {
            "runs": [
                {
                    "name": entry.name,
                    "title": record.get("title"),
                    "kind": record["kind"],
                    "hash": record.get("hash"),
                    "seed": record.get("recipe", {}).get("seed"),
                    "seeds": len((record.get("repeats") or {}).get("seeds", [0])),
                    "subject": record.get("model", {}).get("said", {}).get("subject"),
                }
                for entry, record in zip(entries, found, strict=True)
            ],
            "primary": result.primary,
            "adjust": adjust,
            "tests": sum(row.get("p") is not None for row in result.rows),
            "leaderboard": result.leaderboard,
        },
        "environment": records.environment("cpu"),
        "warnings": list(dict.fromkeys(w for record in found for w in record.get("warnings", []) if _of_data(w))),
        "metrics": result.rows,
    }


def _of_data(warning: str) -> bool:
    """A warning that is about the data, and holds for the comparison too."""
    return View.says_unknown(warning) or any(words in warning for words in OF_DATA)
