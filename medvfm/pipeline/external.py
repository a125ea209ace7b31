"""A finished run on another data set, with everything that was fitted or fixed unchanged: external validation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medvfm import lookup
from medvfm.core.data_card import DataCard
from medvfm.core.errors import RunError
from medvfm.core.protocols import Record, Task
from medvfm.core.task_capabilities import MakingTask
from medvfm.engine import external, saved_model
from medvfm.engine import record as records
from medvfm.engine.plan import Plan, TaskPlan
from medvfm.io import run_directory
from medvfm.io.console import Console
from medvfm.io.dataset import case_names, roots
from medvfm.io.dataset import cases as tables
from medvfm.io.run_directory import Run
from medvfm.pipeline import pretraining, where
from medvfm.pipeline.predicting import Finished
from medvfm.report import page

KEPT = ("model", "texts")  # of the run's record: what was trained, as it stands there


def test(
    run: str | Path | Run,
    card: str,
    out: str | Path,
    *,
    root: str | Path | None = None,
    layout: str | None = None,
    other_patients: bool = False,
    device: str | None = None,
    strict: bool = False,
    console: Console | None = None,
) -> Run:
    """Every case of another card answered by a finished run; a run directory of its own, of kind evaluation.

    card            name or path of the other data set, which knows the classes of the run's task by the same names
    root            its folder; default: as for `medvfm run`
    other_patients  names of patients that occur in both sets stand for different people

    Rows have the split `external:CARD`. A case that was trained on, or is of a patient who was, stops the test.
    """
    console = console or Console()
    finished = Finished.of(run)
    source, record = finished.weights.parent, finished.record
    if record.get("kind") != "run" or record.get("status") != "complete":
        raise RunError("is no finished run", where=source)
    directory = Path(out)
    if directory.resolve().is_relative_to(source.resolve()):
        raise RunError("lies in the run, which is never written to", where=directory, remedy="give another --out")
    other = lookup.card(card, "--card")
    plan = _plan(finished.planned, other)
    folder = roots.locate(
        other, None if root is None else str(root), {}, console, layout=layout, beside=lookup.beside(card)
    )
    table = tables.read_cases(other, folder, layout=layout)
    fixed = replace(records.points(record), recalibration=saved_model.points_of(finished.found).recalibration)
    carried = external.Carried(finished.model().adapters, fixed, external.TrainedOn.of(case_names.read_table(source)))
    made = run_directory.open_new(directory, "", resume=False)
    context = where.context(directory / "checkpoint", device, strict, console)
    title = f"{record.get('title')}, on {other.title}"
    begun = records.evaluation(title, plan.task, context.device)
    try:
        found = external.judged(
            plan,
            carried,
            table,
            directory,
            context,
            same_patients=not (other_patients or _only_numbered(finished, other.name)),
        )
    except BaseException:
        run_directory.free_unfinished(directory, made=made)
        raise
    whole = begun | {key: record[key] for key in KEPT if key in record} | found
    whole |= _pretraining(whole, other)
    whole |= {"thresholds": record["thresholds"], "tested": _tested(record, plan.task)}
    run_directory.write_json(directory / run_directory.RECORD, whole)
    page.render(directory)
    return Run(directory)


def _pretraining(record: Record, other: DataCard) -> Record:
    """What the weights saw of the other card before the run, in place of what they saw of the run's own."""
    model = {key: value for key, value in record.get("model", {}).items() if key != "pretraining"}
    before = record.get("model", {}).get("pretraining", {}).get("weights")
    saw = pretraining.seen(before, other)
    if saw is not None:
        model["pretraining"] = saw
    return {"model": model, "warnings": [*records.pretraining_warning(model), *record["warnings"]]}


def _plan(own: Plan, other: DataCard) -> Plan:
    """The run's plan with the other card, and its first task as that card has it."""
    settings = own.recipe.tasks[0]
    module = lookup.module("tasks", settings.name, "task")
    task: Task = module.build(settings, lambda *more: f"--card {other.name}", other)
    if isinstance(task, MakingTask):
        raise RunError(
            "a run that makes images answers no cases of another set", remedy="`medvfm predict --case` makes them"
        )
    return replace(own, card=other, tasks=[TaskPlan(task, own.specs, {})])


def _only_numbered(finished: Finished, other: str) -> bool:
    """Both sets are made by one generator, whose patients are numbers: the same number is the same patient only where
    the images are the same, and those are compared."""
    return finished.planned.card.generator is not None and finished.planned.card.name == other


def _tested(record: Record, task: Task) -> Record:
    """The run that was tested, and what it reached on its own test cases."""
    own = [
        r
        for r in record["metrics"]
        if r["split"] == "test" and not r["group"] and not r["baseline"] and r.get("task") in (None, task.name)
    ]
    card = record.get("data", {}).get("card", {})
    return {"title": record.get("title"), "hash": record.get("hash"), "card": card.get("title"), "metrics": own}
