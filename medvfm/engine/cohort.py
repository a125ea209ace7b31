"""The cases of a run: which are read, how they are split, and that nothing leaks between the splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medvfm.core.array import Array
from medvfm.core.case import SPLITS, Case
from medvfm.core.errors import DataError
from medvfm.core.plurals import plural, some
from medvfm.core.protocols import Record, Task
from medvfm.core.task_capabilities import MakingTask
from medvfm.engine import case_reading
from medvfm.engine.case_store import CaseStore
from medvfm.engine.context import RunContext
from medvfm.engine.learners import Learner
from medvfm.engine.loop_learner import LoopLearner
from medvfm.engine.plan import Plan
from medvfm.io.dataset import case_names, content_hash, contradictions, leakage, splits
from medvfm.io.dataset.cases import CaseTable
from medvfm.io.read import read_image


@dataclass(frozen=True, eq=False)
class Readable:
    """What happened to the cases of a table on their way to the analysis: flow, and (case_id, reason) of those left
    out."""

    flow: list[Record]
    left_out: list[tuple[str, str]]


def read(plan: Plan, learner: Learner, table: CaseTable, context: RunContext) -> Readable:
    """Read the cases that have a truth for one of the tasks; the learner's store holds those that can be used."""
    known = case_names.with_stems(table.cases, safe=plan.safe_ids)
    labelled = [case for case in known if any(entry.task.has_truth(case) for entry in plan.tasks)]
    context.console.say(f"reading {plural(len(labelled), 'case')}")
    with context.console.working("looking at files"):
        left_out = learner.read(labelled, context)
    readable = learner.store.cases
    if not readable:
        first = f"; {left_out[0][0]}: {left_out[0][1]}" if left_out else ""
        raise DataError(f"no case could be read{first}", remedy="`medvfm data check` lists every problem")
    flow = [*table.flow]
    if len(labelled) < len(table.cases):
        flow.append(_lost("without a label for this question", table.cases, labelled))
    if left_out:
        flow.append(_lost("unreadable", labelled, readable))
    flow.append({"step": "analysed", "cases": len(readable), "patients": len({c.owner for c in readable})})
    return Readable(flow, [*table.left_out, *left_out])


def read_again(learner: Learner, cases: Sequence[Case], name: str, context: RunContext) -> None:
    """A baseline must be able to use every case that the model uses."""
    left_out = learner.read(cases, context)
    if len(learner.store.cases) != len(cases):
        case_id, reason = left_out[0]
        raise DataError(f"baseline {name} cannot use {len(left_out)} of the cases: {case_id}: {reason}")


def folds(plan: Plan, learner: Learner, context: RunContext) -> list[splits.Fold]:
    """The split or splits of the cases that the learner has read, checked for leaks."""
    recipe = plan.recipe
    cases = learner.store.cases
    pixels = _pixel_keys(learner.store, context)
    found = splits.split_cases(cases, recipe.split, recipe.seed, plan.task.stratify())
    if recipe.split.leaks == "drop":
        found = [_without_leaks(cases, fold, pixels, plan.safe_ids) for fold in found]
    known = plan.card.split_leaks if recipe.split.origin == "card" and recipe.split.leaks == "stop" else None
    if known is not None:
        found = [_with_known_leak(cases, fold, known, plan.card.patients, context) for fold in found]
    else:
        for fold in found:
            leakage.check(cases, fold.assigned, pixels)  # raises, naming the cases
    told = (
        *contradictions.labels_apart(cases, pixels, plan.shown),
        *contradictions.patients_apart(cases, pixels, plan.shown),
        *contradictions.masks_apart(cases, pixels, plan.shown),
        *contradictions.turned_apart(cases, plan.shown),
    )
    return [replace(fold, warnings=(*fold.warnings, *told)) for fold in found] if told else found


def uses(learner: Learner, folds: Sequence[splits.Fold], context: RunContext) -> dict[str, case_names.Use]:
    """case_id to its split and the fingerprint of its pixels: what a later test on other data must not share."""
    prints = learner.store.fingerprints(context)
    found = {}
    for case, fingerprint in zip(learner.store.cases, prints, strict=True):
        held = {fold.assigned[case.case_id] for fold in folds if case.case_id in fold.assigned}
        split = "folds" if len(held) > 1 else next(iter(held), "")
        found[case.case_id] = case_names.Use(split, fingerprint or "")
    return found


def keep_stages_apart(plan: Plan, learner: Learner, fold: splits.Fold, context: RunContext) -> list[str]:
    """A stage's own data must hold no patient and no image of validation or test: stops and names them, or leaves them
    out of the stage where `split.leaks` says drop. Returns notes on what was left out."""
    if not isinstance(learner, LoopLearner):
        return []
    held = [case for case in learner.store.cases if fold.assigned.get(case.case_id) in ("val", "test")]
    notes, out = [], {}
    for number, store in learner.stage_stores.items():
        shared = _shared(store, held, learner.store, context)
        if not shared:
            continue
        what = f"{plural(len(shared), 'case')} of the data of stage {number + 1}"
        if plan.recipe.split.leaks != "drop":
            raise DataError(
                f"{what} share a patient or an image with validation or test: {some(sorted(shared))}",
                where=f"adapter.stages.{number}.data",
                remedy="take them out of the stage's data, or say split.leaks=drop",
            )
        out[number] = shared
        shown = sorted(case_names.names(shared, safe=plan.safe_ids).values())
        notes.append(f"{what} were left out: their patients or images occur in validation or test ({some(shown)}).")
    learner.leave_out_of_stages(out)
    empty = [number for number in out if not learner.stage_stores[number].cases]
    if empty:
        raise DataError(f"no case of the data of stage {empty[0] + 1} is left", where=f"adapter.stages.{empty[0]}.data")
    return notes


def rows_of(cases: Sequence[Case], fold: splits.Fold, task: Task) -> dict[str, Array]:
    """Row numbers of each split with a truth for the task; training and test must not be empty."""
    rows = {
        s: np.array([r for r, c in enumerate(cases) if fold.assigned.get(c.case_id) == s and task.has_truth(c)], int)
        for s in SPLITS
    }
    if isinstance(task, MakingTask):
        rows |= {s: np.array([r for r in rows[s] if task.learns_from(cases[r])], int) for s in ("train", "val")}
    for split in ("train", "test"):
        if not len(rows[split]):
            raise DataError(
                f"no case is left in {split}", remedy="look at `split`, and at the cases that were left out"
            )
    return rows


def held_out(cases: Sequence[Case], fold: splits.Fold, task: Task) -> list[str]:
    """A note on training cases that a task of making images keeps from the model."""
    if not isinstance(task, MakingTask):
        return []
    kept = [c for c in cases if fold.assigned.get(c.case_id) in ("train", "val") and not task.learns_from(c)]
    if not kept:
        return []
    return [
        f"{plural(len(kept), 'case')} of training and validation were held out, as the model shall make their like."
    ]


def _lost(step: str, before: Sequence[Case], after: Sequence[Case]) -> Record:
    owners = {c.owner for c in before} - {c.owner for c in after}
    return {"step": step, "cases": len(after) - len(before), "patients": -len(owners)}


def _without_leaks(cases: Sequence[Case], fold: splits.Fold, pixels: leakage.Pixels, safe_ids: bool) -> splits.Fold:
    assigned, dropped = leakage.drop(cases, fold.assigned, pixels)
    if not dropped:
        return fold
    dropped = list(case_names.names(dropped, safe=safe_ids).values())
    note = f"{len(dropped)} cases were left out because their pixels occur in another split: {some(dropped)}."
    return splits.Fold(assigned, (*fold.warnings, note))


def _with_known_leak(
    cases: Sequence[Case], fold: splits.Fold, why: str, owner: str, context: RunContext
) -> splits.Fold:
    """A published split that its card calls leaky is used as it is, with a warning. owner: what the card's patients
    are."""
    owners = {s: {c.owner for c in cases if fold.assigned.get(c.case_id) == s} for s in SPLITS}
    shared = owners["test"] & (owners["train"] | owners["val"])
    unit = "patient" if owner in ("known", "none") else owner
    said = (
        f"This split leaks: {why} Here {len(shared)} of {plural(len(owners['test']), f'test {unit}')} are in training "
        "or validation too. Numbers can be compared with published ones on this split alone, and are too high."
    )
    context.console.say(f"  {said}")
    return splits.Fold(fold.assigned, (*fold.warnings, said))


@dataclass(frozen=True)
class _PixelKeyReader:
    """`leakage.pixel_key` of every image of a case."""

    read: Mapping[str, object]

    def key(self) -> str:
        return "pixels"

    def files(self, case: Case) -> Sequence[Path]:
        return case.files

    def __call__(self, case: Case) -> list[str]:
        return [leakage.pixel_key(read_image(path, **self.read).voxels) for path in case.files]  # type: ignore[arg-type]


def _pixel_keys(store: CaseStore, context: RunContext) -> leakage.Pixels:
    """case_id to the pixel keys of likely duplicates, to detect leakage between splits and contradictions whatever the
    file format.

    Copies look the same once they are prepared for the model. Cases that do are decoded once more, in full.
    """
    cases = store.cases
    doubtful = contradictions.prints_of(cases, store.fingerprints(context))
    return _keys_of(store, doubtful, context)


def _keys_of(store: CaseStore, cases: Sequence[Case], context: RunContext) -> leakage.Pixels:
    reader = _PixelKeyReader({**store.preparer.read, "nan": store.preparer.prepare.invalid})
    found = case_reading.prepared(cases, reader, context.workers, strict=False)
    return {case.case_id: keys for case, keys in zip(cases, found, strict=True) if not isinstance(keys, str)}


def _shared(store: CaseStore, held: Sequence[Case], own: CaseStore, context: RunContext) -> set[str]:
    """case_id of the stage's cases that share a patient, a file's content or prepared pixels with the held cases."""
    patients = {case.patient_id for case in held if case.patient_id is not None}
    content = set(_contents(held))
    held_ids = {case.case_id for case in held}
    prints = {
        fingerprint
        for case, fingerprint in zip(own.cases, own.fingerprints(context), strict=True)
        if case.case_id in held_ids and fingerprint is not None
    }
    found = set()
    for case, fingerprint in zip(store.cases, store.fingerprints(context), strict=True):
        same = case.patient_id in patients or fingerprint in prints or content & set(_contents([case]))
        if same:
            found.add(case.case_id)
    return found


def _contents(cases: Sequence[Case]) -> list[str]:
    keys = content_hash.content_keys([[path] for case in cases for path in case.files])
    return [key for key in keys if not isinstance(key, Exception)]
