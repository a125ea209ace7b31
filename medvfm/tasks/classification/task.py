"""Classification: binary, multi-class, multi-label and ordinal; truth, units and what their scores mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from medvfm.core.array import Array
from medvfm.core.case import Case
from medvfm.core.data_card import DataCard
from medvfm.core.errors import DataError, PredictionError, RecipeError, nearest
from medvfm.core.metric_spec import Metric, MetricSpec, parse
from medvfm.core.options import checked
from medvfm.core.plurals import have
from medvfm.core.protocols import (
    Adapter,
    BaselineContext,
    Outside,
    Points,
    Preparer,
    Record,
    Reuse,
    Seen,
    TrueCases,
    TruthReader,
    Where,
)
from medvfm.core.recipe_sections import Baseline, Prepare, TaskSettings
from medvfm.core.slice_grid import SliceGrid
from medvfm.io.dataset.prediction_tables import Table, named
from medvfm.io.run_directory import PREDICTIONS
from medvfm.models.inputs.slice_stacks import intensity_rule
from medvfm.statistics.estimand import Estimand
from medvfm.tasks.classification import (
    baselines,
    mistake_pictures,
    operating_points,
    recalibration,
    shortcuts,
    tables,
    unlabelled,
)
from medvfm.tasks.classification import estimands as estimating
from medvfm.tasks.classification.scores import ScoreTable, gather, joined, pooled_scores, pooled_truth, read_frame
from medvfm.tasks.classification.words import WORDS
from medvfm.tasks.per_case import rows_of_task

KINDS = ("binary", "multi_class", "multi_label", "ordinal")
USES = frozenset({"task.unit", "task.pool", "evaluate.recalibrate", "evaluate.decide_at"})
TABLES: dict[str, Mapping[str, Metric]] = {"": estimating.METRICS}  # for `medvfm list metrics`
DEFAULT_METRICS_OUTSIDE = ("auroc", "auprc")


class ScoreTableOptions(BaseModel):
    """What `medvfm evaluate classification` takes besides tables: the kind, the classes in order, and where a decision
    is made (score >= threshold). No threshold is ever fitted there: the truth given is the test set's."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: str | None = None
    classes: tuple[str, ...] = ()
    threshold: float | None = None
    subgroups: tuple[str, ...] = ()
    allow_missing: bool = False


BUILT_IN = baselines.BUILT_IN  # for `medvfm list baselines`


@dataclass(frozen=True)
class ClassificationTask:
    """Classes in order, kind, and the unit that is scored. See core.protocols.Task.

    Truth is (n, T) float: 0, 1, soft, or NaN for unknown; one column a class. For multi-class and ordinal questions
    a row holds a single 1 or is unknown altogether. An answer is (T,) scores, higher for more likely.
    `synonyms`: class to what the card calls it, for models that are asked in words.
    """

    classes: tuple[str, ...]
    kind: str
    unit: str
    pool: str
    synonyms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    name: str = "classification"
    answers: ClassVar[Literal["scores"]] = "scores"
    uses: ClassVar[frozenset[str]] = USES
    metrics: ClassVar[Mapping[str, Metric]] = estimating.METRICS
    default_metrics: ClassVar[tuple[str, ...]] = ("auroc", "auprc", "brier", "ece")
    built_in_baselines: ClassVar[Mapping[str, str]] = baselines.BUILT_IN
    audit_metric: ClassVar[str] = "auroc"
    variant_metrics: ClassVar[tuple[str, ...]] = ("auroc", "accuracy", "balanced_accuracy")
    variant_cases: ClassVar[int] = 10_000
    formats: ClassVar[tuple[str, ...]] = ("csv",)

    @property
    def exclusive(self) -> bool:
        """Exactly one class is right."""
        return self.kind in ("multi_class", "ordinal")

    def labels(self, cases: Sequence[Case]) -> Array:
        """(n, T) labels of cases."""
        table = np.array([[case.target(c) for c in self.classes] for case in cases], dtype=np.float64)
        table = table.reshape(len(cases), len(self.classes))
        if self.exclusive:
            known = ~np.isnan(table).any(axis=1)
            wrong = known & (np.nansum(table, axis=1) != 1)
            if wrong.any():
                named_cases = ", ".join(cases[i].case_id for i in np.flatnonzero(wrong)[:5])
                raise DataError(
                    f"{have(int(wrong.sum()), 'case')} no single class out of {', '.join(self.classes)}: {named_cases}"
                )
            table[~known] = np.nan
        return table

    def has_truth(self, case: Case) -> bool:
        """At least one label is known (all of them where one class is right)."""
        unknown = [np.isnan(case.target(c)) for c in self.classes]
        return not (any(unknown) if self.exclusive else all(unknown))

    def hide(self, case: Case) -> Case:
        return replace(case, targets={})

    def stratify(self) -> tuple[str, ...]:
        return self.classes

    def truth_reader(self, card: DataCard) -> TruthReader | None:
        return None

    def presence(self, true: TrueCases) -> Array:
        return self.labels([true.case(k) for k in range(len(true))])

    def settled(self, answer: Array, grid: SliceGrid | None) -> Array:
        return answer

    def collect(
        self,
        true: TrueCases,
        answers: Iterable[Array],
        folder: Path | None,
        specs: Sequence[MetricSpec],
        probabilities: bool = True,
    ) -> ScoreTable:
        """Scores of cases as scores of units."""
        cases = [true.case(k) for k in range(len(true))]
        scores = np.array(list(answers), dtype=np.float64).reshape(len(cases), len(self.classes))
        units = gather(cases, self.unit)
        columns = sorted({name for case in cases for name in case.groups})
        return ScoreTable(
            units.ids,
            np.array([cases[r].owner for r in units.first], dtype=object),
            self.classes,
            pooled_truth(self.labels(cases), units, self.exclusive),
            pooled_scores(scores, units, self.pool),
            probabilities,
            {c: np.array([cases[r].groups.get(c, "") for r in units.first], dtype=object) for c in columns},
        )

    def join(self, parts: Sequence[ScoreTable]) -> ScoreTable:
        return joined(parts)

    def operating_points(
        self, val: ScoreTable | None, specs: Sequence[MetricSpec], recalibrate: str, decide_at: str | float = "youden"
    ) -> Points:
        return operating_points.fix(val, specs, recalibrate, decide_at, exclusive=self.exclusive)

    def adjusted(self, predictions: ScoreTable, points: Points) -> ScoreTable:
        found = points.recalibration
        return predictions if found is None else recalibration.adjusted(predictions, found, self.exclusive)

    def estimands(self, predictions: ScoreTable, specs: Sequence[MetricSpec], points: Points) -> list[Estimand]:
        return estimating.estimands(predictions, specs, points, self.exclusive)

    def baseline(self, settings: Baseline, context: BaselineContext) -> Callable[[], Adapter] | Reuse | None:
        name, card, where = settings.name, context.card, context.where
        if name not in baselines.BUILT_IN:
            return None
        if name == "prevalence":
            return lambda: baselines.Prevalence(self.labels)
        if name == "intensity":
            voxels = baselines.Histogram(
                context.recipe.prepare, card.windows, {str(key): value for key, value in card.reading.items()}
            )
            return lambda: baselines.Probe(self.labels, self.kind, where, preparer=voxels)
        if not settings.columns:
            raise RecipeError(f"{name} needs columns", where=where, remedy="as in columns: [age, sex]")
        if name == "attributes":
            return lambda: baselines.Probe(self.labels, self.kind, where, columns=settings.columns)
        return lambda: baselines.Probe(
            self.labels, self.kind, where, columns=settings.columns, beside=context.adapter("linear_probe")
        )

    def audit_reader(self, prepare: Prepare, card: DataCard) -> shortcuts.ShortcutReader:
        reading = {str(key): value for key, value in card.reading.items()}
        return shortcuts.ShortcutReader(baselines.Histogram(prepare, card.windows, reading))

    def audit(
        self, train: TrueCases, test: TrueCases, read: Mapping[str, Mapping[str, Array]]
    ) -> Iterator[tuple[str, str, ScoreTable]]:
        learned, asked = ([cases.case(k) for k in range(len(cases))] for cases in (train, test))
        for name, what, found in shortcuts.scores(learned, asked, read, self.labels, self.kind):
            yield name, what, self.collect(test, found, None, ())

    def read_run(self, directory: Path) -> dict[tuple[str, str | None], ScoreTable]:
        table = rows_of_task(pd.read_parquet(directory / PREDICTIONS), self.name)
        parts = table.groupby(["split", "baseline"], sort=False)
        return {(str(split), str(name) or None): read_frame(part) for (split, name), part in parts}

    def combine(self, answers: Sequence[Array], points: Points) -> Array:
        """The mean score over folds, each recalibrated as its validation cases said."""
        scores = np.stack(answers)
        if points.recalibration is not None:
            scores = recalibration.probabilities(scores, points.recalibration, np.arange(len(scores)), self.exclusive)
        return scores.mean(axis=0)

    def rows(
        self, case: Case, answer: Array, grid: SliceGrid | None, points: Points, files: Sequence[Path]
    ) -> list[Record]:
        """Score, threshold (the mean over folds) and decision of each class."""
        rows: list[Record] = []
        for target, score in zip(self.classes, answer, strict=True):
            found = points.thresholds.get((operating_points.DECISION, target), np.zeros(0))
            cuts = found[np.isfinite(found)]
            threshold = float(cuts.mean()) if len(cuts) else None
            decision = None if threshold is None else int(score >= threshold)
            rows.append({"target": target, "score": float(score), "threshold": threshold, "decision": decision})
        return rows

    def write_answer(
        self, answer: Array, case: Case, grid: SliceGrid | None, preparer: Preparer, folder: Path, form: str,
        model: str,
    ) -> list[Path]:  # fmt: skip
        """Scores stand in predictions.csv alone."""
        return []

    def pictures(self, predictions: ScoreTable, points: Points, specs: Sequence[MetricSpec], seen: Seen) -> Record:
        """The most confident mistakes; of a unit of several cases its first."""
        cases = [seen.true.case(k) for k in range(len(seen.true))]
        units = gather(cases, self.unit)
        place_of = {unit: int(first) for unit, first in zip(units.ids, units.first, strict=True)}

        def look(unit: str) -> mistake_pictures.CasePicture:
            case, preparer = cases[place_of[unit]], seen.preparer
            images = preparer.images(case)
            if len(images) == 1 and not images[0].is_volume:
                contract = getattr(preparer, "contract", None)
                share = (1.0, 1.0) if contract is None else contract.seen_share(images[0].shape_vox[1::-1])
                return mistake_pictures.whole(images[0], intensity_rule(preparer.prepare, preparer.windows), share)
            return mistake_pictures.CasePicture(preparer.arrays(images, case)["pixels"])

        return {"previews": mistake_pictures.write(seen.folder / "previews", predictions, points, look)}

    def describe(self) -> Record:
        return {"name": self.name, "kind": self.kind, "classes": list(self.classes), "unit": self.unit, "words": WORDS}


def build(settings: TaskSettings, where: Where, card: DataCard) -> ClassificationTask:
    """Settle the question; refuses what it leaves open."""
    if not settings.classes:
        raise RecipeError("classification needs `classes`", where=where(), remedy="as in classes: [lesion]")
    if len(set(settings.classes)) != len(settings.classes):
        raise RecipeError("a class stands twice", where=where())
    for number, name in enumerate(settings.classes):
        if name not in card.class_names():
            choices = nearest(name, card.class_names())
            raise RecipeError(f"the card has no class {name!r}; {choices}", where=where("classes", number))
    kind = settings.kind or ("binary" if len(settings.classes) == 1 else None)
    if kind is None:
        raise RecipeError("several classes need a `kind`", where=where(), remedy=f"one of: {', '.join(KINDS[1:])}")
    if kind not in KINDS:
        raise RecipeError(f"kind {kind!r} is not of classification; {nearest(kind, KINDS)}", where=where())
    if (kind == "binary") != (len(settings.classes) == 1):
        raise RecipeError(f"kind {kind} with {len(settings.classes)} classes", where=where())
    said = {c: words for c, words in card.synonyms().items() if c in settings.classes}
    return ClassificationTask(settings.classes, kind, settings.unit, settings.pool, said)


def from_record(task: Mapping[str, object]) -> ClassificationTask:
    """The task of a finished run, from what `describe` said."""
    classes = tuple(str(c) for c in task["classes"])  # type: ignore[attr-defined]
    return ClassificationTask(classes, str(task["kind"]), str(task["unit"]), str(task.get("pool", "mean")))


def read(truth: Table, predictions: Table, metrics: Sequence[str] | None, options: Mapping[str, object]) -> Outside:
    """Any model's scores, matched with the truth by case_id."""
    given = checked(ScoreTableOptions, options, "evaluate classification", "evaluate")
    specs = [parse(m, estimating.METRICS) for m in metrics or DEFAULT_METRICS_OUTSIDE]
    if given.kind is not None and given.kind not in KINDS:
        raise PredictionError(
            f"kind {given.kind!r} is not of classification; {nearest(given.kind, KINDS)}", where="--kind"
        )
    asked = tables.AskedOfScores(given.kind, given.classes, given.allow_missing)
    matched = tables.match(truth, predictions, asked)
    scored = matched.tables["test"]
    for column in given.subgroups:
        if column not in scored.groups:
            raise PredictionError(
                f"no column {column!r} in the truth; {nearest(column, scored.groups)}", where=named(truth, "truth")
            )
    task = ClassificationTask(scored.targets, matched.kind, "image", "mean")
    folds = max(int(table.fold.max()) for table in matched.tables.values()) + 1
    points = operating_points.given(given.threshold, scored.targets, folds)
    left_out = [(case_id, unlabelled.NO_LABEL) for case_id in matched.left_out]
    return Outside(
        task, scored, specs, points, given.subgroups, matched.notes, left_out, len(scored.ids),
        matched.tables.get("val"), matched.flow,
    )  # fmt: skip
