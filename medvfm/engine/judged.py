"""Everything that is said of the answers to one task: the model, groups, other ways to ask, few cases, baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medvfm.core.protocols import Points, Record
from medvfm.core.result_row import ResultRow
from medvfm.engine import baselines, few_shot, repeats, subgroups, variants
from medvfm.engine import record as records
from medvfm.engine.baselines import AskedBaseline
from medvfm.engine.context import RunContext
from medvfm.engine.evaluate import Judging
from medvfm.engine.fitting import Collected, FittedFold
from medvfm.engine.plan import Plan
from medvfm.engine.repeats import Repeat
from medvfm.engine.result_tables import ResultTables
from medvfm.io.dataset import splits

FIRST_SEED = "of the first seed alone"
NOT_RECALIBRATED = "recalibrated=no"


@dataclass(frozen=True, eq=False)
class Judged:
    """Rows, test rows of the model first; what run.json says of each baseline, its thresholds, and warnings.

    variants  how long the model took where it was asked in another way: `{group, cases, seconds}`
    repeats   answers of further seeds
    """

    rows: list[ResultRow]
    baselines: dict[str, Record]
    thresholds: dict[str, Record]
    warnings: list[str]
    variants: list[Record]
    repeats: Sequence[Repeat] = ()


def judged(
    plan: Plan,
    fitted: Sequence[FittedFold],
    found: Collected,
    folds: Sequence[splits.Fold],
    tables: ResultTables,
    context: RunContext,
    out: Path | None = None,
) -> Judged:
    """Numbers of the first task of `plan`; predictions go to `tables`, those of further seeds to folders in `out`."""
    recipe, task = plan.recipe, plan.task
    judging = Judging(task, plan.specs, recipe.evaluate.confidence, recipe.seed)
    oracle = fitted[0].learner.adapter.oracle
    asked: dict[str, AskedBaseline] = {}
    for name, made in plan.baselines.items():
        context.console.say(f"baseline {name}")
        with context.console.working(f"fitting {name}"):
            asked[name] = baselines.answered(plan, name, made, folds, fitted, found, context)
    again = repeats.answered(plan, fitted[0].learner.store.cases, folds, asked, out, context)
    every = repeats.joined(found, again)
    with context.console.working("metrics and their intervals"):
        rows = [
            row
            for group, seen in judging.views(every.test).items()
            for row in judging.rows(seen, every.points, group=group, note=oracle)
        ]
        main = list(rows)
        rows += subgroups.rows(
            judging,
            every.test,
            every.points,
            recipe.evaluate.subgroups,
            smallest=recipe.evaluate.smallest_intersection,
            note=oracle,
        )
        rows += _before(judging, every, oracle)
        if every.val is not None:
            rows += judging.rows(every.val, replace(every.points, in_sample=True), split="val", note=oracle)
    varied, took = variants.rows(plan, judging, fitted, found.points, context)
    worded = variants.wordings(plan, judging, fitted, found.points, context)
    rows += _of_the_first([*varied, *worded], again)
    tables.add(found, None, task=plan.named)
    fixed: dict[str, Record] = {}
    for name, base in asked.items():
        with context.console.working(f"evaluating {name}"):
            rows += baselines.rows(judging, name, [base, *(other.baselines[name] for other in again)], every)
        fixed[name] = records.thresholds(base.draws[0].points)
        tables.add(base.draws[0], name, task=plan.named)
    if plan.fits:
        few = few_shot.rows(plan, judging, fitted[0].learner.store.cases, folds, context)
        rows += _of_the_first(few, again)
    if out is not None:
        for other in again:
            beside = tables.beside()
            beside.add(other.found, None, task=plan.named)
            for name, base in other.baselines.items():
                beside.add(base.draws[0], name, task=plan.named)
            beside.write(out / repeats.FOLDER / str(other.seed), names=False)
    rows = [replace(row, task=plan.named) for row in rows]
    said = {name: base.record for name, base in asked.items()}
    return Judged(rows, said, fixed, variants.sway(worded, main), took, again)


def _before(judging: Judging, found: Collected, note: str | None) -> list[ResultRow]:
    """What recalibration changed: numbers of probabilities as they were without it, where the scores were such."""
    specs = [spec for spec in judging.specs if spec.metric.takes in ("probability", "class_score")]
    if found.before is None or not specs:
        return []
    made = judging.rows(found.before, Points(), group=NOT_RECALIBRATED, note=note, specs=specs)
    return made if any(row.value is not None for row in made) else []


def _of_the_first(rows: Sequence[ResultRow], again: Sequence[Repeat]) -> list[ResultRow]:
    """With a note where other rows are of several seeds."""
    if not again:
        return list(rows)
    return [replace(row, note="; ".join(n for n in (FIRST_SEED, row.note) if n)) for row in rows]
