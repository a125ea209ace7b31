"""One recipe from its cases to the files of its run directory, whatever its task; the order of steps is that of `run`.

Answers are collected case by case, so that memory holds one mask whatever the size of the data.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from medvfm.core.case import Case
from medvfm.core.item import Item
from medvfm.core.metric_spec import MetricSpec
from medvfm.core.protocols import (
    Answer,
    Answers,
    Choose,
    FeatureAdapter,
    ManyTaskAdapter,
    Points,
    Predictions,
    Record,
    Reuse,
    Seen,
    Task,
)
from medvfm.core.result_row import ResultRow, as_records
from medvfm.core.slice_grid import SliceGrid
from medvfm.engine import checkpoint, cohort, evaluate, saved_model
from medvfm.engine import record as records
from medvfm.engine.case_store import StoredCases
from medvfm.engine.context import FoldRows, RunContext
from medvfm.engine.evaluate import Judging
from medvfm.engine.learners import FeatureLearner, FrozenLearner, Learner, LoopLearner
from medvfm.engine.plan import LOSS, ModelPlan, Plan
from medvfm.io import patient_hashes, run_directory, test_openings
from medvfm.io.dataset import splits
from medvfm.io.dataset.cases import CaseTable
from medvfm.statistics.estimand import mean_of_draws

REFERENCE = "real"  # baselines whose name begins so are references: shown, and compared with nothing


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
class FittedFold:
    """One fold: the learner that was fitted, what is known of it, and its rows of each split."""

    learner: Learner
    record: Record
    rows: Mapping[str, np.ndarray]

    def true(self, split: str) -> StoredCases:
        return StoredCases(self.learner.store, self.rows[split])


@dataclass(frozen=True, eq=False)
class Collected:
    """Predictions of all folds on test and on validation cases (None without), and what was fixed on the latter."""

    test: Predictions
    val: Predictions | None
    points: Points


def run(plan: Plan, table: CaseTable, out: Path, context: RunContext) -> Record:
    """Fit, answer and evaluate; writes everything but the report and returns the record."""
    recipe, task, say, clock = plan.recipe, plan.task, context.console.say, Clock()
    judging = Judging(task, plan.specs, recipe.evaluate.confidence, recipe.seed)
    record = records.beginning(recipe, plan.card, table.layout, context.device)
    run_directory.write_yaml(out / run_directory.RECIPE, recipe.as_data())
    run_directory.write_yaml(out / run_directory.CARD, plan.card.as_data())
    run_directory.write_json(out / run_directory.RECORD, record)

    learner = learner_of(plan, plan.model)
    readable = cohort.read([t.task for t in plan.tasks], learner, table, context)
    cases = learner.store.cases
    clock.lap("reading")
    folds = cohort.folds(recipe, task.stratify(), learner, context)
    fitted = _fit_all(plan, plan.model, learner, folds, _moments(plan), context)
    clock.lap("fitting")
    found = _collected(plan, fitted, out, context, recalibrate=recipe.evaluate.recalibrate == "platt")
    clock.lap("answering")

    openings = test_openings.open_test_set(plan.card.name, task.name, task.classes)
    oracle = learner.adapter.oracle
    rows = judging.rows(found.test, found.points, note=oracle)
    rows += judging.subgroups(found.test, found.points, recipe.evaluate.subgroups, note=oracle)
    rows += judging.rows(found.val, found.points, split="val", note=oracle) if found.val is not None else []
    rows += _robustness(plan, judging, fitted, found.points, context)
    clock.lap("evaluation")

    tables = Tables({case.owner for case in cases}, recipe.evaluate.subgroups)
    tables.add(found, None)
    others: dict[str, Record] = {}
    fixed: dict[str, Record] = {}
    for name, made in plan.baselines.items():
        say(f"baseline {name}")
        base, base_rows, others[name] = _baseline(plan, judging, name, made, folds, fitted, found, context)
        rows += base_rows
        fixed[name] = records.thresholds(base.points)
        tables.add(base, name)
    clock.lap("baselines")
    more_tasks = [
        _other_task(plan, number, fitted, table, folds, tables, context) for number in range(1, len(plan.tasks))
    ]
    for other_rows, _ in more_tasks:
        rows += other_rows

    tables.write(out)
    saved_model.save(out / "weights", recipe, [f.learner.adapter for f in fitted], found.points)
    all_true = StoredCases(learner.store, np.arange(len(cases)))
    warnings = [
        *records.oracle_warning(oracle),
        *records.warnings(plan.card, rows, openings, any(c.patient_id is not None for c in cases)),
        *table.warnings,
        *(warning for fold in folds for warning in fold.warnings),
        *(note for f in fitted for note in f.record.get("notes", [])),
    ]
    record |= {
        "status": "complete",
        "task": task.describe(),
        **({"tasks": [task.describe(), *(d for _, d in more_tasks)]} if more_tasks else {}),
        "data": record["data"]
        | records.cases(cases, task.presence(all_true), folds[0].assigned, task)
        | {
            "flow": readable.flow,
            "left_out": readable.reasons(),
            "folds": len(folds),
            "test_openings": openings,
        },
        "model": plan.model.facts
        | learner.adapter.record()
        | ({"oracle": oracle} if oracle else {})
        | {key: value for key, value in fitted[0].record.items() if key not in ("training", "notes")},
        "training": fitted[0].record.get("training"),
        "baselines": others,
        "thresholds": records.thresholds(found.points),
        "baseline_thresholds": fixed,
        **task.pictures(found.test, found.points, plan.specs, _seen(out, fitted, task)),
        "warnings": list(dict.fromkeys(warnings)),
        "metrics": as_records(rows),
    }
    clock.lap("writing")
    record["seconds"] = clock.seconds()
    run_directory.write_json(out / run_directory.RECORD, record)
    checkpoint.remove(context.checkpoint)
    return record


def learner_of(plan: Plan, model: ModelPlan, task: Task | None = None) -> Learner:
    """The learner that fits what the stages of a model ask for."""
    task = task or plan.task
    adapter, truth = model.make(), task.truth_reader(plan.card)
    if any(stage.method.fits == "weights" for stage in model.stages):
        return LoopLearner(adapter, task, truth, model.stages, plan.select, plan.recipe.seed)
    on_features = model.stages[-1].method.fits == "features" if model.stages else isinstance(adapter, FeatureAdapter)
    if on_features:
        return FeatureLearner(adapter, task, truth, plan.recipe.seed)
    return FrozenLearner(adapter, task, truth)


def _fit_all(
    plan: Plan,
    model: ModelPlan,
    first: Learner,
    folds: Sequence[splits.Fold],
    moments: frozenset[str],
    context: RunContext,
) -> list[FittedFold]:
    """Fit on each fold's training cases. `first` has read the cases; later folds start from weights of their own."""
    fitted, cases = [], first.store.cases
    for number, fold in enumerate(folds):
        learner = first
        if number:
            learner = learner_of(plan, model)
            learner.read(cases, replace(context, checkpoint=context.checkpoint / f"fold{number}"))
        rows = cohort.rows_of(cases, fold, plan.task)
        notes = cohort.keep_stages_apart(learner, fold, plan.recipe.split.leaks, context)
        choose = _chooser(plan, learner, rows["val"]) if len(rows["val"]) else None
        record = learner.fit(FoldRows(rows["train"], rows["val"]), choose, moments)
        fitted.append(FittedFold(learner, {**record, **({"notes": notes} if notes else {})}, rows))
    return fitted


def _chooser(plan: Plan, learner: Learner, rows: np.ndarray) -> Choose:
    """Values answers to the validation cases by the metric that is selected by."""
    true = StoredCases(learner.store, rows)

    def choose(answers: Answers) -> float:
        if plan.select.name == LOSS.name:
            return float("nan")
        found = _collect(plan.task, learner, true, iter(answers), None, [plan.select])
        return evaluate.value(plan.task, found, plan.select)

    return choose


def _collect(
    task: Task,
    learner: Learner,
    true: StoredCases,
    answers: Iterator[Answer],
    folder: Path | None,
    specs: Sequence[MetricSpec],
) -> Predictions:
    settled = (task.settled(answer, true.grid(place)) for place, answer in enumerate(answers))
    found: Predictions = task.collect(true, settled, folder, specs, learner.adapter.probabilities)
    return found


def _collected(
    plan: Plan,
    fitted: Sequence[FittedFold],
    folder: Path | None,
    context: RunContext,
    *,
    recalibrate: bool = False,
    answering: Answering | None = None,
) -> Collected:
    """Answers of every fold to its validation and test cases, joined; files of test answers go to `folder`."""
    ask = answering or (lambda fold, rows: fold.learner.answer(rows))
    parts: dict[str, list[Predictions]] = {"val": [], "test": []}
    for split, folders in (("val", None), ("test", folder)):
        for fold in fitted:
            rows = fold.rows[split]
            if not len(rows):
                continue
            answers = iter(context.console.track(ask(fold, rows), len(rows), f"{split} cases answered"))
            parts[split].append(_collect(plan.task, fold.learner, fold.true(split), answers, folders, plan.specs))
    test: Predictions = plan.task.join(parts["test"])
    val: Predictions | None = plan.task.join(parts["val"]) if parts["val"] else None
    points = plan.task.operating_points(val, plan.specs, recalibrate)
    return Collected(plan.task.adjusted(test, points), None if val is None else plan.task.adjusted(val, points), points)


Answering = Callable[[FittedFold, np.ndarray], Iterator[Answer]]


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
            _collect(task, f.learner, StoredCases(f.learner.store, part), f.learner.answer(part, variant), None, specs)
            for f, part in zip(fitted, chosen, strict=True)
        ]
        note = f"oracle prompt: {variant}{drawn_note}"
        rows += judging.rows(task.join(parts), points, group=variant, note=note, specs=specs)
    return rows


def _draw(rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng([seed, 2]).permutation(rows)[:count])


def _moments(plan: Plan) -> frozenset[str]:
    """Moments of training whose weights a baseline asks again."""
    return frozenset(made.at for made in plan.baselines.values() if isinstance(made, Reuse)) - {"final"}


def _baseline(
    plan: Plan,
    judging: Judging,
    name: str,
    made: ModelPlan | Reuse,
    folds: Sequence[splits.Fold],
    fitted: Sequence[FittedFold],
    model: Collected,
    context: RunContext,
) -> tuple[Collected, list[ResultRow], Record]:
    """A baseline on the same folds: its predictions, its rows with those of the difference to the model, its record."""
    context = replace(context, checkpoint=context.checkpoint / f"baseline-{name}")
    if isinstance(made, Reuse):
        draws = [
            _collected(plan, fitted, None, context, answering=_reused(made, draw, plan.recipe.seed))
            for draw in range(made.draws)
        ]
        oracle, record = fitted[0].learner.adapter.oracle, {"name": name, "at": made.at, "draws": made.draws}
    else:
        learner = learner_of(plan, made)
        cohort.read_again(learner, fitted[0].learner.store.cases, name, context)
        others = _fit_all(plan, made, learner, folds, frozenset(), context)
        draws = [_collected(plan, others, None, context)]
        oracle = learner.adapter.oracle
        record = {"name": name, **made.facts, **learner.adapter.record()}
    each = [plan.task.estimands(d.test, plan.specs, d.points) for d in draws]
    estimands = [mean_of_draws(same) for same in zip(*each, strict=True)]
    rows = judging.as_rows(estimands, draws[0].test, baseline=name, note=oracle)
    if not name.startswith(REFERENCE):
        rows += judging.differences(model.test, model.points, estimands, name)
    return draws[0], rows, record


def _reused(reuse: Reuse, draw: int, seed: int) -> Answering:
    """Answers of the fitted model, with its weights at a moment of training, to changed items."""

    def change(item: Item) -> Item:
        assert reuse.change is not None
        return reuse.change(item, np.random.default_rng([seed, draw, *item.case.case_id.encode()]))

    def answers(fold: FittedFold, rows: np.ndarray) -> Iterator[Answer]:
        with fold.learner.at(reuse.at):
            yield from fold.learner.answer(rows, None, change if reuse.change is not None else None)

    return answers


def _other_task(
    plan: Plan,
    number: int,
    fitted: Sequence[FittedFold],
    table: CaseTable,
    folds: Sequence[splits.Fold],
    tables: Tables,
    context: RunContext,
) -> tuple[list[ResultRow], Record]:
    """A further task answered by the models that were fitted for the first, on the same split."""
    other = plan.tasks[number]
    other_plan = replace(plan, tasks=[other], baselines={})
    again = []
    for fold, split in zip(fitted, folds, strict=True):
        adapter = fold.learner.adapter
        assert isinstance(adapter, ManyTaskAdapter)
        learner = FrozenLearner(adapter.answering(other.task), other.task, other.task.truth_reader(plan.card))
        learner.read([c for c in fold.learner.store.cases if other.task.has_truth(c)], context)
        rows = {
            s: np.array([r for r, c in enumerate(learner.store.cases) if split.assigned.get(c.case_id) == s], int)
            for s in ("train", "val", "test")
        }
        again.append(FittedFold(learner, {}, rows))
    found = _collected(other_plan, again, None, context)
    judging = Judging(other.task, other.specs, plan.recipe.evaluate.confidence, plan.recipe.seed)
    numbers = judging.rows(found.test, found.points)
    numbers += judging.rows(found.val, found.points, split="val") if found.val is not None else []
    tables.add(found, None, task=other.task.name)
    return [replace(row, task=other.task.name) for row in numbers], other.task.describe()


def _seen(out: Path, fitted: Sequence[FittedFold], task: Task) -> Seen:
    places = [(fold, place) for fold in fitted for place in range(len(fold.rows["test"]))]

    def answer(place: int) -> Answer:
        fold, own = places[place]
        true = fold.true("test")
        found = next(iter(fold.learner.answer(fold.rows["test"][own : own + 1])))
        return task.settled(found, true.grid(own))

    return Seen(out, JoinedCases([fold.true("test") for fold in fitted]), answer, fitted[0].learner.adapter.preparer)


@dataclass(frozen=True, eq=False)
class JoinedCases:
    """The cases of several folds, one after the other. See core.protocols.TrueCases."""

    parts: Sequence[StoredCases]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def _of(self, place: int) -> tuple[StoredCases, int]:
        for part in self.parts:
            if place < len(part):
                return part, place
            place -= len(part)
        raise IndexError(place)

    def case(self, place: int) -> Case:
        part, own = self._of(place)
        return part.case(own)

    def truth(self, place: int) -> np.ndarray:
        part, own = self._of(place)
        return part.truth(own)

    def grid(self, place: int) -> SliceGrid | None:
        part, own = self._of(place)
        return part.grid(own)


class Tables:
    """predictions.parquet and measures.parquet of a run, from which every row of run.json can be computed again."""

    def __init__(self, owners: set[str], columns: Sequence[str]) -> None:
        self._hashed, self._columns = patient_hashes.hashes(owners), columns
        self._predictions: list[pd.DataFrame] = []
        self._measures: list[pd.DataFrame] = []

    def add(self, found: Collected, baseline: str | None, task: str | None = None) -> None:
        for split, predictions in (("test", found.test), ("val", found.val)):
            if predictions is None:
                continue
            frame = predictions.as_frame(split, self._hashed, baseline)
            frame["threshold"] = [
                _at(found.points, target, fold) for target, fold in zip(frame["target"], frame["fold"], strict=True)
            ]
            targets = len(frame) // max(len(predictions.ids), 1)  # rows of a case lie together
            for column in self._columns:
                frame[f"group_{column}"] = np.repeat([str(v) for v in predictions.groups[column]], targets)
            measures = predictions.measures(split, self._hashed, baseline)
            for table, part in ((self._predictions, frame), (self._measures, measures)):
                if part is not None:
                    table.append(part if task is None else part.assign(task=task))

    def write(self, out: Path) -> None:
        run_directory.write_table(out / run_directory.PREDICTIONS, _stacked(self._predictions))
        if self._measures:
            run_directory.write_table(out / run_directory.MEASURES, _stacked(self._measures))


def _stacked(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat([part.astype({"baseline": object}) for part in parts], ignore_index=True)


def _at(points: Points, target: str, fold: int) -> float | None:
    """The threshold that decides for a target in a fold."""
    found = points.thresholds.get(("decision", target))
    return None if found is None or np.isnan(found[fold]) else float(found[fold])
