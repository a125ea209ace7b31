"""The steps that every run takes, whatever it answers: which cases are read, how they are split, how long it took."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medvfm.core.case import SPLITS, Case
from medvfm.core.errors import DataError
from medvfm.core.recipe import Recipe
from medvfm.engine import copies
from medvfm.engine.context import RunContext
from medvfm.io.dataset import leakage, splits
from medvfm.io.dataset.cases import CaseTable


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
class Readable:
    """Readable, labelled cases, and what happened to the others."""

    cases: list[Case]
    flow: list[dict[str, Any]]
    left_out: list[tuple[str, str]]

    def reasons(self) -> list[dict[str, str]]:
        return [{"case_id": case_id, "reason": reason} for case_id, reason in self.left_out]


def read(question: Any, learner: Any, table: CaseTable, around: RunContext) -> Readable:
    """Labelled cases that can be read, and the flow from the table to them."""
    labelled = [case for case in table.cases if question.labelled(case)]
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
    return Readable(readable, flow, [*table.left_out, *left_out])


def read_again(learner: Any, cases: Sequence[Case], name: str, around: RunContext) -> None:
    """A baseline must be able to use every case that the model uses."""
    readable, left_out = learner.read(cases, around)
    if len(readable) != len(cases):
        case_id, reason = left_out[0]
        raise DataError(f"baseline {name} cannot use {len(left_out)} of the cases: {case_id}: {reason}")


def folds(
    recipe: Recipe, cases: Sequence[Case], balanced: Sequence[str], learner: Any, around: RunContext
) -> list[splits.Fold]:
    """The split or splits, checked for leaks; `balanced` names the classes that are held in balance.

    `learner` has read the cases.
    """
    pixels = copies.pixels(cases, learner, around)
    found = splits.split_cases(cases, recipe.split, recipe.seed, balanced)
    if recipe.split.leaks == "drop":
        found = [_without_leaks(cases, fold, pixels) for fold in found]
    for fold in found:
        leakage.check(cases, fold.assigned, pixels)  # raises, naming the cases
    return found


def rows_of(cases: Sequence[Case], fold: splits.Fold) -> dict[str, np.ndarray]:
    """Row numbers of each split; training and test must not be empty."""
    rows = {s: np.array([r for r, c in enumerate(cases) if fold.assigned.get(c.case_id) == s], int) for s in SPLITS}
    for split in ("train", "test"):
        if not len(rows[split]):
            raise DataError(
                f"no case is left in {split}", remedy="look at `split`, and at the cases that were left out"
            )
    return rows


def _lost(step: str, before: Sequence[Case], after: Sequence[Case]) -> dict[str, Any]:
    owners = {c.owner for c in before} - {c.owner for c in after}
    return {"step": step, "cases": len(after) - len(before), "patients": -len(owners)}


def _without_leaks(cases: Sequence[Case], fold: splits.Fold, pixels: leakage.Pixels) -> splits.Fold:
    assigned, dropped = leakage.drop(cases, fold.assigned, pixels)
    if not dropped:
        return fold
    named = ", ".join(dropped[:5]) + (", ..." if len(dropped) > 5 else "")
    note = f"{len(dropped)} cases were left out because their pixels occur in another split: {named}."
    return splits.Fold(assigned, (*fold.warnings, note))
