"""Fit a model on every fold, and collect its answers to validation and test cases.

Answers are collected case by case, so that memory holds one mask whatever the size of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medvfm.core.array import Array
from medvfm.core.capabilities import Choose, FeatureAdapter
from medvfm.core.metric_spec import MetricSpec
from medvfm.core.protocols import Answer, Answers, Points, Predictions, Record, Seen, Task
from medvfm.core.task_capabilities import MakingTask
from medvfm.engine import cohort, evaluate
from medvfm.engine.case_store import JoinedCases, StoredCases
from medvfm.engine.context import FoldRows, RunContext
from medvfm.engine.learners import FeatureLearner, FrozenLearner, Learner
from medvfm.engine.loop_learner import LoopLearner
from medvfm.engine.plan import LOSS, ModelPlan, Plan
from medvfm.io.dataset import splits


@dataclass(frozen=True, eq=False)
class FittedFold:
    """One fold: the learner that was fitted, what is known of it, its rows of each split, and the task that judges its
    answers."""

    learner: Learner
    record: Record
    rows: Mapping[str, Array]
    task: Task

    def true(self, split: str) -> StoredCases:
        return StoredCases(self.learner.store, self.rows[split])


@dataclass(frozen=True, eq=False)
class Collected:
    """Predictions of all folds on test and on validation cases (None without), and what was fixed on the latter; those
    on test cases before they were recalibrated, where they were."""

    test: Predictions
    val: Predictions | None
    points: Points
    before: Predictions | None = None


Answering = Callable[[FittedFold, Array], Iterator[Answer]]
Watching = Callable[[FittedFold, str, Iterator[Answer]], Iterator[Answer]]  # of the answers to a split of a fold
Rows = Mapping[str, Array]  # split to row numbers


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


def fit_all(
    plan: Plan,
    model: ModelPlan,
    first: Learner,
    folds: Sequence[splits.Fold],
    moments: frozenset[str],
    context: RunContext,
    chosen: Callable[[Rows], Rows] = dict,
    selecting: bool = True,
) -> list[FittedFold]:
    """Fit on each fold's training cases. `first` has read the cases; later folds start from weights of their own.

    chosen     from the rows of each split to those that are used, such as few training cases
    selecting  on validation cases; where not, the last epoch stands and nothing is swept
    """
    fitted, cases = [], first.store.cases
    for number, fold in enumerate(folds):
        learner = first
        if number:
            learner = learner_of(plan, model)
            learner.read(cases, replace(context, checkpoint=context.checkpoint / f"fold{number}"))
        rows = chosen(cohort.rows_of(cases, fold, plan.task))
        notes = [*cohort.keep_stages_apart(plan, learner, fold, context), *cohort.held_out(cases, fold, plan.task)]
        held = rows["val"] if selecting else rows["val"][:0]
        choose = _chooser(plan, learner, held) if len(held) and not isinstance(plan.task, MakingTask) else None
        record = learner.fit(FoldRows(rows["train"], held), choose, moments)
        judging = judging_task(plan.task, StoredCases(learner.store, rows["train"]), context)
        fitted.append(FittedFold(learner, {**record, **({"notes": notes} if notes else {})}, rows, judging))
    return fitted


def judging_task(task: Task, train: StoredCases, context: RunContext) -> Task:
    """The task as answers are judged by it: beside the training images, where it judges images."""
    return task.beside(train, context.device) if isinstance(task, MakingTask) else task


def _chooser(plan: Plan, learner: Learner, rows: Array) -> Choose:
    """Values answers to the validation cases by the metric that is selected by; where that is the model's loss, a
    baseline without one is selected by the first metric."""
    true = StoredCases(learner.store, rows)
    spec = plan.specs[0] if plan.select.name == LOSS.name else plan.select

    def choose(answers: Answers) -> float:
        found = collect(plan.task, learner, true, iter(answers), None, [spec])
        return evaluate.value(plan.task, found, spec)

    return choose


def collect(
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


def collected(
    plan: Plan,
    fitted: Sequence[FittedFold],
    folder: Path | None,
    context: RunContext,
    *,
    answering: Answering | None = None,
    splits_answered: Sequence[str] = ("val", "test"),
    watched: Watching | None = None,
) -> Collected:
    """Answers of every fold to its validation and test cases, joined; files of test answers go to `folder`. `watched`
    sees every answer on its way."""
    ask = answering or (lambda fold, rows: fold.learner.answer(rows))
    parts: dict[str, list[Predictions]] = {"val": [], "test": []}
    for split, folders in (("val", None), ("test", folder)):
        if split == "val" and isinstance(plan.task, MakingTask):
            continue  # nothing is fixed on images that are made for validation cases
        for fold in fitted:
            rows = fold.rows[split]
            if not len(rows) or split not in splits_answered:
                continue
            answers = iter(context.console.track(ask(fold, rows), len(rows), f"{split} cases answered"))
            if watched is not None:
                answers = watched(fold, split, answers)
            parts[split].append(collect(fold.task, fold.learner, fold.true(split), answers, folders, plan.specs))
    test: Predictions = plan.task.join(parts["test"])
    val: Predictions | None = plan.task.join(parts["val"]) if parts["val"] else None
    wanted = plan.recipe.evaluate
    points = plan.task.operating_points(val, plan.specs, wanted.recalibrate, wanted.decide_at)
    held = None if val is None else plan.task.adjusted(val, points)
    before = test if points.recalibration is not None else None
    return Collected(plan.task.adjusted(test, points), held, points, before)


def seen(out: Path, fitted: Sequence[FittedFold], task: Task) -> Seen:
    """What the pictures of a task are made from."""
    places = [(fold, place) for fold in fitted for place in range(len(fold.rows["test"]))]

    def answer(place: int) -> Answer:
        fold, own = places[place]
        true = fold.true("test")
        found = next(iter(fold.learner.answer(fold.rows["test"][own : own + 1])))
        return task.settled(found, true.grid(own))

    return Seen(out, JoinedCases([fold.true("test") for fold in fitted]), answer, fitted[0].learner.adapter.preparer)
