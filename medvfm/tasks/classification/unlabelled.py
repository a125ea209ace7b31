"""Cases of which a truth says nothing: refused where exactly one class is right, else left out, counted and named."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medvfm.core.errors import PredictionError
from medvfm.core.plurals import plural, some
from medvfm.core.protocols import Record
from medvfm.io.dataset.prediction_tables import GivenTable
from medvfm.tasks.classification.scores import ScoreTable

NO_LABEL = "without a label"


def refuse(truth: GivenTable, cases: Sequence[str]) -> None:
    """Of classes that exclude each other an empty one is a gap of the table, which its row fills."""
    if not cases:
        return
    row = int(str(truth.frame.index[truth.frame["case_id"] == cases[0]][0]))
    more = f", and {plural(len(cases) - 1, 'further case')} without one: {some(cases[1:])}" if len(cases) > 1 else ""
    raise PredictionError(
        f"no class of {cases[0]} is given{more}",
        where=truth.place(row),
        remedy="fill it in, or leave such cases out with --allow-missing",
    )


def without(found: ScoreTable, split: str, where: str) -> tuple[ScoreTable, list[str], list[str]]:
    """Cases with a label for one of the targets; the names of the others, and what is said of them."""
    known = np.asarray((~np.isnan(found.truth)).any(axis=1))
    names = [case_id for case_id, is_known in zip(found.ids, known, strict=True) if not is_known]
    if not known.any():
        raise PredictionError(
            f"no case of the split {split} has a label",
            where=where,
            remedy=f"the columns of the truth that are wanted: {', '.join(found.targets)}",
        )
    of_split = "" if split == "test" else f" of the split {split}"
    note = f"{plural(len(names), 'case')}{of_split} {NO_LABEL} left out: {some(names)}."
    return (found.subset(known), names, [note]) if names else (found, [], [])


def flow(before: ScoreTable, after: ScoreTable) -> list[Record]:
    """How many cases and patients there were, and how many are lost, as the flow of run.json has it."""
    owners = [set(found.patients.tolist()) for found in (before, after)]
    lost = {"cases": len(after.ids) - len(before.ids), "patients": -len(owners[0] - owners[1])}
    if not lost["cases"]:
        return []
    return [
        {"step": "with a prediction", "cases": len(before.ids), "patients": len(owners[0])},
        {"step": NO_LABEL} | lost,
    ]
