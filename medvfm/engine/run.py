"""One recipe from its cases to the files of its run directory, whatever its task, in the order of `run`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medvfm.core.capabilities import PromptedAdapter
from medvfm.core.protocols import Record
from medvfm.core.result_row import as_records
from medvfm.core.task_capabilities import WeighingTask
from medvfm.engine import (
    baselines,
    checkpoint,
    checkpoint_data,
    cohort,
    fitting,
    further_tasks,
    judged,
    novelty,
    repeats,
    saved_model,
    shortcuts,
    subgroups,
    training_inputs,
)
from medvfm.engine import record as records
from medvfm.engine.case_store import StoredCases
from medvfm.engine.cohort import Readable
from medvfm.engine.context import RunContext
from medvfm.engine.evaluate import Judging
from medvfm.engine.learners import Learner
from medvfm.engine.plan import Plan
from medvfm.engine.result_tables import ResultTables
from medvfm.engine.self_checks import SelfChecks
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
    for entry in plan.tasks:
        if isinstance(entry.task, WeighingTask):
            entry.task.load_judges()
    learner = fitting.learner_of(plan, plan.model)
    table = novelty.inside(plan.card, table)
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
    recipe, task, clock = plan.recipe, plan.task, Clock()
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
    checks = SelfChecks.of(plan, fitted[0])
    found = fitting.collected(plan, fitted, out, context, watched=None if checks is None else checks.watched)
    clock.lap("answering")

    openings = test_openings.open_test_set(plan.card.name, task.name, task.classes)
    oracle = learner.adapter.oracle
    strange = novelty.judged(plan, fitted, table, context)
    clock.lap("distance from training")
    tables = ResultTables(
        {c.case_id: c.owner for c in cases},
        subgroups.columns_of(recipe.evaluate.subgroups),
        safe_ids=plan.safe_ids,
        uses=cohort.uses(learner, folds, context),
        beside={novelty.COLUMN: strange.of_cases} if strange.of_cases else {},
    )
    judging = Judging(task, plan.specs, recipe.evaluate.confidence, recipe.seed)
    found, self_check = (found, {}) if checks is None else checks.judged(judging, found)
    own = judged.judged(plan, fitted, found, folds, tables, context, out)
    further = [further_tasks.evaluated(plan, entry, fitted, folds, tables, out, context) for entry in plan.tasks[1:]]
    everything = [own, *(other.judged for other in further)]
    rows = [row for part in everything for row in part.rows]
    clock.lap("evaluation")
    audit = shortcuts.audited(plan, fitted, found, context)
    clock.lap("shortcut audit")

    tables.write(out)
    strange.save(out / "weights")
    saved_model.save(out / "weights", recipe, task, [f.learner.adapter for f in fitted], found.points)
    all_true = StoredCases(learner.store, np.arange(len(cases)))
    with context.console.working("pictures"):
        pictures = task.pictures(found.test, found.points, plan.specs, fitting.seen(out, fitted, task))
    warnings = [
        *records.pretraining_warning(plan.model.facts),
        *records.oracle_warning(oracle),
        *records.warnings(plan.card, rows, openings, any(c.patient_id is not None for c in cases)),
        *(warning for part in everything for warning in part.warnings),
        *audit.warnings,
        *novelty.warning(strange),
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
    model = learner.adapter.record()
    record |= {
        "status": "complete",
        "task": task.describe(),
        **({"tasks": [task.describe(), *(other.record for other in further)]} if further else {}),
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
        | model
        | ({"oracle": oracle} if oracle else {})
        | {key: value for key, value in fitted[0].record.items() if key not in ("training", "notes")},
        **({"texts": model["texts"]} if "texts" in model else {}),
        "training": fitted[0].record.get("training"),
        "baselines": {name: said for part in everything for name, said in part.baselines.items()},
        "thresholds": records.thresholds(found.points),
        "baseline_thresholds": own.thresholds,
        **pictures,
        **({"shortcuts": audit.rows} if audit.rows else {}),
        **({"repeats": repeats.record(recipe.seed, own.repeats)} if own.repeats else {}),
        **({"self_check": self_check} if self_check else {}),
        **({"novelty": strange.record} if strange.record else {}),
        **({"variants": own.variants} if own.variants else {}),
        "warnings": list(dict.fromkeys(warnings)),
        "metrics": as_records(rows),
    }
    clock.lap("writing")
    record["seconds"] = clock.seconds()
    if context.expected_s is not None:
        record["expected_seconds"] = round(context.expected_s)
    run_directory.write_json(out / run_directory.RECORD, record)
    checkpoint.remove(context.checkpoint)
    return record
