"""One recipe from its cases to the files of its run directory; the order of steps is the order of `run`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medvfm.core.case import SPLITS, Case
from medvfm.core.data_card import DataCard
from medvfm.core.errors import DataError
from medvfm.core.protocols import Method
from medvfm.core.recipe import Recipe
from medvfm.engine import checkpoint, describe, finished, operating, previews
from medvfm.engine.evaluate import Judge, Row, Wanted, as_records
from medvfm.engine.learners import Rows, Surroundings
from medvfm.engine.scored import Scored, concatenated
from medvfm.io import leakage, ledger, patients, run_directory, splits
from medvfm.io.tables import Cases
from medvfm.tasks import classification


@dataclass(frozen=True)
class Plan:
    """Everything that a run needs, resolved and checked; the engine looks no name up.

    learner makes the adapter, weights loaded; baselines do the same, by the name of their rows.
    """

    recipe: Recipe
    card: DataCard
    question: classification.Question
    judge: Judge
    select: Wanted
    method: Method
    method_name: str
    learner: Callable[[], Any]
    baselines: Mapping[str, Callable[[], Any]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Data:
    """Readable, labelled cases, their truth (n, T), and what happened to the others."""

    cases: list[Case]
    truth: np.ndarray
    flow: list[dict[str, Any]]
    left_out: list[tuple[str, str]]


@dataclass(frozen=True, eq=False)
class _Fitted:
    """One fold: who was fitted, what is known of it, and its scores."""

    learner: Any
    record: dict[str, Any]
    test: Scored
    val: Scored | None


def run(plan: Plan, table: Cases, out: Path, around: Surroundings) -> dict[str, Any]:
    """Fit, score and judge; writes everything but the report and returns the record."""
    recipe, say, clock = plan.recipe, around.console.say, _Clock()
    record = describe.beginning(recipe, plan.card, table.layout, around.device)
    run_directory.write_yaml(out / "recipe.yaml", recipe.as_data())
    run_directory.write_json(out / run_directory.RECORD, record)

    learner = plan.learner()
    data = _read(plan, learner, table, around)
    clock.lap("reading")
    folds = splits.split_cases(data.cases, recipe.split, recipe.seed, plan.question.classes)
    if recipe.split.leaks == "drop":
        folds = [_without_leaks(data.cases, fold) for fold in folds]
    for fold in folds:
        leakage.check(data.cases, fold.assigned)  # raises, naming the cases
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

    others: dict[str, Scored] = {}
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
        | {"flow": data.flow, "left_out": _reasons(data), "folds": len(folds), "test_openings": openings},
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


def _without_leaks(cases: Sequence[Case], fold: splits.Fold) -> splits.Fold:
    assigned, dropped = leakage.drop(cases, fold.assigned)
    if not dropped:
        return fold
    named = ", ".join(dropped[:5]) + (", ..." if len(dropped) > 5 else "")
    note = f"{len(dropped)} cases were left out because their pixels occur in another split: {named}."
    return splits.Fold(assigned, (*fold.warnings, note))


class _Clock:
    """Wall time of the steps."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self._laps[name], self._last = round(now - self._last, 2), now

    def seconds(self) -> dict[str, float]:
        return {**self._laps, "total": round(time.perf_counter() - self._start, 2)}


def _read(plan: Plan, learner: Any, table: Cases, around: Surroundings) -> _Data:
    """Labelled cases that can be read, and the flow from the table to them."""
    labelled = [case for case in table.cases if plan.question.labelled(case)]
    around.console.say(f"reading {len(labelled)} cases")
    readable, left_out = learner.read(labelled, around)
    if not readable:
        first = f"; {left_out[0][0]}: {left_out[0][1]}" if left_out else ""
        raise DataError(f"no case could be read{first}", remedy="`medvfm data check` lists every problem")
    flow = [*table.flow]
    if len(labelled) < len(table.cases):
        flow.append(_lost("without a label for this question", table.cases, labelled))
    if left_out:
        flow.append(_lost("unreadable", labelled, readable))
    flow.append({"step": "analysed", "cases": len(readable), "patients": len({c.owner for c in readable})})
    return _Data(readable, plan.question.truth(readable), flow, [*table.left_out, *left_out])


def _lost(step: str, before: Sequence[Case], after: Sequence[Case]) -> dict[str, Any]:
    owners = {c.owner for c in before} - {c.owner for c in after}
    return {"step": step, "cases": len(after) - len(before), "patients": -len(owners)}


def _reasons(data: _Data) -> list[dict[str, str]]:
    return [{"case_id": case_id, "reason": reason} for case_id, reason in data.left_out]


def _fit(
    plan: Plan,
    make: Callable[[], Any],
    first: Any,
    data: _Data,
    fold: splits.Fold,
    number: int,
    around: Surroundings,
) -> _Fitted:
    """Fit on the fold's training cases. `first` has read the cases; later folds start from weights of their own."""
    learner = first
    if number:
        learner = make()
        learner.read(data.cases, replace(around, checkpoint=around.checkpoint / f"fold{number}"))
    rows = {
        split: np.array([r for r, c in enumerate(data.cases) if fold.assigned.get(c.case_id) == split], dtype=int)
        for split in SPLITS
    }
    for split in ("train", "test"):
        if not len(rows[split]):
            raise DataError(
                f"no case is left in {split}", remedy="look at `split`, and at the cases that were left out"
            )
    seen = data.truth.copy()
    seen[rows["test"]] = np.nan  # whoever fits cannot look at a test label, not even by mistake
    has_val = bool(len(rows["val"]))

    def choose(scores: np.ndarray) -> float:
        return plan.judge.value(_scored(plan, data, rows["val"], scores, True), plan.select)

    record = learner.fit(Rows(rows["train"], rows["val"], seen), choose if has_val else None)
    test = _scored(plan, data, rows["test"], learner.score(rows["test"]), learner.probabilities)
    val = _scored(plan, data, rows["val"], learner.score(rows["val"]), learner.probabilities) if has_val else None
    return _Fitted(learner, record, test, val)


def _scored(plan: Plan, data: _Data, rows: np.ndarray, scores: np.ndarray, probabilities: bool) -> Scored:
    """Scores (len(rows), T) of cases as scores of units."""
    cases = [data.cases[r] for r in rows]
    units = classification.gather(cases, plan.question.unit)
    truth = classification.pooled_truth(data.truth[rows], units, plan.question.exclusive)
    columns = sorted({name for case in cases for name in case.groups})
    return Scored(
        units.ids,
        np.array([cases[r].owner for r in units.first], dtype=object),
        plan.question.classes,
        truth,
        classification.pooled_scores(scores, units, plan.question.pool),
        probabilities,
        {c: np.array([cases[r].groups.get(c, "") for r in units.first], dtype=object) for c in columns},
    )


def _joined(fitted: Sequence[_Fitted]) -> tuple[Scored, Scored | None]:
    val = [f.val for f in fitted if f.val is not None]
    return concatenated([f.test for f in fitted]), concatenated(val) if val else None


def _baseline(
    plan: Plan,
    name: str,
    make: Callable[[], Any],
    data: _Data,
    folds: Sequence[splits.Fold],
    model: tuple[Scored, Mapping[tuple[str, str], np.ndarray]],
    around: Surroundings,
) -> tuple[Scored, list[Row]]:
    """Fit and judge a baseline on the same folds; its rows and those of the difference to the model."""
    around = replace(around, checkpoint=around.checkpoint / f"baseline-{name}")
    learner = make()
    readable, left_out = learner.read(data.cases, around)
    if len(readable) != len(data.cases):
        case_id, reason = left_out[0]
        raise DataError(f"baseline {name} cannot use {len(left_out)} of the cases: {case_id}: {reason}")
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
    out: Path, cases: Sequence[Case], test: Scored, val: Scored | None, others: Mapping[str, Scored]
) -> None:
    hashed = patients.hashes({case.owner for case in cases})
    parts = [test.as_frame("test", hashed)] + ([val.as_frame("val", hashed)] if val is not None else [])
    run_directory.write_table(out / "predictions.parquet", pd.concat(parts, ignore_index=True))
    if others:
        tables = [scored.as_frame("test", hashed).assign(baseline=name) for name, scored in others.items()]
        run_directory.write_table(out / "baselines.parquet", pd.concat(tables, ignore_index=True))
