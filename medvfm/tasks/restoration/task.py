"""Restoration: images that were degraded in a stated way, restored and compared with what they were."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch

from medvfm.core.array import Array
from medvfm.core.case import Case
from medvfm.core.data_card import DataCard
from medvfm.core.degradation import Degradation, blocks
from medvfm.core.errors import PredictionError, RecipeError, nearest
from medvfm.core.item import PIXELS
from medvfm.core.made_images import MadeImages
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
    Where,
)
from medvfm.core.recipe_sections import Baseline, TaskSettings
from medvfm.core.slice_grid import SliceGrid
from medvfm.io.dataset import prediction_tables, truth_masks
from medvfm.io.dataset.prediction_tables import Table
from medvfm.io.run_directory import write_bytes
from medvfm.io.writers import file_names
from medvfm.statistics.estimand import Estimand
from medvfm.tasks import per_case
from medvfm.tasks.generation import image_files
from medvfm.tasks.generation.picture_folders import PictureFolder, pictures_in, read_picture
from medvfm.tasks.per_case import PerCaseValues
from medvfm.tasks.per_case_task import PerCaseTask
from medvfm.tasks.restoration import restored_set, strips
from medvfm.tasks.restoration.filters import FILTERS, ChosenFilters
from medvfm.tasks.restoration.options import GivenRestorationOptions
from medvfm.tasks.restoration.options import RestorationOptions as Options
from medvfm.tasks.restoration.restored_set import (
    DEGRADED,
    LESIONS,
    METRICS,
    OF_IMAGES,
    TARGET,
    Beside,
    RestoredPictures,
)
from medvfm.tasks.restoration.words import WORDS

USES: frozenset[str] = frozenset({"task.classes"})
TABLES: dict[str, Mapping[str, Metric]] = {"": METRICS}  # for `medvfm list metrics`
BUILT_IN = FILTERS  # for `medvfm list baselines`
NEVER_SELECTS = "restored images are judged on test cases alone, beside lesions of training images"
NO_LESIONS = "no training image shows a lesion, or task.classes names no structure that the card outlines"
NONE_SEEN = "no test image shows a lesion"


@dataclass(frozen=True)
class RestorationTask(PerCaseTask):
    """Degraded images restored. See core.protocols.Task.

    An answer is MadeImages of one image or several, whose mean is scored. classes are structures that shall not vanish
    or appear, which `outlines` reads of masks. beside: what training images decide, once there are some.
    """

    classes: tuple[str, ...] = ()
    options: Options = field(default_factory=Options)
    outlines: TruthReader | None = None
    beside_training: Beside | None = None
    name: str = "restoration"
    kind: str = "images"
    unit: str = "image"
    uses: ClassVar[frozenset[str]] = USES
    built_in_baselines: ClassVar[Mapping[str, str]] = BUILT_IN
    variant_metrics: ClassVar[tuple[str, ...]] = ("psnr", "ssim")
    variant_cases: ClassVar[int] = 200
    formats: ClassVar[tuple[str, ...]] = image_files.FORMATS
    hidden_arrays: ClassVar[frozenset[str]] = frozenset({PIXELS, LESIONS})
    never_selects: ClassVar[str] = NEVER_SELECTS
    words: ClassVar[Mapping[str, str]] = WORDS

    @property
    def answers(self) -> Literal["images"]:
        return "images"

    @property
    def images(self) -> int:
        """Drawn for each case."""
        return self.options.images

    @property
    def degradation(self) -> Degradation:
        return self.options.degradation

    @property
    def metrics(self) -> Mapping[str, Metric]:
        return METRICS

    @property
    def default_metrics(self) -> tuple[str, ...]:
        return tuple(METRICS if self.classes else OF_IMAGES)

    def has_truth(self, case: Case) -> bool:
        return bool(case.images)

    def hide(self, case: Case) -> Case:
        """Labels and masks; the true image is hidden by `hidden_arrays`."""
        return replace(case, targets={}, masks={})

    def stratify(self) -> tuple[str, ...]:
        return self.classes

    def presence(self, true: TrueCases) -> Array:
        cases = [true.case(place) for place in range(len(true))]
        return np.array([[case.target(name) for name in self.classes] for case in cases], float).reshape(
            len(cases), len(self.classes)
        )

    def learns_from(self, case: Case) -> bool:
        """Every training case."""
        return True

    def beside(self, train: TrueCases, device: str) -> RestorationTask:
        """The task with what training images decide: how lesions look, and how strong filters are."""
        found = RestoredPictures.of(train, outlined=self.outlines is not None)
        filters = ChosenFilters.of(found.true, found.degraded, self.degradation)
        return replace(self, beside_training=Beside(restored_set.usual_lesion(found), filters))

    def handed_in(self, arrays: Mapping[str, Array]) -> Mapping[str, Array]:
        """The image as it is; of a lower resolution the means of its blocks, as training showed them."""
        pixels = np.asarray(arrays[PIXELS])
        lower = self.degradation.kind == "lower_resolution"
        return {DEGRADED: blocks(pixels, self.degradation.factor) if lower else pixels}

    def settled(self, answer: Answer, grid: SliceGrid | None) -> Answer:
        """The mean of the images that were drawn."""
        made: MadeImages = answer
        return replace(made, pixels=made.pixels.mean(axis=0, keepdims=True), seeds=made.seeds[:1])

    def collect(
        self,
        true: TrueCases,
        answers: Iterable[Answer],
        folder: Path | None,
        specs: Sequence[MetricSpec],
        probabilities: bool = True,
    ) -> PerCaseValues:
        """Every metric of each case; with a folder, each image as images/CASE.png."""
        found = RestoredPictures.of(true, outlined=self.outlines is not None)
        cases = [true.case(place) for place in range(len(true))]
        planes, files = [], []
        for case, answer in zip(cases, answers, strict=True):
            planes.append(answer.planes(found.true.shape[1])[0])
            files.append("" if folder is None else _written(folder, case, answer))
        restored = np.stack(planes).astype(np.float32)
        lesion = None if self.beside_training is None else self.beside_training.lesion
        columns = sorted({name for case in cases for name in case.groups})
        return restored_set.RestoredSet(
            tuple(case.case_id for case in cases),
            np.array([case.owner for case in cases], dtype=object),
            np.zeros(len(cases), dtype=int),
            (TARGET,),
            restored_set.values(found, restored, lesion),
            None,
            {"truth": np.full((len(cases), 1), "", dtype=object), "answer": np.array(files, dtype=object)[:, None]},
            {c: np.array([case.groups.get(c, "") for case in cases], dtype=object) for c in columns},
            pictures=found,
            restored=restored,
            beside=self.beside_training,
        )

    def join(self, parts: Sequence[PerCaseValues]) -> PerCaseValues:
        """There is one part: folds are refused before anything is read."""
        assert len(parts) == 1
        return parts[0]

    def estimands(self, predictions: PerCaseValues, specs: Sequence[MetricSpec], points: Points) -> list[Estimand]:
        none = np.isnan(predictions.values.get("lesions_invented", np.nan)).all()

        def why(spec: MetricSpec) -> str:
            if spec.metric.takes == "lesions":
                return NO_LESIONS if none else NONE_SEEN
            return "images are too small for the window of SSIM"

        return per_case.estimands(predictions, specs, why)

    def baseline(self, settings: Baseline, context: BaselineContext) -> Callable[[], Adapter] | Reuse | None:
        name = settings.name
        if name not in BUILT_IN:
            return None
        if name == "bicubic" and self.degradation.kind != "lower_resolution":
            raise RecipeError(
                f"bicubic interpolates a lower resolution, and images have {self.degradation.words}",
                where=context.where,
                remedy="take degraded, gaussian_filter or non_local_means",
            )
        return Reuse(rearrange=lambda predictions, rng: predictions.by(name))

    def rows(
        self, case: Case, answer: Answer, grid: SliceGrid | None, points: Points, files: Sequence[Path]
    ) -> list[Record]:
        return [{"file": str(file), "how": answer.how} for file in files]

    def write_answer(
        self, answer: Answer, case: Case, grid: SliceGrid | None, preparer: Preparer, folder: Path, form: str,
        model: str,
    ) -> list[Path]:  # fmt: skip
        """The restored image, which says that a model made it."""
        files, suffix = image_files.written(answer, [_said(answer, {"recipe": model})], form)
        path = folder / f"{file_names.stem(case.case_id)}{suffix}"
        write_bytes(path, files[0])
        return [path]

    def pictures(self, predictions: PerCaseValues, points: Points, specs: Sequence[MetricSpec], seen: Seen) -> Record:
        """Degraded, restored and true images of some cases, side by side."""
        assert isinstance(predictions, restored_set.RestoredSet)
        return strips.write(predictions, self.degradation, seen.folder)

    def describe(self) -> Record:
        return super().describe() | {"options": self.options.model_dump(mode="json")}


def _written(folder: Path, case: Case, answer: MadeImages) -> str:
    name = f"images/{case.stem or file_names.stem(case.case_id)}.png"
    write_bytes(folder / name, image_files.png(answer.pixels[0], _said(answer, {})))
    return name


def _said(answer: MadeImages, more: Mapping[str, str]) -> dict[str, str]:
    return {"how": answer.how, "seed": str(answer.seeds[0]), **more, "made": "restored by a model"}


def build(settings: TaskSettings, where: Where, card: DataCard) -> RestorationTask:
    """Settle the question; classes are structures that the card outlines."""
    if settings.kind is not None:
        raise RecipeError(f"restoration has one kind, and none is named; not {settings.kind!r}", where=where("kind"))
    if settings.unit != "image":
        raise RecipeError(f"images are restored one by one, not by {settings.unit}", where=where("unit"))
    options = checked(Options, settings.options, "restoration", where("options"))
    unused, used = ("level", "factor") if options.degrade == "lower_resolution" else ("factor", "level")
    if getattr(options, unused) is not None:
        raise RecipeError(
            f"{options.degrade} has no {unused}", where=where("options", unused), remedy=f"say {used}, or leave it out"
        )
    for number, name in enumerate(settings.classes):
        if truth_masks.outlines(card, [name]) is None:
            known = [label.name for label in card.labels.values()]
            raise RecipeError(
                f"the card {card.name} outlines no {name!r}; {nearest(name, known)}", where=where("classes", number)
            )
    return RestorationTask(tuple(settings.classes), options, truth_masks.outlines(card, settings.classes))


def from_record(record: Record) -> RestorationTask:
    """The task of a finished run, from what `describe` said."""
    options = checked(Options, record.get("options") or {}, "restoration", "run.json")
    return RestorationTask(tuple(record["classes"]), options)


def read(truth: Table, predictions: Table, metrics: Sequence[str] | None, options: Mapping[str, object]) -> Outside:
    """Any program's restored images: two folders of pictures, matched by the names of their files."""
    given = checked(GivenRestorationOptions, options, "evaluate restoration", "evaluate")
    specs = [parse(name, OF_IMAGES, "metrics") for name in (metrics or OF_IMAGES)]
    sides = []
    for whose, side in (("truth", truth), ("predictions", predictions)):
        if not isinstance(side, str | Path) or not Path(side).is_dir():
            raise PredictionError("restored images are two folders of pictures", where=whose)
        sides.append(pictures_in(Path(side)))
    notes = prediction_tables.missing(sides[0].case_ids, sides[1].case_ids, str(sides[1].folder), given.allow_missing)
    both = [name for name in sides[0].case_ids if name in set(sides[1].case_ids)]
    found: dict[str, list[float]] = {spec.name: [] for spec in specs}
    for name in both:
        pair = [_picture(side, name) for side in sides]
        if pair[0].shape != pair[1].shape:
            shapes = [f"{p.shape[2]} × {p.shape[1]} px in {p.shape[0]} channels" for p in pair]
            raise PredictionError(f"{name}: {shapes[1]}, and the true one has {shapes[0]}", where=sides[1].folder)
        for spec in specs:
            found[spec.name].append(float(spec.metric.function(pair[0][None], pair[1][None])))
    names = np.array(both, dtype=object)
    empty = np.full((len(both), 1), "", dtype=object)
    values = PerCaseValues(
        tuple(both), names, np.zeros(len(both), int), (TARGET,),
        {name: np.array(numbers)[:, None] for name, numbers in found.items()}, None,
        {"truth": empty, "answer": empty},
    )  # fmt: skip
    notes = [*notes, "The folders name no patients: intervals take every picture as a patient of its own."]
    return Outside(RestorationTask(), values, specs, Points(), (), notes, [], len(both))


def _picture(side: PictureFolder, name: str) -> torch.Tensor:
    return read_picture(side.files[side.case_ids.index(name)])
