"""One recipe from its cases to the files of its run directory, whatever its task, in the order of `run`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medvfm.core.array import Array
from medvfm.core.capabilities import PromptedAdapter
from medvfm.core.protocols import Answer, Points, Record, Seen, Task
from medvfm.core.result_row import ResultRow, as_records
from medvfm.engine import (
    baselines,
    checkpoint,
    checkpoint_data,
    cohort,
    fitting,
    further_tasks,
    saved_model,
    training_inputs,
)
from medvfm.engine import record as records
from medvfm.engine.case_store import JoinedCases, StoredCases
from medvfm.engine.cohort import Readable
from medvfm.engine.context import RunContext
from medvfm.engine.evaluate import Judging
from medvfm.engine.fitting import FittedFold
from medvfm.engine.learners import Learner
from medvfm.engine.plan import Plan
from medvfm.engine.result_tables import ResultTables
from medvfm.io import run_directory, test_openings
from medvfm.io.dataset import case_names, splits
from medvfm.io.dataset.cases import CaseTable


class Clock:
    """Wall time of the steps."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self._laps[name], self._last = round(now - self._last, 2), now

    def seconds(self) -> dict[str, float]:
        return {**self._laps, "total": round(time.perf_counter() - self._start, 2)}


@dataclass(frozen=True, eq=False)
class Start:
    """What stands before training: the learner with its cases, what became of the others, the split or splits, and
    sentences about prompts that do not fit the cases."""

    learner: Learner
    readable: Readable
    folds: Sequence[splits.Fold]
    prompts: list[str]


def ready(plan: Plan, table: CaseTable, context: RunContext) -> Start:
    """Read and split the cases; everything that a run refuses before it trains is refused here."""
    learner = fitting.learner_of(plan, plan.model)
    readable = cohort.read(plan, learner, table, context)
    folds = cohort.folds(plan, learner, context)
    for fold in folds:
        cohort.rows_of(learner.store.cases, fold, plan.task)
    return Start(learner, readable, folds, _prompts(plan, learner, table, folds, context))


def _prompts(
    plan: Plan, learner: Learner, table: CaseTable, folds: Sequence[splits.Fold], context: RunContext
) -> list[str]:
    """Prompts that do not fit the cases: named on the screen as they are, in the record as a run names cases."""
    adapter, cases = learner.adapter, learner.store.cases
    if not isinstance(adapter, PromptedAdapter):
        return []
    answered = {case_id for fold in folds for case_id, split in fold.assigned.items() if split != "train"}
    asked = [case for case in cases if case.case_id in answered]
    known = [*cases, *table.cases]
    for sentence in adapter.check_prompts(asked, known):
        context.console.say(f"  {sentence}")
    return adapter.check_prompts(asked, known, plan.shown)


def run(plan: Plan, table: CaseTable, out: Path, context: RunContext) -> Record:
    """Fit, answer and evaluate; writes everything but the report and returns the record."""
    recipe, task, say, clock = plan.recipe, plan.task, context.console.say, Clock()
    judging = Judging(task, plan.specs, recipe.evaluate.confidence, recipe.seed)
    record = records.beginning(recipe, plan.card, table.layout, context.device)
    run_directory.write_yaml(out / run_directory.RECIPE, recipe.as_data())
    run_directory.write_yaml(out / run_directory.CARD, plan.card.as_data())
    run_directory.write_json(out / run_directory.RECORD, record)

    start = ready(plan, table, context)
    learner, readable, folds = start.learner, start.readable, start.folds
    cases = learner.store.cases
    checkpoint_data.hold(context.checkpoint, plan, learner, folds)
    clock.lap("reading")
    with context.console.working("fitting"):
        fitted = fitting.fit_all(plan, plan.model, learner, folds, baselines.moments(plan), context)
    clock.lap("fitting")
    found = fitting.collected(plan, fitted, out, context)
    clock.lap("answering")

    openings = test_openings.open_test_set(plan.card.name, task.name, task.classes)
    oracle = learner.adapter.oracle
    with context.console.working("metrics and their intervals"):
        rows = judging.rows(found.test, found.points, note=oracle)
        rows += judging.subgroups(found.test, found.points, recipe.evaluate.subgroups, note=oracle)
        if found.val is not None:
            rows += judging.rows(found.val, replace(found.points, in_sample=True), split="val", note=oracle)
    rows += _robustness(plan, judging, fitted, found.points, context)
    clock.lap("evaluation")

    tables = ResultTables({c.case_id: c.owner for c in cases}, recipe.evaluate.subgroups, safe_ids=plan.safe_ids)
    named = task.name if len(plan.tasks) > 1 else None  # rows name their task where there are several
    tables.add(found, None, task=named)
    others: dict[str, Record] = {}
    fixed: dict[str, Record] = {}
    for name, made in plan.baselines.items():
        say(f"baseline {name}")
        with context.console.working(f"fitting and evaluating {name}"):
            base, base_rows, others[name] = baselines.evaluated(
                plan, judging, name, made, folds, fitted, found, context
            )
        rows += base_rows
        fixed[name] = records.thresholds(base.points)
        tables.add(base, name, task=named)
    clock.lap("baselines")
    further = [further_tasks.evaluated(plan, entry, fitted, folds, tables, context) for entry in plan.tasks[1:]]
    rows = [replace(row, task=named) for row in rows]
    for other_rows, _ in further:
        rows += other_rows

    tables.write(out)
    saved_model.save(out / "weights", recipe, task, [f.learner.adapter for f in fitted], found.points)
    all_true = StoredCases(learner.store, np.arange(len(cases)))
    with context.console.working("pictures"):
        pictures = task.pictures(found.test, found.points, plan.specs, _seen(out, fitted, task))
    warnings = [
        *records.oracle_warning(oracle),
        *records.warnings(plan.card, rows, openings, any(c.patient_id is not None for c in cases)),
        *table.warnings,
        *(warning for fold in folds for warning in fold.warnings),
        *(note for f in fitted for note in f.record.get("notes", [])),
        *start.prompts,
        *(
            remark
            for f in fitted
            if isinstance(f.learner.adapter, PromptedAdapter)
            for remark in f.learner.adapter.prompt_remarks(plan.shown)
        ),
    ]
    record |= {
        "status": "complete",
        "task": task.describe(),
        **({"tasks": [task.describe(), *(described for _, described in further)]} if further else {}),
        "data": record["data"]
        | records.cases(cases, task.presence(all_true), folds[0].assigned, task)
        | {
            "flow": readable.flow,
            "left_out": case_names.reasons(readable.left_out, safe=plan.safe_ids),
            "folds": len(folds),
            "test_openings": openings,
            "inputs": training_inputs.of_cases(
                [cases[r] for r in fitted[0].rows["train"]], learner.adapter.preparer, context
            ),
        },
        "model": plan.model.facts
        | learner.adapter.record()
        | ({"oracle": oracle} if oracle else {})
        | {key: value for key, value in fitted[0].record.items() if key not in ("training", "notes")},
        "training": fitted[0].record.get("training"),
        "baselines": others,
        "thresholds": records.thresholds(found.points),
        "baseline_thresholds": fixed,
        **pictures,
        "warnings": list(dict.fromkeys(warnings)),
        "metrics": as_records(rows),
    }
    clock.lap("writing")
    record["seconds"] = clock.seconds()
    run_directory.write_json(out / run_directory.RECORD, record)
    checkpoint.remove(context.checkpoint)
    return record


def _robustness(
    plan: Plan, judging: Judging, fitted: Sequence[FittedFold], points: Points, context: RunContext
) -> list[ResultRow]:
    """Rows for each variant of the prompts: group `box_jitter_px=5`. Every variant is an oracle's.

    A variant costs as much as the test itself, so of more cases than the task names a random subset stands for all.
    """
    task, variants = plan.task, fitted[0].learner.adapter.variants()
    specs = [spec for spec in plan.specs if spec.name in task.variant_metrics]
    if not variants or not specs:
        return []
    share = -(-task.variant_cases // len(fitted))
    chosen = [_draw(f.rows["test"], share, plan.recipe.seed) for f in fitted]
    total, some = sum(len(f.rows["test"]) for f in fitted), sum(map(len, chosen))
    drawn_note = f"; {some} of {total} test cases, drawn by the seed" if some < total else ""
    rows = []
    for variant in context.console.track(variants, len(variants), "variants of the prompts"):
        parts = [
            fitting.collect(
                task, f.learner, StoredCases(f.learner.store, part), f.learner.answer(part, variant), None, specs
            )
            for f, part in zip(fitted, chosen, strict=True)
        ]
        note = f"oracle prompt: {variant}{drawn_note}"
        rows += judging.rows(task.join(parts), points, group=variant, note=note, specs=specs)
    return rows


def _draw(rows: Array, count: int, seed: int) -> Array:
    return np.sort(np.random.default_rng([seed, 2]).permutation(rows)[:count])


def _seen(out: Path, fitted: Sequence[FittedFold], task: Task) -> Seen:
    places = [(fold, place) for fold in fitted for place in range(len(fold.rows["test"]))]

    def answer(place: int) -> Answer:
        fold, own = places[place]
        true = fold.true("test")
        found = next(iter(fold.learner.answer(fold.rows["test"][own : own + 1])))
        return task.settled(found, true.grid(own))

    return Seen(out, JoinedCases([fold.true("test") for fold in fitted]), answer, fitted[0].learner.adapter.preparer)
