"""The base of tasks that score case by case: what core.protocols.Task asks for, where nothing else is said.

A task built on it states its names, metrics and truth:

    class Findings(PerCaseTask):
        name, kind, metrics = "findings", "open", METRICS

        def truth_of(self, case):
            return case.answer
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from medvfm.core.array import Array
from medvfm.core.case import Case
from medvfm.core.data_card import DataCard
from medvfm.core.errors import PredictionError, Undefined, nearest
from medvfm.core.metric_spec import Metric, MetricSpec, parse
from medvfm.core.options import checked
from medvfm.core.protocols import (
    Adapter,
    Answer,
    BaselineContext,
    Outside,
    Points,
    Preparer,
    Record,
    Reuse,
    Seen,
    TrueCases,
    TruthReader,
)
from medvfm.core.recipe_sections import Baseline
from medvfm.core.slice_grid import SliceGrid
from medvfm.io.dataset import prediction_splits, prediction_tables
from medvfm.io.dataset.prediction_splits import Part
from medvfm.io.dataset.prediction_tables import Table
from medvfm.statistics.estimand import Estimand
from medvfm.tasks import per_case
from medvfm.tasks.per_case import PerCaseValues

TARGET = "answer"  # the one target of a task without classes


class AnswerTableOptions(BaseModel):
    """What `medvfm evaluate` takes besides two tables with columns `case_id` and `answer`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    subgroups: tuple[str, ...] = ()
    allow_missing: bool = False


class PerCaseTask(ABC):
    """Defaults of a task whose metrics compare the truth of one case with its answer: `function(truth, answer)`, which
    raises Undefined where the number does not exist. See core.protocols.Task."""

    name: str
    kind: str
    classes: tuple[str, ...] = ()
    unit: str = "image"
    uses: ClassVar[frozenset[str]] = frozenset()
    built_in_baselines: ClassVar[Mapping[str, str]] = {}
    variant_metrics: ClassVar[tuple[str, ...]] = ()
    variant_cases: ClassVar[int] = 32
    formats: ClassVar[tuple[str, ...]] = ("csv",)
    words: ClassVar[Mapping[str, str]] = {}  # for the report: `action`, `convention`, ...

    @property
    def answers(self) -> Literal["scores", "mask", "text", "images", "embedding"]:
        return "text"

    @property
    @abstractmethod
    def metrics(self) -> Mapping[str, Metric]:
        """Name to metric; each task has its own."""

    @property
    def default_metrics(self) -> tuple[str, ...]:
        """The first is what is selected by."""
        return tuple(self.metrics)

    def truth_of(self, case: Case) -> object | None:
        """The truth of a case, as metrics take it: its answer, unless a task says otherwise. None: it has none."""
        return case.answer

    def has_truth(self, case: Case) -> bool:
        return self.truth_of(case) is not None

    def hide(self, case: Case) -> Case:
        """The case without labels, masks and answer."""
        return replace(case, targets={}, masks={}, answer=None)

    def stratify(self) -> tuple[str, ...]:
        return ()

    def labels(self, cases: Sequence[Case]) -> Array | None:
        return None

    def truth_reader(self, card: DataCard) -> TruthReader | None:
        return None

    def presence(self, true: TrueCases) -> Array:
        return np.ones((len(true), len(self.classes)))

    def settled(self, answer: Answer, grid: SliceGrid | None) -> Answer:
        return answer

    def collect(
        self,
        true: TrueCases,
        answers: Iterable[Answer],
        folder: Path | None,
        specs: Sequence[MetricSpec],
        probabilities: bool = True,
    ) -> PerCaseValues:
        """Every metric of each case; truth and answer stand as text in predictions.parquet."""
        cases = [true.case(place) for place in range(len(true))]
        truths, texts = [self.truth_of(case) for case in cases], []
        values = np.full((len(specs), len(cases), 1), np.nan)
        for place, answer in enumerate(answers):
            texts.append(as_text(answer))
            for number, spec in enumerate(specs):
                values[number, place, 0] = _value(spec, truths[place], answer)
        columns = sorted({name for case in cases for name in case.groups})
        return PerCaseValues(
            tuple(case.case_id for case in cases),
            np.array([case.owner for case in cases], dtype=object),
            np.zeros(len(cases), dtype=int),
            (TARGET,),
            {spec.name: values[number] for number, spec in enumerate(specs)},
            None,
            {
                "truth": np.array([[as_text(truth)] for truth in truths], dtype=object),
                "answer": np.array([[text] for text in texts], dtype=object),
            },
            {c: np.array([case.groups.get(c, "") for case in cases], dtype=object) for c in columns},
        )

    def join(self, parts: Sequence[PerCaseValues]) -> PerCaseValues:
        return per_case.joined(parts)

    def operating_points(
        self,
        val: PerCaseValues | None,
        specs: Sequence[MetricSpec],
        recalibrate: str,
        decide_at: str | float = "youden",
    ) -> Points:
        """Nothing is fixed on validation data."""
        return Points()

    def adjusted(self, predictions: PerCaseValues, points: Points) -> PerCaseValues:
        return predictions

    def estimands(self, predictions: PerCaseValues, specs: Sequence[MetricSpec], points: Points) -> list[Estimand]:
        return per_case.estimands(predictions, specs, lambda spec: "no case has a value")

    def baseline(self, settings: Baseline, context: BaselineContext) -> Callable[[], Adapter] | Reuse | None:
        return None

    def read_run(self, directory: Path) -> dict[tuple[str, str | None], PerCaseValues]:
        return per_case.read_run(directory, self.name)

    def combine(self, answers: Sequence[Answer], points: Points) -> Answer:
        """The answer of the first fold: answers that are no numbers have no mean."""
        return answers[0]

    def rows(
        self, case: Case, answer: Answer, grid: SliceGrid | None, points: Points, files: Sequence[Path]
    ) -> list[Record]:
        return [{"answer": as_text(answer)}]

    def write_answer(
        self, answer: Answer, case: Case, grid: SliceGrid | None, preparer: Preparer, folder: Path, form: str,
        model: str,
    ) -> list[Path]:  # fmt: skip
        """Answers stand in predictions.csv alone."""
        return []

    def pictures(self, predictions: PerCaseValues, points: Points, specs: Sequence[MetricSpec], seen: Seen) -> Record:
        return {}

    def describe(self) -> Record:
        found: Record = {"name": self.name, "kind": self.kind, "classes": list(self.classes), "unit": self.unit}
        return found | ({"words": dict(self.words)} if self.words else {})

    def read(
        self, truth: Table, predictions: Table, metrics: Sequence[str] | None, options: Mapping[str, object]
    ) -> Outside:
        """Any program's answers, matched by case_id: both tables have a column `answer`."""
        given = checked(AnswerTableOptions, options, f"evaluate {self.name}", "evaluate")
        specs = [parse(name, self.metrics, "metrics") for name in (metrics or self.default_metrics)]
        tables = []
        for source, otherwise in ((truth, "truth"), (predictions, "predictions")):
            table = prediction_tables.read_table(source, otherwise)
            if TARGET not in table:
                choices = nearest(TARGET, map(str, table.frame.columns))
                raise PredictionError(f"no column {TARGET!r}; {choices}", where=table.where)
            tables.append(table.kept(~table.unknown(TARGET)))
        for column in given.subgroups:
            if column not in tables[0]:
                choices = nearest(column, map(str, tables[0].frame.columns))
                raise PredictionError(f"no column {column!r} in the truth; {choices}", where=tables[0].where)
        parts, notes = prediction_splits.parts(*tables)
        found = {}
        for part in parts:
            found[part.split], more = self._read_part(part, specs, given)
            notes += more
        test = found.pop("test")
        notes = list(dict.fromkeys([*tables[0].notes, *tables[1].notes, *notes]))
        return Outside(self, test, specs, Points(), given.subgroups, notes, [], len(test.ids), found.get("val"))

    def _read_part(
        self, part: Part, specs: Sequence[MetricSpec], given: AnswerTableOptions
    ) -> tuple[PerCaseValues, list[str]]:
        for table in (part.truth, part.predictions):
            prediction_tables.refuse_doubled(table, ["case_id"])
        true, answered = part.truth.first_of_case(), part.predictions.first_of_case()
        notes = prediction_tables.missing(true.index, answered.index, part.predictions.where, given.allow_missing)
        both = [case_id for case_id in true.index if case_id in answered.index]
        people, more = prediction_tables.owners(part.truth, both)
        fold, of_folds = prediction_splits.folds(part, both)
        known = "patient_id" in true or "patient" in true
        cases = [
            Case(
                str(case_id),
                str(owner) if known else None,
                {},
                answer=str(true.loc[case_id, TARGET]),
                groups={column: str(true.loc[case_id, column]) for column in given.subgroups},
            )
            for case_id, owner in zip(both, people, strict=True)
        ]
        answers = (str(answered.loc[case_id, TARGET]) for case_id in both)
        values = self.collect(ListedCases(cases), answers, None, specs)
        return replace(values, fold=fold), [*notes, *more, *of_folds]


@dataclass(frozen=True)
class ListedCases:
    """Cases whose truth they hold themselves. See core.protocols.TrueCases."""

    cases: Sequence[Case]

    def __len__(self) -> int:
        return len(self.cases)

    def case(self, place: int) -> Case:
        return self.cases[place]

    def truth(self, place: int) -> Array:
        raise AssertionError("the truth of a listed case lies in no file")

    def grid(self, place: int) -> SliceGrid | None:
        return None

    def pixels(self, place: int) -> Array:
        raise AssertionError("a listed case has no prepared image")

    def array(self, place: int, name: str) -> Array:
        raise AssertionError("a listed case has no prepared image")


def as_text(value: object) -> str:
    """A truth or an answer as a table holds it; numbers of a vector are separated by spaces."""
    return " ".join(f"{float(v):g}" for v in value.ravel()) if isinstance(value, np.ndarray) else str(value)


def _value(spec: MetricSpec, truth: object, answer: object) -> float:
    try:
        return float(spec.metric.function(truth, answer, **spec.arguments))
    except Undefined:
        return float("nan")
