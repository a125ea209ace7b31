"""One recipe from its cases to the files of its run directory; the order of steps is the order of `run`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medvfm.core.case import Case
from medvfm.core.result_row import ResultRow, as_records
from medvfm.engine import checkpoint, describe, finished, operating, previews, steps
from medvfm.engine.context import FoldRows, RunContext
from medvfm.engine.plan import Plan
from medvfm.engine.scored import ScoreTable, concatenated
from medvfm.io import patient_hashes as patients
from medvfm.io import run_directory
from medvfm.io import test_openings as ledger
from medvfm.io.dataset import splits
from medvfm.io.dataset.cases import CaseTable
from medvfm.tasks import classification


@dataclass(frozen=True, eq=False)
class _Data:
    """Readable cases and their truth (n, T)."""

    cases: list[Case]
    truth: np.ndarray


@dataclass(frozen=True, eq=False)
class _Fitted:
    """One fold: who was fitted, what is known of it, and its scores."""

    learner: Any
    record: dict[str, Any]
    test: ScoreTable
    val: ScoreTable | None


def run(plan: Plan, table: CaseTable, out: Path, around: RunContext) -> dict[str, Any]:
    """Fit, score and judge; writes everything but the report and returns the record."""
    recipe, say, clock = plan.recipe, around.console.say, steps.Clock()
    record = describe.beginning(recipe, plan.card, table.layout, around.device)
    run_directory.write_yaml(out / "recipe.yaml", recipe.as_data())
    run_directory.write_json(out / run_directory.RECORD, record)

    learner = plan.learner()
    readable = steps.read(plan.question, learner, table, around)
    data = _Data(readable.cases, plan.question.truth(readable.cases))
    clock.lap("reading")
    folds = steps.folds(recipe, data.cases, plan.question.classes, learner, around)
    fitted = [_fit(plan, plan.learner, learner, data, fold, n, around) for n, fold in enumerate(folds)]
    test, val = _joined(fitted)
    clock.lap("fitting")

    platt = operating.fit_platt(val) if recipe.evaluate.recalibrate == "platt" else None
    if platt is not None and val is not None:
        test, val = operating.recalibrated(test, platt), operating.recalibrated(val, platt)
    thresholds = operating.fix(val, plan.judge.wanted)
    openings = ledger.open_test_set(plan.card.name, plan.question.name, plan.question.classes)
    rows = plan.judge.rows(test, thresholds)
    rows += plan.judge.subgroups(test, thresholds, recipe.evaluate.subgroups)
    rows += plan.judge.rows(val, thresholds, split="val") if val is not None else []
    clock.lap("judging")

    others: dict[str, ScoreTable] = {}
    for name, make in plan.baselines.items():
        say(f"baseline {name}")
        others[name], base_rows = _baseline(plan, name, make, data, folds, (test, thresholds), around)
        rows += base_rows
    clock.lap("baselines")

    _write_tables(out, data.cases, test, val, others)
    finished.save(out / "weights", recipe, plan.question, [f.learner for f in fitted], thresholds, platt)
    shown = previews.write(out / "previews", test, thresholds, _by_unit(data.cases, plan), learner.adapter.preparer)
    record |= {
        "status": "complete",
        "task": describe.task(plan.question),
        "data": record["data"]
        | describe.cases(data.cases, data.truth, folds[0].assigned, plan.question)
        | {"flow": readable.flow, "left_out": readable.reasons(), "folds": len(folds), "test_openings": openings},
        "model": {"adapter": recipe.adapter.name, "method": plan.method_name, "method_note": plan.method.summary}
        | fitted[0].learner.adapter.record()
        | {key: value for key, value in fitted[0].record.items() if key != "training"},
        "training": fitted[0].record.get("training"),
        "thresholds": operating.as_record(thresholds),
        "previews": shown,
        "warnings": list(
            dict.fromkeys(
                [
                    *describe.warnings(plan.card, rows, openings, any(c.patient_id is not None for c in data.cases)),
                    *table.warnings,
                    *(warning for fold in folds for warning in fold.warnings),
                ]
            )
        ),
        "metrics": as_records(rows),
    }
    clock.lap("writing")
    record["seconds"] = clock.seconds()
    run_directory.write_json(out / run_directory.RECORD, record)
    checkpoint.remove(around.checkpoint)
    return record


def _fit(
    plan: Plan,
    make: Callable[[], Any],
    first: Any,
    data: _Data,
    fold: splits.Fold,
    number: int,
    around: RunContext,
) -> _Fitted:
    """Fit on the fold's training cases. `first` has read the cases; later folds start from weights of their own."""
    learner = first
    if number:
        learner = make()
        learner.read(data.cases, replace(around, checkpoint=around.checkpoint / f"fold{number}"))
    rows = steps.rows_of(data.cases, fold)
    seen = data.truth.copy()
    seen[rows["test"]] = np.nan  # whoever fits cannot look at a test label, not even by mistake
    has_val = bool(len(rows["val"]))

    def choose(scores: np.ndarray) -> float:
        return plan.judge.value(_scored(plan, data, rows["val"], scores, True), plan.select)

    record = learner.fit(FoldRows(rows["train"], rows["val"], seen), choose if has_val else None)
    test = _scored(plan, data, rows["test"], learner.score(rows["test"]), learner.probabilities)
    val = _scored(plan, data, rows["val"], learner.score(rows["val"]), learner.probabilities) if has_val else None
    return _Fitted(learner, record, test, val)


def _scored(plan: Plan, data: _Data, rows: np.ndarray, scores: np.ndarray, probabilities: bool) -> ScoreTable:
    """Scores (len(rows), T) of cases as scores of units."""
    cases = [data.cases[r] for r in rows]
    units = classification.gather(cases, plan.question.unit)
    truth = classification.pooled_truth(data.truth[rows], units, plan.question.exclusive)
    columns = sorted({name for case in cases for name in case.groups})
    return ScoreTable(
        units.ids,
        np.array([cases[r].owner for r in units.first], dtype=object),
        plan.question.classes,
        truth,
        classification.pooled_scores(scores, units, plan.question.pool),
        probabilities,
        {c: np.array([cases[r].groups.get(c, "") for r in units.first], dtype=object) for c in columns},
    )


def _joined(fitted: Sequence[_Fitted]) -> tuple[ScoreTable, ScoreTable | None]:
    val = [f.val for f in fitted if f.val is not None]
    return concatenated([f.test for f in fitted]), concatenated(val) if val else None


def _baseline(
    plan: Plan,
    name: str,
    make: Callable[[], Any],
    data: _Data,
    folds: Sequence[splits.Fold],
    model: tuple[ScoreTable, Mapping[tuple[str, str], np.ndarray]],
    around: RunContext,
) -> tuple[ScoreTable, list[ResultRow]]:
    """Fit and judge a baseline on the same folds; its rows and those of the difference to the model."""
    around = replace(around, checkpoint=around.checkpoint / f"baseline-{name}")
    learner = make()
    steps.read_again(learner, data.cases, name, around)
    fitted = [_fit(plan, make, learner, data, fold, n, around) for n, fold in enumerate(folds)]
    test, val = _joined(fitted)
    thresholds = operating.fix(val, plan.judge.wanted)
    rows = plan.judge.rows(test, thresholds, baseline=name)
    return test, rows + plan.judge.differences(model[0], test, model[1], thresholds, name)


def _by_unit(cases: Sequence[Case], plan: Plan) -> dict[str, Case]:
    """The first case of each unit, by the unit's id."""
    units = classification.gather(cases, plan.question.unit)
    return {unit: cases[row] for unit, row in zip(units.ids, units.first, strict=True)}


def _write_tables(
    out: Path, cases: Sequence[Case], test: ScoreTable, val: ScoreTable | None, others: Mapping[str, ScoreTable]
) -> None:
    hashed = patients.hashes({case.owner for case in cases})
    parts = [test.as_frame("test", hashed)] + ([val.as_frame("val", hashed)] if val is not None else [])
    run_directory.write_table(out / "predictions.parquet", pd.concat(parts, ignore_index=True))
    if others:
        tables = [scored.as_frame("test", hashed).assign(baseline=name) for name, scored in others.items()]
        run_directory.write_table(out / "baselines.parquet", pd.concat(tables, ignore_index=True))
