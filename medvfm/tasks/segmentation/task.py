"""Segmentation: one structure a voxel, structures that may overlap, or separate objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from medvfm.core.array import Array
from medvfm.core.case import Case
from medvfm.core.data_card import DataCard, Label
from medvfm.core.errors import PredictionError, RecipeError, nearest
from medvfm.core.item import PIXELS, Item
from medvfm.core.metric_spec import Metric, MetricSpec, parse
from medvfm.core.options import checked
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
from medvfm.core.recipe_sections import Baseline, TaskSettings
from medvfm.core.slice_grid import SliceGrid
from medvfm.core.task_capabilities import SelfChecked
from medvfm.io.dataset import mask_values, truth_masks
from medvfm.io.dataset.prediction_tables import Table
from medvfm.io.writers import masks
from medvfm.models.inputs.volumes import VolumePreparer
from medvfm.statistics.estimand import Estimand
from medvfm.tasks import per_case
from medvfm.tasks.per_case import PerCaseValues
from medvfm.tasks.per_case_task import PerCaseTask
from medvfm.tasks.segmentation import (
    baselines,
    case_pictures,
    mask_files,
    mask_folders,
    measures,
    postprocess,
    self_check,
)
from medvfm.tasks.segmentation.given_masks import Named
from medvfm.tasks.segmentation.words import WORDS

USES = frozenset({"task.postprocess"})
EXPORTS = ("nnunet",)  # formats of `medvfm data export` that take its masks
KINDS = ("semantic", "multi_label", "instances")
TABLES: dict[str, Mapping[str, Metric]] = {  # for `medvfm list metrics`
    "": measures.METRICS,
    " of objects": measures.METRICS_OF_OBJECTS,
}
BUILT_IN = baselines.BUILT_IN  # for `medvfm list baselines`
POSTPROCESS = postprocess.SUMMARIES
DEFAULT_METRICS = ("dice", "hd95", "nsd@tolerance=2", "missed", "spurious")
DEFAULT_METRICS_OF_OBJECTS = ("dice", "aji", "pq", "f1@iou=0.5")
ABSENT = {"false_positive_volume": "every case has the structure", "spurious": "every case has the structure"}


class MaskFolderOptions(BaseModel):
    """What `medvfm evaluate segmentation` takes besides masks: the kind, and what their values mean.

    classes           names of the values 1, 2, ...; beside `labels`, those of its names that are scored
    labels            value to name, of truth and predictions
    predicted_labels  value to name, of predictions whose values differ
    background        values that are no structure
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: str | None = None
    classes: tuple[str, ...] = ()
    labels: Mapping[int, str] = {}
    predicted_labels: Mapping[int, str] = {}
    background: tuple[int, ...] = ()
    subgroups: tuple[str, ...] = ()
    allow_missing: bool = False


@dataclass(frozen=True)
class SegmentationTask(PerCaseTask):
    """Structures in order (value 1 is the first), and how they share voxels. See core.protocols.Task.

    An answer is a mask on the grid of the image: (i, j, k) whole numbers, or (i, j, k, T) of bool for multi_label.
    labels_by_value: value of a mask file to its name, coded as the card codes it.
    """

    classes: tuple[str, ...] = ("foreground",)
    kind: str = "semantic"
    postprocess: tuple[str, ...] = ()
    labels_by_value: Mapping[int, Label] = field(default_factory=dict)
    unit: str = "image"
    name: str = "segmentation"
    uses: ClassVar[frozenset[str]] = USES
    built_in_baselines: ClassVar[Mapping[str, str]] = baselines.BUILT_IN
    variant_metrics: ClassVar[tuple[str, ...]] = ("dice",)
    variant_cases: ClassVar[int] = 32
    formats: ClassVar[tuple[str, ...]] = mask_files.FORMATS

    @property
    def answers(self) -> Literal["mask"]:
        return "mask"

    @property
    def metrics(self) -> Mapping[str, Metric]:
        return measures.metrics_of(self.kind)

    @property
    def default_metrics(self) -> tuple[str, ...]:
        """Where the recipe names none; the first is what is selected by."""
        return DEFAULT_METRICS_OF_OBJECTS if self.kind == "instances" else DEFAULT_METRICS

    @property
    def values(self) -> tuple[int, ...]:
        """The value of each class in files of masks: the card's, or 1, 2, ... where it names none."""
        if self.kind != "semantic":
            return tuple(range(1, len(self.classes) + 1))
        return mask_values.file_values(self.classes, self.labels_by_value)

    def has_truth(self, case: Case) -> bool:
        """The case has a mask."""
        return bool(case.masks)

    def hide(self, case: Case) -> Case:
        return replace(case, masks={})

    def truth_reader(self, card: DataCard) -> TruthReader | None:
        return truth_masks.MaskTruthReader.of(card, self.classes, self.kind)

    def presence(self, true: TrueCases) -> Array:
        """(n, T) 1 where a case has the structure."""
        found = np.zeros((len(true), len(self.classes)))
        for row in range(len(true)):
            truth = true.truth(row)
            if self.kind == "multi_label":
                found[row] = truth.reshape(-1, truth.shape[-1]).any(axis=0)
            elif self.kind == "instances":
                found[row] = truth.any()
            else:
                found[row] = np.bincount(truth.ravel(), minlength=len(self.classes) + 1)[1:] > 0
        return found

    def settled(self, answer: Array, grid: SliceGrid | None) -> Array:
        """The mask after post-processing, where the recipe asks for it."""
        steps = postprocess.parse(self.postprocess, self.kind)
        if not steps:
            return answer
        assert grid is not None
        return postprocess.apply(answer, steps, self.kind, grid.source_affine, grid.spacing_mm is not None)

    def collect(
        self,
        true: TrueCases,
        answers: Iterable[Array],
        folder: Path | None,
        specs: Sequence[MetricSpec],
        probabilities: bool = True,
    ) -> PerCaseValues:
        """Measure masks one by one; with a `folder` they are written to its masks/."""
        cases = [true.case(k) for k in range(len(true))]
        measured, sized, written = [], [], []
        for place, mask in enumerate(answers):
            grid = true.grid(place)
            assert grid is not None
            _, affine, has_size = where = mask_files.place_of(grid)
            if folder is not None:
                filed = mask_values.with_values(mask, self.values) if self.kind == "semantic" else mask
                files = masks.write_case(folder / "masks", cases[place].stem, filed, where, self.classes)
                written.append([file.relative_to(folder).as_posix() for file in files])
            truth = true.truth(place)
            given = affine if has_size else None
            measured.append(measures.measure(truth, mask, given, specs, self.kind, len(self.classes)))
            sized.append(has_size)
        columns = sorted({name for case in cases for name in case.groups})
        return measures.per_case(
            [case.case_id for case in cases],
            [case.owner for case in cases],
            self.classes,
            measured,
            {c: np.array([case.groups.get(c, "") for case in cases], dtype=object) for c in columns},
            all(sized),
            masks=None if folder is None else written,
        )

    def estimands(self, predictions: PerCaseValues, specs: Sequence[MetricSpec], points: Points) -> list[Estimand]:
        return per_case.estimands(predictions, specs, lambda spec: _why(spec, predictions.has_size))

    def mirrored(self, item: Item) -> Item:
        return replace(item, arrays={**item.arrays, PIXELS: np.ascontiguousarray(item.pixels[..., ::-1])})

    def signs(self, answer: Array, again: Array, item: Item) -> Mapping[str, Array]:
        """See core.task_capabilities.SelfCheckingTask."""
        one, other = (self.settled(mask, item.grid) for mask in (answer, item.grid.mirrored(again)))
        return {self_check.AGREEMENT: self_check.agreement(one, other, self.kind, len(self.classes))}

    def self_checked(
        self, val: PerCaseValues | None, test: PerCaseValues, signs_val: Mapping[str, Array],
        signs_test: Mapping[str, Array],
    ) -> SelfChecked:  # fmt: skip
        return self_check.checked(val, test, signs_val, signs_test)

    def doubted(
        self, rows: Sequence[Record], signs: Sequence[Mapping[str, Array]], fitted: Sequence[Record]
    ) -> list[Record]:
        return self_check.doubted(rows, signs, fitted, self.classes)

    def baseline(self, settings: Baseline, context: BaselineContext) -> Callable[[], Adapter] | Reuse | None:
        if settings.name not in baselines.BUILT_IN:
            return None
        if settings.name == "location" and self.kind != "semantic":
            raise RecipeError(
                f"location votes on structures that share no voxel, not on {self.kind}", where=context.where
            )
        card = context.card
        volumes = VolumePreparer(context.recipe.prepare, card.windows, card.reading)
        if settings.name == "ellipse":
            return lambda: baselines.Ellipse(volumes, self.kind)
        return lambda: baselines.Location(volumes, len(self.classes))

    def combine(self, answers: Sequence[Array], points: Points) -> Array:
        return mask_files.agreed(answers, len(self.classes), self.kind)

    def rows(
        self, case: Case, answer: Array, grid: SliceGrid | None, points: Points, files: Sequence[Path]
    ) -> list[Record]:
        assert grid is not None
        _, affine, has_size = mask_files.place_of(grid)
        return mask_files.sizes(answer, affine, has_size, self.classes, self.kind, files, self.values)

    def write_answer(
        self, answer: Array, case: Case, grid: SliceGrid | None, preparer: Preparer, folder: Path, form: str,
        model: str,
    ) -> list[Path]:  # fmt: skip
        assert grid is not None
        known = {label.name: label for label in self.labels_by_value.values()}
        names = [known.get(name, Label(name=name)) for name in self.classes]
        coded = dict(zip(self.values, names, strict=True))
        return mask_files.write(
            answer, case, mask_files.place_of(grid), preparer, coded, self.classes, self.kind, folder, form, model
        )

    def pictures(self, predictions: PerCaseValues, points: Points, specs: Sequence[MetricSpec], seen: Seen) -> Record:
        """Best, median and worst cases by the first metric."""
        first = specs[0]
        return {
            "examples": case_pictures.write(predictions, first.name, first.metric.better, seen, self.classes, self.kind)
        }

    def describe(self) -> Record:
        found: Record = {
            "name": self.name,
            "kind": self.kind,
            "classes": list(self.classes),
            "unit": self.unit,
            "words": WORDS,
        }
        if self.kind == "semantic":
            found["values"] = dict(zip(self.classes, self.values, strict=True))  # of the files of masks
        return found | ({"postprocess": list(self.postprocess)} if self.postprocess else {})


def _why(spec: MetricSpec, has_size: bool) -> str:
    if spec.metric.takes == "surface" and not has_size:
        return "the files state no size of a pixel, so that there is no distance in mm"
    return ABSENT.get(spec.name, "no case has the structure")


def build(settings: TaskSettings, where: Where, card: DataCard) -> SegmentationTask:
    """Settle the question; without `classes`, all structures of the card."""
    kind = settings.kind or ("instances" if card.masks.kind == "instances" else "semantic")
    if kind not in KINDS:
        raise RecipeError(f"kind {kind!r} is not of segmentation; {nearest(kind, KINDS)}", where=where())
    if settings.unit != "image":
        raise RecipeError(f"segmentation is scored image by image, not by {settings.unit}", where=where())
    postprocess.parse(settings.postprocess, kind, where("postprocess"))
    known = [label.name for _, label in sorted(card.labels.items())]
    own = dict.fromkeys(name for layout in card.layouts for name in layout.masks if name != "mask")
    structures = list(dict.fromkeys([*known, *own]))
    if kind == "instances":
        classes = settings.classes or tuple(structures[:1]) or ("object",)
        if len(classes) != 1:
            raise RecipeError(f"instances are of one class, and {len(classes)} are named", where=where())
        return SegmentationTask(classes, kind, settings.postprocess, dict(card.labels))
    classes = settings.classes or tuple(structures) or ("foreground",)
    if len(set(classes)) != len(classes):
        raise RecipeError("a class stands twice", where=where())
    unknown = [name for name in classes if structures and name not in structures]
    if unknown:
        raise RecipeError(f"the card has no structure {unknown[0]!r}; {nearest(unknown[0], structures)}", where=where())
    return SegmentationTask(classes, kind, settings.postprocess, dict(card.labels))


def from_record(task: Mapping[str, object]) -> SegmentationTask:
    """The task of a finished run, from what `describe` said."""
    return SegmentationTask(tuple(str(c) for c in task["classes"]), str(task["kind"]))  # type: ignore[attr-defined]


def read(truth: Table, predictions: Table, metrics: Sequence[str] | None, options: Mapping[str, object]) -> Outside:
    """Any program's masks, matched with true ones by case_id."""
    if options.get("threshold") is not None:
        raise RecipeError("masks have no threshold", where="--threshold")
    given = checked(MaskFolderOptions, options, "evaluate segmentation", "evaluate")
    kind = given.kind or "semantic"
    if kind not in ("semantic", "instances"):
        raise PredictionError(f"kind {kind!r}; {nearest(kind, ['semantic', 'instances'])}", where="--kind")
    defaults = DEFAULT_METRICS_OF_OBJECTS if kind == "instances" else DEFAULT_METRICS
    specs = [parse(name, measures.metrics_of(kind), "metrics") for name in (metrics or defaults)]
    named = Named(given.labels, given.predicted_labels, given.classes, frozenset(given.background))
    if kind == "instances" and (given.labels or given.predicted_labels or given.background):
        raise PredictionError("values of instances are numbers of objects, and have no names", where="--labels")
    matched = mask_folders.match(
        truth, predictions, mask_folders.AskedOfMasks(specs, kind, named, given.subgroups, given.allow_missing)
    )
    test = matched.values["test"]
    task = SegmentationTask(test.targets, kind)
    notes, val = matched.notes, matched.values.get("val")
    return Outside(task, test, specs, Points(), given.subgroups, notes, matched.left_out, len(test.ids), val)
