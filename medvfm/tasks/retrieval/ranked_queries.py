"""What retrieval keeps of the answers: ranks of every query, and the galleries, from which texts are dealt anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from medvfm.core.array import Array
from medvfm.core.metric_spec import MetricSpec
from medvfm.tasks import per_case
from medvfm.tasks.per_case import PerCaseValues
from medvfm.tasks.retrieval.gallery import CANDIDATES, RANK, RIGHT, WITHIN, Gallery


@dataclass(frozen=True, eq=False)
class RankedQueries(PerCaseValues):
    """Values of queries; galleries, one a fold, in the order of the cases, as long as they are in memory. They are in
    no table, and a subset of the queries, whose candidates stay what they were, has none."""

    galleries: tuple[Gallery, ...] = ()
    specs: tuple[MetricSpec, ...] = ()


def joined(parts: Sequence[RankedQueries]) -> RankedQueries:
    """Several folds' queries, each with the gallery of its fold."""
    whole = per_case.joined(parts)
    galleries = tuple(gallery for part in parts for gallery in part.galleries)
    return RankedQueries(
        whole.ids, whole.patients, whole.fold, whole.targets, whole.values, whole.present, whole.table, whole.groups,
        whole.has_size, galleries, parts[0].specs,
    )  # fmt: skip


def permuted(predictions: RankedQueries, rng: np.random.Generator) -> RankedQueries:
    """The same answers with the texts dealt anew among the cases of each gallery, by chance.

    Vectors, galleries and columns stay: what is left of a number is what chance and the gallery alone give.
    """
    dealt = [gallery.values(predictions.specs, predictions.targets, rng) for gallery in predictions.galleries]
    values = {name: np.concatenate([part[name] for part in dealt]) for name in dealt[0]}
    return replace(predictions, values=values, table={**predictions.table, RANK: values[RANK]}, galleries=())


def views(predictions: PerCaseValues) -> dict[str, PerCaseValues]:
    """`within plane` to the values among the candidates that share the column, by the metrics' plain names."""
    columns = dict.fromkeys(name.partition(WITHIN)[2] for name in predictions.values if WITHIN in name)
    everyone = predictions.subset(np.ones(len(predictions.ids), dtype=bool))
    return {
        f"{WITHIN.strip()} {column}": replace(everyone, values=_of_column(predictions, f"{WITHIN}{column}"))
        for column in columns
    }


def of_target(predictions: PerCaseValues, column: int) -> PerCaseValues:
    """The values of one target alone: directions have no mean."""
    everyone = predictions.subset(np.ones(len(predictions.ids), dtype=bool))
    return replace(
        everyone,
        targets=(predictions.targets[column],),
        values={name: values[:, [column]] for name, values in predictions.values.items()},
        table={},
    )


def notes(predictions: PerCaseValues, spec: MetricSpec, column: int) -> list[str]:
    """What a reader must know of a number: queries without a right candidate, and galleries no larger than k."""
    right, candidates = (predictions.values[name][:, column] for name in (RIGHT, CANDIDATES))
    none = int((right == 0).sum())
    said = [f"{none} of {len(right)} queries have no right candidate"] if none else []
    k = spec.arguments.get("k")
    small = 0 if k is None else int(((candidates <= k) & (right > 0)).sum())
    return said + ([f"{small} of {len(right)} queries have no more than {k:g} candidates"] if small else [])


def _of_column(predictions: PerCaseValues, ending: str) -> dict[str, Array]:
    return {name.removesuffix(ending): values for name, values in predictions.values.items() if name.endswith(ending)}
