"""Baselines on the cases of the model: other models fitted on the same folds, or the fitted model reused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from medvfm.core.array import Array
from medvfm.core.capabilities import RedrawnAdapter
from medvfm.core.item import Item
from medvfm.core.protocols import Answer, Record, Reuse
from medvfm.core.result_row import ResultRow
from medvfm.engine import cohort, fitting
from medvfm.engine.context import RunContext
from medvfm.engine.evaluate import Judging
from medvfm.engine.exchanged_images import ExchangedImages
from medvfm.engine.fitting import Answering, Collected, FittedFold
from medvfm.engine.plan import ModelPlan, Plan
from medvfm.io.dataset import splits
from medvfm.statistics.estimand import mean_of_draws
from medvfm.statistics.seeds import mean_over_seeds

REFERENCE = "real"  # baselines whose name begins so are references: shown, and compared with nothing


def moments(plan: Plan) -> frozenset[str]:
    """Moments of training whose weights a baseline of any task asks again."""
    made = [made for entry in plan.tasks for made in entry.baselines.values()]
    return frozenset(m.at for m in made if isinstance(m, Reuse)) - {"final"}


@dataclass(frozen=True, eq=False)
class AskedBaseline:
    """What a baseline answered, once or in several draws; which truth its prompts use; what run.json says of it."""

    draws: Sequence[Collected]
    oracle: str | None
    record: Record


def answered(
    plan: Plan,
    name: str,
    made: ModelPlan | Reuse,
    folds: Sequence[splits.Fold],
    fitted: Sequence[FittedFold],
    model: Collected,
    context: RunContext,
) -> AskedBaseline:
    """A baseline fitted and asked on the same folds."""
    context = replace(context, checkpoint=context.checkpoint / f"baseline-{name}")
    if isinstance(made, Reuse):
        draws = list(_drawn_again(plan, made, fitted, model, context))
        record = {"name": name, "at": made.at, "draws": made.draws}
        return AskedBaseline(draws, fitted[0].learner.adapter.oracle, record)
    learner = fitting.learner_of(plan, made)
    cohort.read_again(learner, fitted[0].learner.store.cases, name, context)
    others = fitting.fit_all(plan, made, learner, folds, frozenset(), context)
    record = {"name": name, **made.facts, **learner.adapter.record()}
    return AskedBaseline([fitting.collected(plan, others, None, context)], learner.adapter.oracle, record)


def rows(judging: Judging, name: str, of_seeds: Sequence[AskedBaseline], model: Collected) -> list[ResultRow]:
    """Rows of a baseline, and of its differences to the model: as the first seed has it, or the mean over several."""
    found: list[ResultRow] = []
    views = [[judging.views(draw.test) for draw in base.draws] for base in of_seeds]
    oracle = of_seeds[0].oracle
    for group, ours in judging.views(model.test).items():
        theirs = views[0][0].get(group)  # the model's own units, unless the baseline is a set of others
        if theirs is None:
            continue
        each = []
        for base, seen in zip(of_seeds, views, strict=True):
            known = [(v[group], d) for v, d in zip(seen, base.draws, strict=True) if group in v]
            draws = [judging.estimands(v, d.points) for v, d in known]
            each.append([mean_of_draws(same, theirs.patients) for same in zip(*draws, strict=True)])
        estimands = [mean_over_seeds(same) for same in zip(*each, strict=True)]
        found += judging.as_rows(estimands, theirs, group=group, baseline=name, note=oracle)
        if not name.startswith(REFERENCE):
            found += judging.differences(ours, model.points, estimands, name, group=group)
    return found


def _drawn_again(
    plan: Plan, reuse: Reuse, fitted: Sequence[FittedFold], model: Collected, context: RunContext
) -> Iterator[Collected]:
    """What is judged of each draw."""
    seed = plan.recipe.seed
    exchanged = None if reuse.exchange is None else ExchangedImages(reuse.exchange, reuse.at, fitted, model.test, seed)
    for draw in range(reuse.draws):
        if reuse.rearrange is not None:
            rng = np.random.default_rng([seed, draw, 1])
            yield Collected(reuse.rearrange(model.test, rng), None, model.points)
        elif exchanged is not None:
            answers = exchanged.answering(draw)
            yield fitting.collected(plan, fitted, None, context, answering=answers, splits_answered=("test",))
        else:
            yield fitting.collected(plan, fitted, None, context, answering=_reused(reuse, draw, seed))


def _reused(reuse: Reuse, draw: int, seed: int) -> Answering:
    """Answers of the fitted model, with its weights at a moment of training, to changed items."""

    def change(item: Item) -> Item:
        assert reuse.change is not None
        return reuse.change(item, np.random.default_rng([seed, draw, *item.case.case_id.encode()]))

    def answers(fold: FittedFold, rows: Array) -> Iterator[Answer]:
        with fold.learner.at(reuse.at):
            if reuse.redraw:
                assert isinstance(fold.learner.adapter, RedrawnAdapter)
                fold.learner.adapter.redraw(np.random.default_rng([seed, draw, 2]))
            yield from fold.learner.answer(rows, None, change if reuse.change is not None else None)

    return answers
