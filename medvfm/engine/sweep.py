"""Several models on few to all training patients, judged on the same test cases: learning curves.

Patients are drawn anew several times; within one draw fewer patients are some of the more. A draw has a training seed
of its own. Rows are means over draws, and their intervals hold the test patients and the draws: statistics.seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medvfm.core.array import Array
from medvfm.core.case import Case
from medvfm.core.protocols import Record
from medvfm.core.recipe import Recipe
from medvfm.core.result_row import as_records
from medvfm.engine import checkpoint, checkpoint_data, cohort, fitting
from medvfm.engine import record as records
from medvfm.engine import run as engine_run
from medvfm.engine.case_store import StoredCases
from medvfm.engine.context import RunContext
from medvfm.engine.evaluate import Judging
from medvfm.engine.fitting import Collected, Rows
from medvfm.engine.of_seeds import OfSeeds
from medvfm.engine.plan import Plan
from medvfm.engine.result_tables import ResultTables
from medvfm.io import run_directory, test_openings
from medvfm.io.console import SILENT
from medvfm.io.dataset import case_names, splits
from medvfm.io.dataset.cases import CaseTable

LEAST = {"train": 1, "val": 1}  # patients of each stratum, whatever the share


@dataclass(frozen=True)
class SweptModel:
    """A combination: its name, what it changes, and its plan with the seed of each draw."""

    name: str
    changes: Mapping[str, object]
    plans: Sequence[Plan]


def run(recipe: Recipe, models: Sequence[SweptModel], table: CaseTable, out: Path, context: RunContext) -> Record:
    """Fit and judge every model on every share of patients; writes everything but the report. recipe: of the sweep."""
    plan, clock = models[0].plans[0], engine_run.Clock()
    task = plan.task
    assert recipe.sweep is not None
    record = records.beginning(recipe, plan.card, table.layout, context.device) | {"kind": "sweep"}
    run_directory.write_yaml(out / run_directory.RECIPE, recipe.as_data())
    run_directory.write_yaml(out / run_directory.CARD, plan.card.as_data())
    run_directory.write_json(out / run_directory.RECORD, record)
    start = engine_run.ready(plan, table, context)
    cases, folds = start.learner.store.cases, start.folds
    checkpoint_data.hold(context.checkpoint, plan, start.learner, folds)
    clock.lap("reading")
    openings = test_openings.open_test_set(plan.card.name, task.name, task.classes)
    judging = Judging(task, plan.specs, recipe.evaluate.confidence, recipe.seed)
    tables = ResultTables({c.case_id: c.owner for c in cases}, [], safe_ids=plan.safe_ids)
    rows: list[Record] = []
    for model in models:
        for share in recipe.sweep.patients:
            with context.console.working(f"{model.name}, {100 * share:g}% of patients"):
                drawn = list(_drawn(model, share, cases, folds, context))
            rows += _rows(judging, model, share, drawn)
            for number, found in enumerate(drawn):
                label = f"{model.name}, {found.patients} patients, draw {number}"
                tables.add(replace(found.answers, val=None), label)
        clock.lap(model.name)
    tables.write(out)
    every = StoredCases(start.learner.store, np.arange(len(cases)))
    record |= {
        "status": "complete",
        "task": task.describe(),
        "data": record["data"]
        | records.cases(cases, task.presence(every), folds[0].assigned, task)
        | {
            "flow": start.readable.flow,
            "left_out": case_names.reasons(start.readable.left_out, safe=plan.safe_ids),
            "folds": len(folds),
            "test_openings": openings,
        },
        "sweep": {
            "models": [{"name": m.name, "changes": dict(m.changes), **m.plans[0].model.facts} for m in models],
            "metric": plan.specs[0].name,
            "reach": recipe.sweep.reach,
            "draws": recipe.sweep.draws,
        },
        "warnings": list(
            dict.fromkeys(
                [
                    *(said for m in models for said in records.pretraining_warning(m.plans[0].model.facts)),
                    *records.warnings(plan.card, [], openings, any(c.patient_id is not None for c in cases)),
                    *table.warnings,
                    *(warning for fold in folds for warning in fold.warnings),
                ]
            )
        ),
        "metrics": rows,
    }
    record["seconds"] = clock.seconds()
    run_directory.write_json(out / run_directory.RECORD, record)
    checkpoint.remove(context.checkpoint)
    return record


@dataclass(frozen=True, eq=False)
class Drawn:
    """One draw of so many training patients (of the first fold), and the answers of the model fitted on them."""

    patients: int
    cases: int
    answers: Collected


def _drawn(
    model: SweptModel, share: float, cases: Sequence[Case], folds: Sequence[splits.Fold], context: RunContext
) -> Iterator[Drawn]:
    """Each draw; of all patients there is one where fitting them again would give the same."""
    same = share == 1 and all(stage.method.fits != "weights" for stage in model.plans[0].model.stages)
    for draw, plan in enumerate(model.plans[:1] if same else model.plans):
        folder = context.checkpoint / f"{model.name}-{share:g}-{draw}".replace("/", "_").replace(" ", "_")
        own = replace(context, console=SILENT, checkpoint=folder)
        learner = fitting.learner_of(plan, plan.model)
        cohort.read_again(learner, cases, model.name, own)
        chosen = chooser(plan, cases, share, draw)
        fitted = fitting.fit_all(plan, plan.model, learner, folds, frozenset(), own, chosen)
        taken = fitted[0].rows["train"]
        owners = {cases[int(r)].owner for r in taken}
        yield Drawn(len(owners), len(taken), fitting.collected(plan, fitted, None, own))


def chooser(plan: Plan, cases: Sequence[Case], share: float, draw: int) -> Callable[[Rows], Rows]:
    """From the rows of each split to those of the share of its patients, drawn by the draw; test rows stay."""

    def chosen(rows: Rows) -> Rows:
        some = {}
        for number, (split, least) in enumerate(LEAST.items()):
            held = rows[split]
            labels = plan.task.labels([cases[int(r)] for r in held])
            owners = np.array([cases[int(r)].owner for r in held], dtype=object)
            # the split's seed is that of the recipe; a draw counts from it
            rng = np.random.default_rng([plan.recipe.seed, number, draw, 4])
            some[split] = held[few_patients(owners, labels, share, least, rng)] if len(held) else held
        return {**rows, **some}

    return chosen


def few_patients(owners: Array, labels: Array | None, share: float, least: int, rng: np.random.Generator) -> Array:
    """(n,) which cases are of the drawn patients: the share of those with each set of labels, rounded up, and `least`
    at least, so that both classes are there. More patients of one draw hold the fewer."""
    names, codes = np.unique(owners.astype(str), return_inverse=True)
    have = np.zeros((len(names), 1 if labels is None else labels.shape[1]), dtype=bool)
    if labels is not None:
        np.logical_or.at(have, codes, np.nan_to_num(labels) > 0.5)
    _, stratum = np.unique(have, axis=0, return_inverse=True)
    stratum = stratum.reshape(-1)
    order = rng.permutation(len(names))
    taken = np.zeros(len(names), dtype=bool)
    for kind in np.unique(stratum):
        inside = order[stratum[order] == kind]
        taken[inside[: max(least, int(np.ceil(share * len(inside) - 1e-9)))]] = True
    return np.asarray(taken[codes])


def _rows(judging: Judging, model: SweptModel, share: float, drawn: Sequence[Drawn]) -> list[Record]:
    """Rows of one model on one share of patients: means over draws, with the model and what it was fitted on."""
    first = drawn[0].answers
    points = replace(first.points, of_seeds=tuple(d.answers.points for d in drawn))
    test = first.test if len(drawn) == 1 else OfSeeds(tuple(d.answers.test for d in drawn))
    group = f"patients={drawn[0].patients}"
    made = judging.rows(test, points if len(drawn) > 1 else first.points, group=group)
    said = {"model": model.name, "share": share, "train_patients": drawn[0].patients, "train_cases": drawn[0].cases}
    found = as_records([replace(row, note=(row.note or "").replace(" seeds, from", " draws, from") or None)
                        for row in made])  # fmt: skip
    return [row | said | {"draws": len(drawn)} for row in found]
