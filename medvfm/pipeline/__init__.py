"""From a recipe to a run: the only place that resolves names. What it finds goes down to the engine as objects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from medvfm import lookup
from medvfm.core.data_card import DataCard
from medvfm.core.errors import DataError, RecipeError, nearest
from medvfm.core.metric_spec import shown
from medvfm.core.plurals import plural
from medvfm.core.recipe import Prepare, Recipe
from medvfm.engine import card_page, data_check, external, external_masks, finished, loading, measure, predict_masks
from medvfm.engine import evaluate as judging
from medvfm.engine.context import RunContext
from medvfm.io import run_directory
from medvfm.io.console import Console
from medvfm.io.dataset import cases as tables
from medvfm.io.dataset import roots
from medvfm.io.run_directory import Run
from medvfm.pipeline import planning
from medvfm.report import page as html


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
    around = _surroundings(directory / "checkpoint", device, strict, console)
    planning.ANSWERING[planned.question.name].run(planned, table, directory, around)
    html.render(directory)
    return Run(directory)


def check(recipe: Recipe, *, ready: bool, console: Console | None = None) -> list[str]:
    """What can be known before training, in lines; with `ready`, that data and weights are here as well."""
    planned = planning.plan(recipe)
    lines = [f"{recipe.title}: {recipe.adapter.name} {planned.method_name} on {planned.card.name}, as it should be"]
    if ready:
        console = console or Console()
        root = _root(planned.card, recipe, console)
        table = tables.read_cases(planned.card, root, layout=recipe.data.layout)
        lines.append(f"data: {len(table.cases)} cases, layout {table.layout}, {len(table.left_out)} left out")
        record = planned.learner().adapter.record()
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
    """A finished run's answers for new images: predictions.csv, masks beside it; and what could not be read.

    form: csv for scores; nifti, dicom-seg or png for masks.
    """
    folder = directory / "weights"
    run_directory.read_record(directory)
    found = finished.describe(folder)
    recipe = finished.recipe_of(found)
    planned = planning.plan(recipe)
    adapters = finished.restore(folder, found, lambda: planned.learner().adapter)
    around = _surroundings(out, device, strict, console or Console())
    cases = finished.new_cases(inputs)
    if planned.question.name == "segmentation":
        chosen, model = _form(form, predict_masks.FORMATS), finished.name_of(found)
        table, left_out = predict_masks.predict(
            adapters, planned.question, planned.card.labels, cases, out, chosen, model, around
        )
    else:
        _form(form, ("csv",))
        table, left_out = finished.predict(adapters, found, cases, around)
    path = out / "predictions.csv"
    run_directory.write_table(path, table)
    return path, left_out


def _form(asked: str | None, known: Sequence[str]) -> str:
    if asked is not None and asked not in known:
        raise RecipeError(f"no format {asked!r} for this run; {nearest(asked, known)}", where="--format")
    return asked or known[0]


def check_data(card: str, root: str | None, layout: str | None) -> tuple[data_check.Findings, str]:
    """Read every case of a card; what was found, and a line that sums it up."""
    found = lookup.card(card)
    console = Console()
    folder = roots.locate(found, root, {}, console, layout=layout, beside=lookup.beside(card))
    table = tables.read_cases(found, folder, layout=layout)
    findings = data_check.check(found, table, console, loading.default_workers("cpu"), folder)
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
        findings = data_check.check(found, table, console, loading.default_workers("cpu"), folder)
    record = card_page.write(found, table, findings, directory)
    return html.render(directory), str(record["answer"])


def report(directory: Path) -> Path:
    """Render report.html again."""
    run_directory.read_record(directory)
    return html.render(directory)


def _root(card: DataCard, recipe: Recipe, console: Console) -> Path:
    data = recipe.data
    return roots.locate(card, data.root, data.options, console, layout=data.layout, beside=lookup.beside(data.card))


def _surroundings(checkpoint: Path, device: str | None, strict: bool, console: Console) -> RunContext:
    chosen = _device(device)
    return RunContext(checkpoint, chosen, loading.default_workers(chosen), strict, console)


def _device(asked: str | None) -> str:
    import torch

    if asked is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if asked.startswith("cuda") and not torch.cuda.is_available():
        raise RecipeError("no CUDA device is here", where="--device", remedy="`medvfm doctor` shows what is")
    try:
        return str(torch.device(asked))
    except RuntimeError:
        raise RecipeError(f"no device {asked!r}; one of: cpu, cuda, cuda:0", where="--device") from None


def _slug(title: str) -> str:
    words = "".join(c.lower() if c.isascii() and c.isalnum() else " " for c in title).split()
    return "-".join(words)[:60].strip("-") or "run"


def evaluate(
    task: str,
    *,
    truth: external.Table,
    predictions: external.Table,
    metrics: Sequence[str] | None = None,
    out: str | Path | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Score any model's output, matched by case_id; the rows of run.json as a table. With `out`, a report as well."""
    lookup.module("tasks", task, "task")
    directory = Path(out) if out is not None else None
    if task == "segmentation":
        record, *written = external_masks.evaluate_masks(truth, predictions, metrics, **options)
    else:
        record, *written = external.evaluate_scores(truth, predictions, metrics or ("auroc", "auprc"), **options)
    if directory is not None:
        run_directory.open_new(directory, record["hash"], resume=False)
        for name, frame in zip(("predictions", "measures"), written, strict=False):
            run_directory.write_table(directory / f"{name}.parquet", frame)
        run_directory.write_json(directory / run_directory.RECORD, record)
        html.render(directory)
    return pd.DataFrame(record["metrics"])


def load_adapter(name: str, weights: str | None = None, **prepare: Any) -> Any:
    """An adapter without a task, for scripts: `load_adapter("dinov2", weights="embedded").encode([image])`.

    `prepare` takes the keys of a recipe's section of that name, such as size=224 or slices={"pool": "max"}.
    """
    return lookup.module("adapters", name, "load_adapter").load(weights, Prepare.model_validate(prepare))


def methods() -> list[tuple[str, str]]:
    """Adapter and method, with what it does."""
    tables = [(name, lookup.module("adapters", name, name).METHODS) for name in lookup.modules("adapters")]
    return [(f"{name} {method}", entry.summary) for name, table in tables for method, entry in table.items()]


def metrics() -> list[tuple[str, str]]:
    """Every metric as a recipe writes it, by task."""
    tables = {
        "classification": judging.METRICS,
        "segmentation": measure.METRICS,
        "segmentation of objects": measure.METRICS_OF_OBJECTS,
    }
    return [(shown(row), f"{task}: {row[1].summary}") for task, table in tables.items() for row in table.items()]
