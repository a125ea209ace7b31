"""Further tasks of a run, answered by the models that were fitted for the first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medvfm.core.array import Array
from medvfm.core.capabilities import ManyTaskAdapter
from medvfm.core.case import SPLITS
from medvfm.core.protocols import Answer, Record
from medvfm.engine import answering, fitting, judged
from medvfm.engine import record as records
from medvfm.engine.answering import Change
from medvfm.engine.case_store import JoinedCases, StoredCases
from medvfm.engine.context import RunContext
from medvfm.engine.fitting import FittedFold
from medvfm.engine.judged import Judged
from medvfm.engine.learners import FrozenLearner, Learner
from medvfm.engine.plan import Plan, TaskPlan
from medvfm.engine.result_tables import ResultTables
from medvfm.io.dataset import splits


@dataclass(frozen=True, eq=False)
class Further:
    """What is said of a further task: its numbers, and its part of the record."""

    judged: Judged
    record: Record


class SharingLearner(FrozenLearner):
    """Answers another task with the weights that a learner fitted, at any moment of its training."""

    def __init__(self, of: Learner, entry: TaskPlan, plan: Plan) -> None:
        assert isinstance(of.adapter, ManyTaskAdapter)
        super().__init__(of.adapter.answering(entry.task), entry.task, entry.task.truth_reader(plan.card))
        self._of = of

    def answer(
        self, rows: Array, variant: str | None = None, change: Change | None = None, seen: Array | None = None
    ) -> Iterator[Answer]:
        yield from answering.answers(self.adapter, self.store, rows, variant, change, self._of.towers, seen)

    @contextmanager
    def at(self, moment: str) -> Iterator[None]:
        with self._of.at(moment):
            yield


def evaluated(
    plan: Plan,
    other: TaskPlan,
    fitted: Sequence[FittedFold],
    folds: Sequence[splits.Fold],
    tables: ResultTables,
    out: Path,
    context: RunContext,
) -> Further:
    """A further task answered by the models that were fitted for the first, on the same split."""
    own = plan.of(other)
    again = []
    for fold, split in zip(fitted, folds, strict=True):
        learner = SharingLearner(fold.learner, other, plan)
        learner.read([c for c in fold.learner.store.cases if other.task.has_truth(c)], context)
        rows = {
            s: np.array([r for r, c in enumerate(learner.store.cases) if split.assigned.get(c.case_id) == s], int)
            for s in SPLITS
        }
        judging = fitting.judging_task(other.task, StoredCases(learner.store, rows["train"]), context)
        again.append(FittedFold(learner, {}, rows, judging))
    found = fitting.collected(own, again, None, context)
    numbers = judged.judged(own, again, found, folds, tables, context)
    with context.console.working("pictures"):
        pictures = own.task.pictures(found.test, found.points, own.specs, fitting.seen(out, again, own.task))
    true = JoinedCases([fold.true("test") for fold in again])
    record = own.task.describe() | {
        "positives": dict(zip(own.task.classes, np.nansum(own.task.presence(true), axis=0).tolist(), strict=True)),
        "baselines": numbers.baselines,
        "thresholds": records.thresholds(found.points),
        "baseline_thresholds": numbers.thresholds,
        **pictures,
    }
    return Further(replace(numbers), record)
