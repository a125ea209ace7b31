"""Cases that lie far from what a model was trained on, by the features that its head stands on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from medvfm.core.array import Array
from medvfm.core.capabilities import FeatureAdapter
from medvfm.core.case import Case
from medvfm.core.data_card import DataCard
from medvfm.core.item import Item
from medvfm.core.plurals import plural
from medvfm.core.protocols import Adapter, Record
from medvfm.core.result_row import ResultRow, as_records
from medvfm.engine.context import RunContext
from medvfm.engine.fitting import FittedFold
from medvfm.engine.learners import FeatureLearner
from medvfm.engine.plan import Plan
from medvfm.io.dataset.cases import CaseTable
from medvfm.metrics import ranking
from medvfm.nn import state
from medvfm.nn.feature_distance import NEIGHBOURS, USUAL, FeatureDistance
from medvfm.statistics import delong
from medvfm.statistics.interval import Drawing

FILE = "training_features.safetensors"  # beside the weights
COLUMN = "novelty"  # of predictions.parquet: the share of training cases that lie nearer
YES = {"1", "1.0", "true", "yes", "y"}
FAR = f"features farther from the training images than {100 * USUAL:.0f}% of these lie from each other"  # see `far`


@dataclass(frozen=True, eq=False)
class Novelty:
    """What is said of how far test cases lie from training cases.

    of_cases   case_id to the share of training cases that lie nearer to the others
    distances  of each fold, for `medvfm predict`
    """

    of_cases: Mapping[str, float] = field(default_factory=dict)
    record: Record = field(default_factory=dict)
    distances: Sequence[FeatureDistance] = ()

    def save(self, weights: Path) -> None:
        arrays = {f"{n}/{name}": a for n, one in enumerate(self.distances) for name, a in one.arrays().items()}
        if arrays:
            weights.mkdir(parents=True, exist_ok=True)
            state.write_arrays(weights / FILE, arrays, {})


def is_outside(card: DataCard, case: Case) -> bool:
    """The card marks the case as one that no question of it is about."""
    return card.outside is not None and str(case.groups.get(card.outside, "")).strip().lower() in YES


def inside(card: DataCard, table: CaseTable) -> CaseTable:
    """The table without the cases that the card marks as outside."""
    kept = [case for case in table.cases if not is_outside(card, case)]
    if len(kept) == len(table.cases):
        return table
    owners = {c.owner for c in table.cases} - {c.owner for c in kept}
    step = {"step": "marked as outside", "cases": len(kept) - len(table.cases), "patients": -len(owners)}
    return replace(table, cases=kept, flow=[*table.flow, step])


def judged(plan: Plan, fitted: Sequence[FittedFold], table: CaseTable, context: RunContext) -> Novelty:
    """Distances of test cases from the training cases of their fold; and how well they tell the outside cases from the
    test cases of the first fold. Nothing where the model keeps no features."""
    found: dict[str, float] = {}
    made, far, first = [], 0, None
    for fold in fitted:
        learner = fold.learner
        if not isinstance(learner, FeatureLearner):
            return Novelty()
        train, test = (learner.embedded(fold.rows[split]) for split in ("train", "test"))
        distance = FeatureDistance.fit(torch.from_numpy(train.values), [c.owner for c in train.cases], plan.recipe.seed)
        if distance is None:
            return Novelty()
        apart = distance.of(torch.from_numpy(test.values))
        shares = distance.quantile(apart)
        found |= {case.case_id: float(share) for case, share in zip(test.cases, shares, strict=True)}
        far += int(distance.far(apart).sum())
        made.append(distance)
        first = first or (learner, distance, apart.numpy(), [c.owner for c in test.cases])
    assert first is not None
    outside = [case for case in table.cases if is_outside(plan.card, case)]
    record: Record = {"neighbours": NEIGHBOURS, "usual": USUAL, "far": far, "cases": len(found)}
    record["training"] = [len(one.usual) for one in made]
    if outside:
        record |= _told_apart(plan, *first, outside, context)
    return Novelty(found, record, made)


def _told_apart(
    plan: Plan,
    learner: FeatureLearner,
    distance: FeatureDistance,
    inner: Array,
    owners: Sequence[str],
    outside: Sequence[Case],
    context: RunContext,
) -> Record:
    """AUROC of the distance, outside cases against test cases."""
    with context.console.working("cases that the card marks as outside"):
        embedded, left_out = learner.embed_others(outside, context)
    if not len(embedded.values):
        return {"outside": {"cases": 0, "left_out": len(left_out)}}
    apart = distance.of(torch.from_numpy(embedded.values))
    truth = np.concatenate([np.ones(len(apart)), np.zeros(len(inner))])
    score = np.concatenate([apart.numpy(), inner])
    patients = np.array([*(c.owner for c in embedded.cases), *owners], dtype=object)
    confidence = plan.recipe.evaluate.confidence
    interval = delong.separation(truth, score, patients).interval(Drawing(confidence.level, seed=plan.recipe.seed))
    row = ResultRow(
        "auroc", "outside", "test", None, None,
        float(ranking.auroc(torch.from_numpy(truth), torch.from_numpy(score))),
        interval.low, interval.high, confidence.level, interval.method or None, len(truth),
        len(set(patients.tolist())), len(apart), "", "higher", interval.note,
    )  # fmt: skip
    far = int(distance.far(apart).sum())
    return {"rows": as_records([row]), "outside": {"cases": len(apart), "far": far, "left_out": len(left_out)}}


def read(weights: Path) -> list[FeatureDistance]:
    """Of each fold, as a finished run keeps them; nothing for a run that keeps none."""
    if not (weights / FILE).is_file():
        return []
    arrays = state.read(weights / FILE)
    folds = sorted({name.partition("/")[0] for name in arrays}, key=int)
    return [
        FeatureDistance.from_arrays({n.partition("/")[2]: a for n, a in arrays.items() if n.startswith(f"{fold}/")})
        for fold in folds
    ]


def unlike(adapters: Sequence[Adapter], distances: Sequence[FeatureDistance], item: Item) -> list[str]:
    """Why the features of a case are unlike those of the training images: in every fold, or not at all."""
    if not distances or len(distances) != len(adapters):
        return []
    for adapter, distance in zip(adapters, distances, strict=True):
        assert isinstance(adapter, FeatureAdapter)
        with torch.inference_mode():
            apart = distance.of(adapter.embed(adapter.collate([item])).float())
        if not bool(distance.far(apart)[0]):
            return []
    return [FAR]


def warning(novelty: Novelty) -> list[str]:
    """A sentence where more test cases are far than chance explains: more than twice as many as of training cases."""
    far, cases = novelty.record.get("far", 0), novelty.record.get("cases", 0)
    if far < 5 or far <= 2 * (1 - USUAL) * cases:
        return []
    return [f"{plural(far, 'test case')} of {cases} have {FAR}: the numbers may not hold for images like them."]
