"""A finished model on another data set: everything that was fitted or fixed stays as it is.

Weights, windows, thresholds and recalibration are those of the run. Beside the numbers that they reach stand, as rows
of their own, those of scores that were scaled anew on the other set (Platt 1999), each case by the cases of other
patients.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from medvfm.core.array import Array
from medvfm.core.capabilities import PromptedAdapter
from medvfm.core.errors import DataError
from medvfm.core.plurals import plural, some
from medvfm.core.protocols import Adapter, Answer, Points, Predictions, Record
from medvfm.core.result_row import ResultRow, as_records
from medvfm.engine import answering, cohort, fitting, novelty, subgroups
from medvfm.engine import record as records
from medvfm.engine.case_store import CaseStore, StoredCases
from medvfm.engine.context import RunContext
from medvfm.engine.evaluate import Judging
from medvfm.engine.fitting import Collected, FittedFold
from medvfm.engine.learners import FrozenLearner
from medvfm.engine.plan import Plan
from medvfm.engine.result_tables import ResultTables
from medvfm.io import test_openings
from medvfm.io.dataset import case_names
from medvfm.io.dataset.cases import CaseTable

PARTS = 5  # of the patients, for scaling anew
SCALED = "recalibrated=anew"
NOT_COMPARED = (
    "The run keeps no pixels of its training cases to compare with (it is older than this check, or came without its "
    "private folder): that the sets share no image is not shown."
)


@dataclass(frozen=True)
class TrainedOn:
    """Whom and what the run was trained or fixed on; None where the run cannot tell."""

    patients: frozenset[str] | None
    pixels: frozenset[str] | None

    @classmethod
    def of(cls, table: pd.DataFrame | None) -> TrainedOn:
        """From private/cases.csv of the run."""
        if table is None:
            return cls(None, None)
        if "split" not in table:
            return cls(frozenset(table["patient_id"]), None)
        seen = table[table["split"].isin(["train", "val", "folds"])]
        return cls(frozenset(seen["patient_id"]), frozenset(seen["pixels"]) - {""})


@dataclass(frozen=True, eq=False)
class Carried:
    """What a run carries to other data: its adapters, one a fold, and what was fixed on its validation cases."""

    adapters: Sequence[Adapter]
    points: Points
    trained_on: TrainedOn


def judged(
    plan: Plan, carried: Carried, table: CaseTable, out: Path, context: RunContext, *, same_patients: bool
) -> Record:
    """Answers, rows and warnings of every case of the other card that has a truth. Writes the tables of `out`.

    plan           of the run, with the other card and the task as that card has it
    same_patients  a patient's name that is in both sets is one person
    """
    learner = _learner(plan, carried.adapters[0])
    table = novelty.inside(plan.card, table)
    readable = cohort.read(plan, learner, table, context)
    cases = learner.store.cases
    _refuse_shared(plan, learner.store, carried.trained_on, context, same_patients=same_patients)
    adapter = learner.adapter
    prompts = adapter.check_prompts(cases, cases, plan.shown) if isinstance(adapter, PromptedAdapter) else []
    rows = np.arange(len(cases))
    true = StoredCases(learner.store, rows)
    answers = context.console.track(_answers(plan, carried, learner, rows, context), len(rows), "cases answered")
    settled = (plan.task.settled(answer, true.grid(place)) for place, answer in enumerate(answers))
    probabilities = adapter.probabilities or carried.points.recalibration is not None
    found: Predictions = plan.task.collect(true, settled, out, plan.specs, probabilities)
    points = _one_fold(carried.points)
    openings = test_openings.open_test_set(plan.card.name, plan.task.name, plan.task.classes)
    split = f"external:{plan.card.name}"
    wanted = plan.recipe.evaluate
    columns = [c for c in subgroups.columns_of(wanted.subgroups) if c in found.groups]
    judging = Judging(plan.task, plan.specs, wanted.confidence, plan.recipe.seed)
    with context.console.working("metrics and their intervals"):
        made = [
            row
            for group, seen in judging.views(found).items()
            for row in judging.rows(seen, points, split=split, group=group, note=adapter.oracle)
        ]
        asked = [c for c in wanted.subgroups if set(subgroups.columns_of([c])) <= set(columns)]
        smallest = wanted.smallest_intersection
        made += subgroups.rows(judging, found, points, asked, smallest=smallest, split=split, note=adapter.oracle)
        anew, said = scaled_anew(judging, found, split)
    tables = ResultTables({c.case_id: c.owner for c in cases}, columns, safe_ids=plan.safe_ids)
    tables.add(Collected(found, None, points), None, called=split)
    tables.write(out)
    with context.console.working("pictures"):
        fold = FittedFold(learner, {}, {"test": rows}, plan.task)
        pictures = plan.task.pictures(found, points, plan.specs, fitting.seen(out, [fold], plan.task))
    unknown = [] if carried.trained_on.pixels is not None else [NOT_COMPARED]
    all_rows = [*made, *anew]
    known = any(case.patient_id is not None for case in cases)
    return {
        "task": plan.task.describe(),
        "data": {
            "card": records.card_summary(plan.card),
            "layout": table.layout,
            **records.cases(cases, plan.task.presence(true), {c.case_id: "test" for c in cases}, plan.task),
            "flow": readable.flow,
            "left_out": case_names.reasons(readable.left_out, safe=plan.safe_ids),
            "folds": 1,
            "test_openings": openings,
        },
        **pictures,
        "warnings": [
            *records.oracle_warning(adapter.oracle),
            *records.warnings(plan.card, all_rows, openings, known),
            *unknown,
            *table.warnings,
            *prompts,
            *said,
        ],
        "metrics": as_records(all_rows),
    }


def _learner(plan: Plan, adapter: Adapter) -> FrozenLearner:
    """Reads files as the other card says, and prepares them as the run did."""
    learner = FrozenLearner(adapter, plan.task, plan.task.truth_reader(plan.card))
    if dict(adapter.preparer.read) != dict(plan.card.reading):
        own = replace(adapter.preparer, read=plan.card.reading)  # type: ignore[type-var]
        learner.store = CaseStore(own, plan.task.truth_reader(plan.card), plan.task)
    return learner


def _answers(
    plan: Plan, carried: Carried, learner: FrozenLearner, rows: Array, context: RunContext
) -> Iterator[Answer]:
    """The answers of all folds to a case as one."""
    for adapter in carried.adapters:
        adapter.module.to(context.device)
    each = [answering.answers(adapter, learner.store, rows) for adapter in carried.adapters]
    for answers in zip(*each, strict=True):
        yield plan.task.combine(answers, carried.points)


def _one_fold(points: Points) -> Points:
    """Thresholds as they decide answers of all folds together: their mean, as `medvfm predict` takes it. Scores that
    are combined are recalibrated already."""
    cuts = {}
    for key, values in points.thresholds.items():
        known = values[np.isfinite(values)]
        cuts[key] = np.array([known.mean() if len(known) else np.nan])
    return replace(points, thresholds=cuts, recalibration=None)


def _refuse_shared(
    plan: Plan, store: CaseStore, trained_on: TrainedOn, context: RunContext, *, same_patients: bool
) -> None:
    """Stop where a case of the other set was trained on, or is of a patient who was; cases are named, patients not."""
    pixels = trained_on.pixels or frozenset()
    twins = [
        case.case_id
        for case, key in zip(store.cases, store.fingerprints(context), strict=True)
        if key is not None and key in pixels
    ]
    if twins:
        raise DataError(
            f"{plural(len(twins), 'case')} of {plan.card.name} show images that the run was trained on: {some(twins)}",
            remedy="take them out of the set: what was trained on tests nothing",
        )
    names = trained_on.patients or frozenset()
    shared = [c.case_id for c in store.cases if c.patient_id is not None and c.owner in names] if same_patients else []
    if shared:
        raise DataError(
            f"{plural(len(shared), 'case')} of {plan.card.name} are of patients whom the run was trained on: "
            f"{some(shared)}",
            remedy="take them out of the set; if the same names stand for other people there, say --other-patients",
        )


def scaled_anew(judging: Judging, found: Predictions, split: str) -> tuple[list[ResultRow], list[str]]:
    """Rows of probabilities that were scaled on the other set, each fifth of the patients by the other four; and why
    there are none, where there should be some."""
    specs = [s for s in judging.specs if s.metric.takes == "probability"]
    owners = sorted(set(found.patients.tolist()), key=str)
    if not specs or len(owners) < PARTS:
        return [], []
    order = np.random.default_rng(judging.seed).permutation(len(owners))
    part_of = {owners[place]: number % PARTS for number, place in enumerate(order.tolist())}
    part = np.array([part_of[p] for p in found.patients.tolist()])
    made = []
    for number in range(PARTS):
        try:
            points = judging.task.operating_points(found.subset(part != number), [], "platt")
        except DataError as reason:
            return [], [f"Probabilities were not scaled anew: {reason.what}."]
        if points.recalibration is None:
            return [], [f"Probabilities were not scaled anew: {points.left_as_they_are}."] * bool(
                points.left_as_they_are
            )
        made.append(judging.task.adjusted(found.subset(part == number), points))
    parts = judging.task.join(made)
    whole = replace(parts, fold=np.zeros(len(parts.ids), dtype=int))
    note = f"scaled anew on the other set (Platt), each fifth of its patients by the other four ({len(owners)} in all)"
    return judging.rows(whole, Points(), split=split, group=SCALED, note=note, specs=specs), []
