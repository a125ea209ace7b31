"""Everything that is said of the answers to one task: the model, groups, other ways to ask, few cases, baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from medvfm.core.protocols import Record
from medvfm.core.result_row import ResultRow
from medvfm.engine import baselines, few_shot, subgroups, variants
from medvfm.engine import record as records
from medvfm.engine.context import RunContext
from medvfm.engine.evaluate import Judging
from medvfm.engine.fitting import Collected, FittedFold
from medvfm.engine.plan import Plan
from medvfm.engine.result_tables import ResultTables
from medvfm.io.dataset import splits


@dataclass(frozen=True, eq=False)
class Judged:
    """Rows, test rows of the model first; what run.json says of each baseline, its thresholds, and warnings."""

    rows: list[ResultRow]
    baselines: dict[str, Record]
    thresholds: dict[str, Record]
    warnings: list[str]


def judged(
    plan: Plan,
    fitted: Sequence[FittedFold],
    found: Collected,
    folds: Sequence[splits.Fold],
    tables: ResultTables,
    context: RunContext,
) -> Judged:
    """Numbers of the first task of `plan`; predictions go to `tables`."""
    recipe, task = plan.recipe, plan.task
    judging = Judging(task, plan.specs, recipe.evaluate.confidence, recipe.seed)
    oracle = fitted[0].learner.adapter.oracle
    with context.console.working("metrics and their intervals"):
        rows = [
            row
            for group, seen in judging.views(found.test).items()
            for row in judging.rows(seen, found.points, group=group, note=oracle)
        ]
        main = list(rows)
        rows += subgroups.rows(
            judging,
            found.test,
            found.points,
            recipe.evaluate.subgroups,
            smallest=recipe.evaluate.smallest_intersection,
            note=oracle,
        )
        if found.val is not None:
            rows += judging.rows(found.val, replace(found.points, in_sample=True), split="val", note=oracle)
    rows += variants.rows(plan, judging, fitted, found.points, context)
    worded = variants.wordings(plan, judging, fitted, found.points, context)
    rows += worded
    tables.add(found, None, task=plan.named)
    others: dict[str, Record] = {}
    fixed: dict[str, Record] = {}
    for name, made in plan.baselines.items():
        context.console.say(f"baseline {name}")
        with context.console.working(f"fitting and evaluating {name}"):
            base, more, others[name] = baselines.evaluated(plan, judging, name, made, folds, fitted, found, context)
        rows += more
        fixed[name] = records.thresholds(base.points)
        tables.add(base, name, task=plan.named)
    if plan.fits:
        rows += few_shot.rows(plan, judging, fitted[0].learner.store.cases, folds, context)
    rows = [replace(row, task=plan.named) for row in rows]
    return Judged(rows, others, fixed, variants.sway(worded, main))
