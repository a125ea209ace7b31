"""The model fitted again on few training cases of each class: rows `shots=1`, `shots=2`, ... for a curve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from medvfm.core.array import Array
from medvfm.core.case import Case
from medvfm.core.result_row import ResultRow
from medvfm.engine import fitting
from medvfm.engine.context import RunContext
from medvfm.engine.evaluate import Judging
from medvfm.engine.fitting import Rows
from medvfm.engine.plan import Plan
from medvfm.io.console import SILENT
from medvfm.io.dataset import splits
from medvfm.statistics.estimand import Estimand, mean_of_draws


def rows(
    plan: Plan, judging: Judging, cases: Sequence[Case], folds: Sequence[splits.Fold], context: RunContext
) -> list[ResultRow]:
    """The mean of several draws for each number of cases; every draw starts from the weights as they were published."""
    wanted = plan.recipe.evaluate.few_shot
    if wanted is None:
        return []
    found = []
    total = len(wanted.per_class) * wanted.draws
    numbers = [(shots, draw) for shots in wanted.per_class for draw in range(wanted.draws)]
    draws: dict[int, list[list[Estimand]]] = {}
    for shots, draw in context.console.track(numbers, total, "fits on few training cases"):
        quiet = replace(context, console=SILENT, checkpoint=context.checkpoint / f"shots{shots}-{draw}")
        learner = fitting.learner_of(plan, plan.model)
        learner.read(cases, quiet)
        chosen = _chooser(plan, learner.store.cases, shots, draw)
        fitted = fitting.fit_all(plan, plan.model, learner, folds, frozenset(), quiet, chosen, selecting=False)
        answered = fitting.collected(plan, fitted, None, quiet)
        draws.setdefault(shots, []).append(list(plan.task.estimands(answered.test, plan.specs, answered.points)))
        if len(draws[shots]) == wanted.draws:
            means = [
                _with_range(mean_of_draws(same, answered.test.patients), same)
                for same in zip(*draws[shots], strict=True)
            ]
            note = f"{shots} training case{'s' * (shots > 1)} of each class"
            found += judging.as_rows(means, answered.test, group=f"shots={shots}", note=note)
    return found


def _with_range(mean: Estimand, draws: Sequence[Estimand]) -> Estimand:
    values = [d.value for d in draws if d.value is not None]
    if len(values) < 2:
        return mean
    return replace(mean, notes=(*mean.notes, f"draws from {min(values):.3f} to {max(values):.3f}"))


def _chooser(plan: Plan, cases: Sequence[Case], shots: int, draw: int) -> Callable[[Rows], Rows]:
    """As many training cases, and validation cases, of each class; negatives too where there is one class alone."""

    def chosen(rows: Rows) -> Rows:
        some = {
            split: few(
                plan.task.labels([cases[int(r)] for r in rows[split]]), rows[split], shots, _rng(plan, number, draw)
            )
            for number, split in enumerate(("train", "val"))
            if len(rows[split])
        }
        return {**rows, **some}

    return chosen


def few(labels: Array | None, rows: Array, shots: int, rng: np.random.Generator) -> Array:
    """`shots` of the rows for each class of labels (n, T), for both values where T is 1, sorted; all where there are
    fewer."""
    assert labels is not None
    sides = [labels[:, t] == 1 for t in range(labels.shape[1])]
    if labels.shape[1] == 1:
        sides.append(labels[:, 0] == 0)
    taken = [rng.permutation(np.flatnonzero(side))[:shots] for side in sides]
    return rows[np.unique(np.concatenate(taken))]


def _rng(plan: Plan, number: int, draw: int) -> np.random.Generator:
    """The same cases for any number of shots of one draw come first, so that more shots hold the fewer."""
    return np.random.default_rng([plan.recipe.seed, number, draw, 3])
