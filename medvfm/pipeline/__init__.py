"""From a recipe to a run: the only place that resolves names. What it finds goes down to the engine as objects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from medvfm import lookup
from medvfm.core import yaml_source
from medvfm.core.data_card import DataCard
from medvfm.core.errors import DataError, RecipeError, nearest
from medvfm.core.metric_spec import shown
from medvfm.core.plurals import plural
from medvfm.core.protocols import Adapter, Outside, Record
from medvfm.core.recipe import Confidence, Prepare, Recipe
from medvfm.core.result_row import as_records
from medvfm.engine import case_reading, dataset_check, dataset_page, saved_model
from medvfm.engine import predict as answer_new
from medvfm.engine import record as records
from medvfm.engine import run as engine_run
from medvfm.engine.context import RunContext
from medvfm.engine.evaluate import Judging
from medvfm.io import patient_hashes, run_directory
from medvfm.io.console import Console
from medvfm.io.dataset import cases as tables
from medvfm.io.dataset import roots
from medvfm.io.dataset.prediction_tables import Table, named
from medvfm.io.run_directory import Run
from medvfm.pipeline import planning
from medvfm.report import page


def run(
    recipe: Recipe,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    device: str | None = None,
    strict: bool = False,
    console: Console | None = None,
) -> Run:
    """Everything from the recipe to report.html; `out` defaults to runs/TITLE-HASH."""
    console = console or Console()
    planned = planning.plan(recipe)
    root = _root(planned.card, recipe, console)
    table = tables.read_cases(planned.card, root, layout=recipe.data.layout)
    directory = Path(out) if out else Path("runs") / f"{_slug(recipe.title)}-{recipe.digest()}"
    run_directory.open_new(directory, recipe.digest(), resume=resume)
    context = _context(directory / "checkpoint", device, strict, console)
    engine_run.run(planned, table, directory, context)
    page.render(directory)
    return Run(directory)


def check(recipe: Recipe, *, ready: bool, console: Console | None = None) -> list[str]:
    """What can be known before training, in lines; with `ready`, that data and weights are here as well."""
    planned = planning.plan(recipe)
    method = planned.model.stages[-1].method_name
    lines = [f"{recipe.title}: {recipe.adapter.name} {method} on {planned.card.name}: recipe is valid"]
    if ready:
        console = console or Console()
        root = _root(planned.card, recipe, console)
        table = tables.read_cases(planned.card, root, layout=recipe.data.layout)
        lines.append(f"data: {len(table.cases)} cases, layout {table.layout}, {len(table.left_out)} left out")
        record = planned.model.make().record()
        lines.append(f"weights: {record['weights']}, sha256 {str(record.get('sha256'))[:12]}")
    return lines


def predict(
    directory: Path,
    inputs: Sequence[Path],
    out: Path,
    *,
    form: str | None = None,
    device: str | None = None,
    strict: bool = False,
    console: Console | None = None,
) -> tuple[Path, list[tuple[str, str]]]:
    """A finished run's answers for new images: predictions.csv, files beside it; and what could not be read.

    form: one of the forms of the run's task: csv for scores; nifti, dicom-seg or png for masks.
    """
    folder = directory / "weights"
    run_directory.read_record(directory)
    found = saved_model.describe(folder)
    planned = planning.plan(saved_model.recipe_of(found, directory))
    task, chosen = planned.task, _form(form, planned.task.formats)
    adapters = saved_model.restore(folder, found, planned.model.make)
    context = _context(out, device, strict, console or Console())
    table, left_out = answer_new.predict(
        adapters,
        task,
        saved_model.points_of(found),
        task.cases(inputs),
        out,
        chosen,
        saved_model.name_of(found),
        context,
    )
    path = out / "predictions.csv"
    run_directory.write_table(path, table)
    return path, left_out


def _form(wanted: str | None, known: Sequence[str]) -> str:
    if wanted is not None and wanted not in known:
        raise RecipeError(f"no format {wanted!r} for this run; {nearest(wanted, known)}", where="--format")
    return wanted or known[0]


def check_data(card: str, root: str | None, layout: str | None) -> tuple[dataset_check.Findings, str]:
    """Read every case of a card; what was found, and a line that sums it up."""
    found = lookup.card(card)
    console = Console()
    folder = roots.locate(found, root, {}, console, layout=layout, beside=lookup.beside(card))
    table = tables.read_cases(found, folder, layout=layout)
    findings = dataset_check.check(found, table, console, case_reading.default_workers("cpu"), folder)
    patients = len({c.owner for c in findings.cases})
    return findings, (
        f"{found.name}, layout {table.layout}: {plural(len(findings.cases), 'case')} of {plural(patients, 'patient')} "
        f"read, {plural(len(findings.errors), 'error')}, {plural(len(findings.warnings), 'warning')}"
    )


def show_data(card: str, root: str | None, layout: str | None, out: Path | None) -> tuple[Path, str]:
    """A page about a card and its data, and what it says in one line; of the card alone where its data are not here."""
    found, console = lookup.card(card), Console()
    directory = out if out is not None else Path("runs") / f"card-{found.name}"
    table = findings = None
    try:
        folder = roots.locate(found, root, {}, console, layout=layout, beside=lookup.beside(card))
    except DataError as missing:
        if root is not None:
            raise
        console.say(f"  {missing}")
    else:
        table = tables.read_cases(found, folder, layout=layout)
        findings = dataset_check.check(found, table, console, case_reading.default_workers("cpu"), folder)
    record = dataset_page.write(found, table, findings, directory)
    return page.render(directory), str(record["answer"])


def report(directory: Path) -> Path:
    """Render report.html again."""
    run_directory.read_record(directory)
    return page.render(directory)


def _root(card: DataCard, recipe: Recipe, console: Console) -> Path:
    data = recipe.data
    root = None if data.root is None else recipe.located("data", "root")
    beside = lookup.beside(recipe.located("data", "card"))
    return roots.locate(card, root, data.options, console, layout=data.layout, beside=beside)


def _context(checkpoint: Path, device: str | None, strict: bool, console: Console) -> RunContext:
    chosen = _device(device)
    return RunContext(checkpoint, chosen, case_reading.default_workers(chosen), strict, console)


def _device(wanted: str | None) -> str:
    import torch

    if wanted is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise RecipeError("no CUDA device is here", where="--device", remedy="`medvfm doctor` shows what is")
    try:
        return str(torch.device(wanted))
    except RuntimeError:
        raise RecipeError(f"no device {wanted!r}; one of: cpu, cuda, cuda:0", where="--device") from None


def _slug(title: str) -> str:
    words = "".join(c.lower() if c.isascii() and c.isalnum() else " " for c in title).split()
    return "-".join(words)[:60].strip("-") or "run"


def evaluate(
    task: str,
    truth: Table,
    predictions: Table,
    metrics: Sequence[str] | None = None,
    out: str | Path | None = None,
    *,
    confidence: Confidence | None = None,
    seed: int = 0,
    **options: Any,
) -> pd.DataFrame:
    """Score any model's output, matched by case_id; the rows of run.json as a table. With `out`, a report as well."""
    module = lookup.module("tasks", task, "task")
    outside: Outside = module.read(truth, predictions, metrics, options)
    found, hashed = outside.predictions, patient_hashes.hashes(set(map(str, outside.predictions.patients)))
    judging = Judging(outside.task, outside.specs, confidence or Confidence(), seed)
    rows = judging.rows(found, outside.points) + judging.subgroups(found, outside.points, outside.subgroups)
    patients = len(set(found.patients.tolist()))
    record: Record = records.evaluation(f"Evaluation of {Path(named(predictions, 'predictions')).name}", outside.task)
    record |= {
        "data": {
            "flow": [{"step": "analysed", "cases": outside.cases, "patients": patients}],
            "left_out": [{"case_id": case_id, "reason": reason} for case_id, reason in outside.left_out],
        },
        "thresholds": records.thresholds(outside.points),
        "warnings": outside.notes,
        "metrics": as_records(rows),
    }
    if out is not None:
        directory = Path(out)
        run_directory.open_new(directory, record["hash"], resume=False)
        run_directory.write_table(directory / run_directory.PREDICTIONS, found.as_frame("test", hashed, None))
        measures = found.measures("test", hashed, None)
        if measures is not None:
            run_directory.write_table(directory / run_directory.MEASURES, measures)
        run_directory.write_json(directory / run_directory.RECORD, record)
        page.render(directory)
    return pd.DataFrame(record["metrics"])


def load_adapter(name: str, weights: str | Path | None = None, **prepare: Any) -> Adapter:
    """An adapter without a task, for scripts: `load_adapter("dinov2", weights="embedded").encode([image])`.

    `prepare` takes the keys of a recipe's section of that name, such as size=224 or slices={"pool": "max"}.
    """
    known = {"weights", *Prepare.model_fields}
    for key in prepare:
        if key not in known:
            raise RecipeError(f"no option {key!r}; {nearest(key, known)}", where="load_adapter")
    source = yaml_source.YamlSource(prepare, "load_adapter", {})
    settings = yaml_source.validated(source, Prepare, RecipeError)
    path = None if weights is None else str(weights)
    made: Adapter = lookup.module("adapters", name, "load_adapter").load(path, settings)
    return made


def methods() -> list[tuple[str, str]]:
    """Adapter and method, with what it does."""
    tables = [(name, lookup.module("adapters", name, name).METHODS) for name in lookup.modules("adapters")]
    return [(f"{name} {method}", entry.summary) for name, table in tables for method, entry in table.items()]


def metrics() -> list[tuple[str, str]]:
    """Every metric as a recipe writes it, by task."""
    tables = {name: lookup.module("tasks", name, name).TABLES for name in lookup.modules("tasks")}
    named_tables = [(f"{name}{of}", table) for name, parts in tables.items() for of, table in parts.items()]
    return [(shown(row), f"{name}: {row[1].summary}") for name, table in named_tables for row in table.items()]
