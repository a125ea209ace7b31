"""The model trained anew with further seeds, on the same cases and the same split, and asked the same.

One seed after the other, so that memory holds one more model than a run of one seed does. Pictures, curves and saved
weights are those of the first seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medvfm.core.case import Case
from medvfm.core.protocols import Record
from medvfm.engine import baselines, cohort, fitting
from medvfm.engine import record as records
from medvfm.engine.baselines import AskedBaseline
from medvfm.engine.context import RunContext
from medvfm.engine.fitting import Collected
from medvfm.engine.of_seeds import OfSeeds
from medvfm.engine.plan import ModelPlan, Plan
from medvfm.io.dataset import splits

FOLDER = "seeds"  # of a run: predictions of every seed but the first lie in a folder of that seed


@dataclass(frozen=True, eq=False)
class Repeat:
    """One further seed: answers of the model and of each baseline."""

    seed: int
    found: Collected
    baselines: Mapping[str, AskedBaseline]


def answered(
    plan: Plan,
    cases: Sequence[Case],
    folds: Sequence[splits.Fold],
    first: Mapping[str, AskedBaseline],
    out: Path | None,
    context: RunContext,
) -> list[Repeat]:
    """Every further seed of the plan. `first`: baselines of the first seed; one that trains nothing is asked once.

    out  of the run; files of answers go to the folder of their seed there
    """
    made = []
    for again in plan.again:
        seed = again.recipe.seed
        context.console.say(f"seed {seed}")
        own = replace(context, checkpoint=context.checkpoint / f"seed{seed}")
        learner = fitting.learner_of(again, again.model)
        cohort.read_again(learner, cases, f"of seed {seed}", own)
        with context.console.working(f"fitting with seed {seed}"):
            fitted = fitting.fit_all(again, again.model, learner, folds, baselines.moments(again), own)
        found = fitting.collected(again, fitted, None if out is None else out / FOLDER / str(seed), own)
        asked = {
            name: first[name]
            if isinstance(base, ModelPlan) and not base.stages
            else baselines.answered(again, name, base, folds, fitted, found, own)
            for name, base in again.baselines.items()
        }
        made.append(Repeat(seed, found, asked))
    return made


def joined(first: Collected, others: Sequence[Repeat]) -> Collected:
    """Answers of all seeds as one, whose numbers are means over them."""
    if not others:
        return first
    every = [first, *(other.found for other in others)]
    vals = [found.val for found in every if found.val is not None]
    points = replace(first.points, of_seeds=tuple(found.points for found in every))
    val = OfSeeds(tuple(vals)) if len(vals) == len(every) else None
    before = [found.before for found in every if found.before is not None]
    return Collected(
        OfSeeds(tuple(found.test for found in every)),
        val,
        points,
        OfSeeds(tuple(before)) if len(before) == len(every) else None,
    )


def record(seed: int, others: Sequence[Repeat]) -> Record:
    """What run.json says: the seeds, the first of which is the recipe's, and what was fixed for each further one."""
    return {
        "seeds": [seed, *(other.seed for other in others)],
        "thresholds": {str(other.seed): records.thresholds(other.found.points) for other in others},
    }
