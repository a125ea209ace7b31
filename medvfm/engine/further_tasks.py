"""Further tasks of a run, answered by the models that were fitted for the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from medvfm.core.capabilities import ManyTaskAdapter
from medvfm.core.protocols import Record
from medvfm.core.result_row import ResultRow
from medvfm.engine import fitting
from medvfm.engine.context import RunContext
from medvfm.engine.evaluate import Judging
from medvfm.engine.fitting import FittedFold
from medvfm.engine.learners import FrozenLearner
from medvfm.engine.plan import Plan, TaskPlan
from medvfm.engine.result_tables import ResultTables
from medvfm.io.dataset import splits


def evaluated(
    plan: Plan,
    other: TaskPlan,
    fitted: Sequence[FittedFold],
    folds: Sequence[splits.Fold],
    tables: ResultTables,
    context: RunContext,
) -> tuple[list[ResultRow], Record]:
    """A further task answered by the models that were fitted for the first, on the same split."""
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
    found = fitting.collected(other_plan, again, None, context)
    judging = Judging(other.task, other.specs, plan.recipe.evaluate.confidence, plan.recipe.seed)
    numbers = judging.rows(found.test, found.points)
    if found.val is not None:
        numbers += judging.rows(found.val, replace(found.points, in_sample=True), split="val")
    tables.add(found, None, task=other.task.name)
    return [replace(row, task=other.task.name) for row in numbers], other.task.describe()
