"""From a recipe to a run: the only place that resolves names. What it finds goes down to the engine as objects."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from medvfm import lookup
from medvfm.core import yaml_source
from medvfm.core.case import SPLITS
from medvfm.core.data_card import DataCard
from medvfm.core.errors import DataError, MedvfmError, RecipeError, nearest
from medvfm.core.metric_spec import shown
from medvfm.core.plurals import plural
from medvfm.core.protocols import Adapter, Outside, Record
from medvfm.core.recipe import Recipe
from medvfm.core.recipe_sections import Confidence, Prepare
from medvfm.core.result_row import as_records
from medvfm.engine import case_reading, checkpoint, dataset_check, dataset_page, shared_patients, subgroups, sweep
from medvfm.engine import record as records
from medvfm.engine import run as engine_run
from medvfm.engine.evaluate import Judging
from medvfm.engine.fitting import Collected
from medvfm.engine.result_tables import ResultTables
from medvfm.io import run_directory
from medvfm.io.console import Console
from medvfm.io.dataset import case_names, mask_values, roots
from medvfm.io.dataset import cases as tables
from medvfm.io.dataset.prediction_tables import Table, named
from medvfm.io.run_directory import Run
from medvfm.models import catalogue
from medvfm.nn import augment
from medvfm.pipeline import asked_confidence, planning, run_cost, sweeping, values_used, verifying, where
from medvfm.report import page

NAMED = 5


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
    swept = sweeping.models(recipe) if recipe.sweep is not None else []
    planned = verifying.with_verifiers(swept[0].plans[0] if swept else planning.plan(recipe))
    root = _root(planned.card, recipe, console)
    table = tables.read_cases(planned.card, root, layout=recipe.data.layout)
    directory = Path(out) if out else Path("runs") / f"{_slug(recipe.title)}-{recipe.digest()}"
    made = run_directory.open_new(directory, recipe.digest(), resume=resume)
    expected = run_cost.estimate(planned, len(table.cases))
    context = replace(
        where.context(directory / "checkpoint", device, strict, console),
        expected_s=expected.seconds if expected.unknown is None else None,
    )
    try:
        if swept:
            sweep.run(recipe, swept, table, directory, context)
        else:
            engine_run.run(planned, table, directory, context)
    except (MedvfmError, KeyboardInterrupt):
        if not checkpoint.exists(context.checkpoint):  # nothing was trained yet: --resume would have nothing to go on
            run_directory.free_unfinished(directory, made=made)
        raise
    with console.working("report"):
        page.render(directory)
    return Run(directory)


def check(recipe: Recipe, *, ready: bool, device: str | None = None, console: Console | None = None) -> list[str]:
    """What can be known before training, in lines; with `ready`, every case is read and split as a run would."""
    swept = sweeping.models(recipe) if recipe.sweep is not None else []
    if swept and not ready:
        return sweeping.lines(recipe, swept)
    planned = verifying.with_verifiers(swept[0].plans[0] if swept else planning.plan(recipe))
    method = planned.model.stages[-1].method_name
    lines = [f"{recipe.title}: {recipe.adapter.name} {method} on {planned.card.name}: recipe is valid"]
    lines += values_used.lines(planned)
    lines += [f"warning: {said}" for said in records.pretraining_warning(planned.model.facts)]
    count = None
    if ready:
        console = console or Console()
        root = _root(planned.card, recipe, console)
        table = tables.read_cases(planned.card, root, layout=recipe.data.layout)
        with tempfile.TemporaryDirectory() as folder:
            start = engine_run.ready(planned, table, where.context(Path(folder), device, False, console))
        lines += _data_lines(table, start)
        count = len(start.learner.store.cases)
        record = start.learner.adapter.record()
        lines.append(f"weights: {record['weights']}, sha256 {str(record.get('sha256'))[:12]}")
    return [*lines, run_cost.estimate(planned, count).line(), *(sweeping.lines(recipe, swept) if swept else ())]


def _data_lines(table: tables.CaseTable, start: engine_run.Start) -> list[str]:
    """How many cases, labelled and readable, and how they are split; the first reasons why some are not."""
    cases, left_out = start.learner.store.cases, start.readable.left_out
    steps = [f"{-step['cases']} {step['step']}" for step in start.readable.flow if step["cases"] < 0]
    lines = [
        f"data: layout {table.layout}, {plural(len(cases), 'case')} to be analysed" + "".join(f", {s}" for s in steps)
    ]
    for number, fold in enumerate(start.folds, 1):
        counts = Counter(fold.assigned.values())
        sizes = ", ".join(f"{counts[split]} {split}" for split in SPLITS)
        lines.append(f"split{f' of fold {number}' if len(start.folds) > 1 else ''}: {sizes}")
        lines += fold.warnings
    return lines + [f"left out: {case_id}: {reason}" for case_id, reason in left_out[:NAMED]] + table.warnings


def check_data(card: str, root: str | None, layout: str | None) -> tuple[dataset_check.Findings, str]:
    """Read every case of a card; what was found, and a line that sums it up."""
    found = lookup.card(card)
    console = Console()
    folder = roots.locate(found, root, {}, console, layout=layout, beside=lookup.beside(card))
    table = tables.read_cases(found, folder, layout=layout)
    findings = dataset_check.check(found, table, console, case_reading.default_workers("cpu"), folder)
    named = {case.patient_id for case in findings.cases if case.patient_id is not None}
    whose = f"of {plural(len(named), 'patient')}" if named else "of unknown patients"
    return findings, (
        f"{found.name}, layout {table.layout}: {plural(len(findings.cases), 'case')} {whose} "
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
    level: float | None = None,
    resamples: int | None = None,
    cluster: str | None = None,
    seed: int = 0,
    **options: Any,
) -> pd.DataFrame:
    """Score any model's output, matched by case_id; the rows of run.json as a table. With `out`, a report as well.

    level, resamples, cluster  of intervals, as `evaluate.confidence` of a recipe has them: 0.95, 2000, patient
    """
    chosen = asked_confidence.confidence(confidence, level=level, resamples=resamples, cluster=cluster)
    directory = None if out is None else Path(out)
    record = scored(task, truth, predictions, metrics, directory, confidence=chosen, seed=seed, **options)
    if directory is not None:
        run_directory.write_json(directory / run_directory.RECORD, record)
        page.render(directory)
    return pd.DataFrame(record["metrics"])


def scored(
    task: str,
    truth: Table,
    predictions: Table,
    metrics: Sequence[str] | None,
    directory: Path | None,
    *,
    confidence: Confidence,
    seed: int,
    **options: Any,
) -> Record:
    """The record of `evaluate`, which the caller writes last; the tables of a run lie in `directory`."""
    module = lookup.module("tasks", task, "task")
    for key in ("labels", "predicted_labels"):
        if isinstance(options.get(key), str | Path):
            options[key] = _label_names(str(options[key]))
    asked = list(options.get("subgroups", ()))
    if asked:
        options["subgroups"] = tuple(subgroups.columns_of(asked))
    outside: Outside = module.read(truth, predictions, metrics, options)
    found, val = outside.predictions, outside.val
    judging = Judging(outside.task, outside.specs, confidence, seed)
    rows = [r for group, seen in judging.views(found).items() for r in judging.rows(seen, outside.points, group=group)]
    rows += subgroups.rows(judging, found, outside.points, asked)
    rows += judging.rows(val, outside.points, split="val") if val is not None else []
    patients = len(set(found.patients.tolist()))
    record: Record = records.evaluation(f"Evaluation of {Path(named(predictions, 'predictions')).name}", outside.task)
    record |= {
        "data": {
            "flow": [*_before(outside), {"step": "analysed", "cases": outside.cases, "patients": patients}],
            "left_out": case_names.reasons(outside.left_out, safe=False),
            "folds": len(set(found.fold.tolist())),
        },
        "confidence": confidence.model_dump(mode="json"),
        "thresholds": records.thresholds(outside.points),
        "warnings": [*outside.notes, *shared_patients.warnings(found, val)],
        "metrics": as_records(rows),
    }
    if directory is not None:
        run_directory.open_new(directory, record["hash"], resume=False)
        scored = [found] if val is None else [found, val]
        owners = {case_id: str(p) for part in scored for case_id, p in zip(part.ids, part.patients, strict=True)}
        result_tables = ResultTables(owners, outside.subgroups, safe_ids=False)
        result_tables.add(Collected(found, val, outside.points), None)
        result_tables.write(directory)
    return record


def _before(outside: Outside) -> Sequence[Record]:
    """The steps before the cases that are analysed; of a task that names who was left out alone, how many they were."""
    lost = len(outside.left_out)
    if outside.flow or not lost:
        return outside.flow
    return [{"step": "with a prediction", "cases": outside.cases + lost}, {"step": "not scored", "cases": -lost}]


def _label_names(given: str) -> dict[int, str]:
    """Value to name, from words, a table, or a card by its path or name."""
    if "=" in given or Path(given).suffix.lower() not in ("", ".yaml", ".yml"):
        return mask_values.read_names(given)
    card = lookup.card(given)
    if not card.labels:
        raise DataError(f"the card {card.name} names no values of masks", where=given, remedy=mask_values.WORDS)
    return {value: label.name for value, label in card.labels.items()}


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
    path = None if weights is None else catalogue.hub_of(str(weights), name, "load_adapter")
    made: Adapter = lookup.module("adapters", name, "load_adapter").load(path, settings)
    return made


def methods() -> list[tuple[str, str]]:
    """Adapter and method, with what it does."""
    tables = [(name, lookup.module("adapters", name, name).METHODS) for name in lookup.modules("adapters")]
    return [(f"{name} {method}", entry.summary) for name, table in tables for method, entry in table.items()]


def baselines() -> list[tuple[str, str]]:
    """What a recipe may name under `baselines`: built in, by task, and every adapter."""
    found = []
    for name in lookup.modules("tasks"):
        built_in = dict(getattr(lookup.module("tasks", name, name), "BUILT_IN", {}))
        found += [(baseline, f"{name}: {summary}") for baseline, summary in built_in.items()]
    for name in lookup.modules("adapters"):
        own = getattr(lookup.module("adapters", name, name), "BASELINES", {})
        found += [(baseline, f"{name}: {summary}") for baseline, summary in own.items()]
    return found + [(name, f"adapter: {summary}") for name, summary in lookup.LISTS["adapters"]()]


def augmentations() -> list[tuple[str, str]]:
    """What a recipe may name under `train.augment`, with the options that each takes."""
    return augment.listed()


def postprocess() -> list[tuple[str, str]]:
    """What a recipe may name under `task.postprocess`, by task."""
    tables = {name: getattr(lookup.module("tasks", name, name), "POSTPROCESS", {}) for name in lookup.modules("tasks")}
    return [(step, f"{name}: {summary}") for name, steps in tables.items() for step, summary in steps.items()]


def metrics() -> list[tuple[str, str]]:
    """Every metric as a recipe writes it, by task."""
    tables = {name: lookup.module("tasks", name, name).TABLES for name in lookup.modules("tasks")}
    named_tables = [(f"{name}{of}", table) for name, parts in tables.items() for of, table in parts.items()]
    return [(shown(row), f"{name}: {row[1].summary}") for name, table in named_tables for row in table.items()]
