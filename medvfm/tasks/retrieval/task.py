"""Retrieval: images found by texts, texts by images, and images by images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from medvfm.core.case import Case
from medvfm.core.data_card import DataCard
from medvfm.core.errors import RecipeError, nearest
from medvfm.core.metric_spec import Metric, MetricSpec, parse
from medvfm.core.options import checked
from medvfm.core.protocols import (
    Adapter,
    Answer,
    BaselineContext,
    Outside,
    Points,
    Record,
    Reuse,
    Seen,
    TrueCases,
    Where,
)
from medvfm.core.recipe_sections import Baseline, TaskSettings
from medvfm.core.slice_grid import SliceGrid
from medvfm.io.dataset.prediction_tables import Table
from medvfm.metrics import retrieval
from medvfm.statistics.estimand import Estimand
from medvfm.tasks import per_case
from medvfm.tasks.per_case import PerCaseValues
from medvfm.tasks.per_case_task import PerCaseTask
from medvfm.tasks.retrieval import gallery, gallery_pictures, ranked_queries, similarity_tables
from medvfm.tasks.retrieval.gallery import IMAGE_TO_IMAGE, IMAGE_TO_TEXT, SAME_TEXT, TEXT_TO_IMAGE
from medvfm.tasks.retrieval.ranked_queries import RankedQueries
from medvfm.tasks.retrieval.words import SAME, WORDS

USES: frozenset[str] = frozenset()
METRICS = retrieval.METRICS
TABLES: dict[str, Mapping[str, Metric]] = {"": METRICS}  # for `medvfm list metrics`
BUILT_IN = {  # for `medvfm list baselines`
    "texts_permuted": "the same answers with the texts dealt anew among the cases, which leaves chance and the gallery",
}
DRAWS = 20  # of texts_permuted
DEFAULT_METRICS = (
    "recall@k=10",
    "recall@k=5",
    "recall@k=1",
    "median_rank",
    "mean_average_precision",
    "mean_reciprocal_rank",
)


class RetrievalOptions(BaseModel):
    """What `task.options` may say."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    within: tuple[str, ...] = Field(
        (), description="columns: numbers also among the candidates alone that share the column with the query"
    )
    same: str | None = Field(
        None,
        description="a column, or text: images are also searched by images, and are right where it is the same",
    )


Options = RetrievalOptions


@dataclass(frozen=True)
class RetrievalTask(PerCaseTask):
    """Pairs of an image and a text. See core.protocols.Task.

    An answer is {"image": (D,), "text": (D,) or None}, unit vectors of one space. within and same: see Options.
    """

    within: tuple[str, ...] = ()
    same: str | None = None
    name: str = "retrieval"
    kind: str = "pairs"
    words: ClassVar[Mapping[str, str]] = WORDS
    built_in_baselines: ClassVar[Mapping[str, str]] = BUILT_IN
    formats: ClassVar[tuple[str, ...]] = ("csv", "parquet", "safetensors")

    @property
    def answers(self) -> Literal["embedding"]:
        return "embedding"

    @property
    def metrics(self) -> Mapping[str, Metric]:
        return METRICS

    @property
    def default_metrics(self) -> tuple[str, ...]:
        return DEFAULT_METRICS

    @property
    def targets(self) -> tuple[str, ...]:
        """Query to candidate."""
        return (TEXT_TO_IMAGE, IMAGE_TO_TEXT, *([IMAGE_TO_IMAGE] if self.same is not None else []))

    def truth_of(self, case: Case) -> str | None:
        """Its own text, which is the query too: nothing of a case tells which candidate is right."""
        return case.text if gallery.spelled(case.text) else None

    def collect(
        self,
        true: TrueCases,
        answers: Iterable[Answer],
        folder: Path | None,
        specs: Sequence[MetricSpec],
        probabilities: bool = True,
    ) -> RankedQueries:
        """Ranks of every case as a query to the gallery of these very cases."""
        cases = [true.case(place) for place in range(len(true))]
        given = list(answers)
        images = np.stack([np.asarray(answer["image"], dtype=np.float64) for answer in given])
        texts = [answer.get("text") for answer in given]
        read = None if any(t is None for t in texts) else np.stack([np.asarray(t, dtype=np.float64) for t in texts])
        searched = gallery.of_cases(cases, images, read, self.same, self.within)
        values = searched.values(specs, self.targets)
        columns = sorted({name for case in cases for name in case.groups})
        shape = (len(cases), len(self.targets))
        return RankedQueries(
            tuple(case.case_id for case in cases),
            np.array([case.owner for case in cases], dtype=object),
            np.zeros(len(cases), dtype=int),
            self.targets,
            values,
            None,
            {
                "truth": np.broadcast_to(np.array([case.text for case in cases], dtype=object)[:, None], shape),
                "rank": values[gallery.RANK],
            },
            {c: np.array([case.groups.get(c, "") for case in cases], dtype=object) for c in columns},
            galleries=(searched,),
            specs=tuple(specs),
        )

    def join(self, parts: Sequence[PerCaseValues]) -> PerCaseValues:
        ranked = [part for part in parts if isinstance(part, RankedQueries)]
        return ranked_queries.joined(ranked) if len(ranked) == len(parts) else per_case.joined(parts)

    def views(self, predictions: PerCaseValues) -> dict[str, PerCaseValues]:
        """`within plane` to the values among candidates that share the column `plane` with the query."""
        return ranked_queries.views(predictions)

    def estimands(self, predictions: PerCaseValues, specs: Sequence[MetricSpec], points: Points) -> list[Estimand]:
        """Every metric of every direction. A pair's cosine has no direction and no candidates: it stands once, under
        the first target, and in no view."""
        found = []
        for spec in specs:
            for column in range(len(predictions.targets)):
                if spec.metric.takes == "cosine" and (column or spec.name not in predictions.values):
                    continue
                found.append(_estimand(predictions, spec, column))
        return found

    def baseline(self, settings: Baseline, context: BaselineContext) -> Callable[[], Adapter] | Reuse | None:
        if settings.name not in BUILT_IN:
            return None
        return Reuse(rearrange=ranked_queries.permuted, draws=DRAWS)

    def rows(
        self, case: Case, answer: Answer, grid: SliceGrid | None, points: Points, files: Sequence[Path]
    ) -> list[Record]:
        """One row without columns of its own: a rank exists only beside other images."""
        return [{}]

    def pictures(self, predictions: PerCaseValues, points: Points, specs: Sequence[MetricSpec], seen: Seen) -> Record:
        """Queries from the best found to the worst with what was found, and a matrix of similarities."""
        return gallery_pictures.write(predictions, seen) if isinstance(predictions, RankedQueries) else {}

    def describe(self) -> Record:
        found = super().describe() | {"targets": list(self.targets), "options": {"within": list(self.within)}}
        if self.same is not None:
            found["options"]["same"] = self.same
            column = "their text" if self.same == SAME_TEXT else self.same.replace("_", " ")
            found["words"]["convention"] += f" {SAME.format(column)}"
        return found


def _estimand(predictions: PerCaseValues, spec: MetricSpec, column: int) -> Estimand:
    part = ranked_queries.of_target(predictions, column)
    (found,) = per_case.estimands(part, [spec], lambda _: _why(part))
    counted = [note for note in found.notes if not note.endswith("cases have no value")]  # they are told as queries
    return replace(found, notes=(*counted, *ranked_queries.notes(predictions, spec, column)))


def _why(part: PerCaseValues) -> str:
    """Why no query has a value."""
    if np.isnan(part.values[gallery.CANDIDATES]).all():
        return "the answers hold no vector of a text"
    return "no query has a right candidate" if not part.values[gallery.RIGHT].any() else "no query has a value"


def build(settings: TaskSettings, where: Where, card: DataCard) -> RetrievalTask:
    """Settle the question; columns are those of the card."""
    if settings.classes:
        raise RecipeError("retrieval has no classes: a case's own text is what is searched", where=where("classes"))
    if settings.kind is not None:
        raise RecipeError(f"retrieval has one kind, and none is named; not {settings.kind!r}", where=where("kind"))
    if settings.unit != "image":
        raise RecipeError(f"retrieval is scored case by case, not by {settings.unit}", where=where("unit"))
    given = checked(Options, settings.options, "retrieval", where("options"))
    known = card.group_columns()
    for key, columns in (("within", given.within), ("same", () if given.same in (None, SAME_TEXT) else (given.same,))):
        for column in columns:
            if column not in known:
                raise RecipeError(
                    f"the card {card.name} has no column {column!r}; {nearest(column, known)}",
                    where=where("options", key),
                )
    if len(set(given.within)) != len(given.within):
        raise RecipeError("a column stands twice", where=where("options", "within"))
    return RetrievalTask(given.within, given.same)


def from_record(record: Record) -> RetrievalTask:
    """The task of a finished run, from what `describe` said."""
    options = checked(Options, record.get("options") or {}, "retrieval", "run.json")
    return RetrievalTask(options.within, options.same)


def read(truth: Table, predictions: Table, metrics: Sequence[str] | None, options: Mapping[str, object]) -> Outside:
    """Any program's similarities: a row a query, a column a candidate, right where the true texts are the same."""
    given = checked(similarity_tables.SimilarityTableOptions, options, "evaluate retrieval", "evaluate")
    specs = [parse(name, METRICS, "metrics") for name in (metrics or DEFAULT_METRICS)]
    values, notes = similarity_tables.match(truth, predictions, specs, given)
    test = values["test"]
    return Outside(RetrievalTask(), test, specs, Points(), given.subgroups, notes, [], len(test.ids), values.get("val"))
