"""Generation: images made for conditions, judged as a set beside real ones and beside the training images."""

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
from medvfm.core.errors import RecipeError, RunError, WeightsError, nearest
from medvfm.core.item import PIXELS
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
from medvfm.io.dataset import truth_masks
from medvfm.io.dataset.prediction_tables import Table
from medvfm.io.run_directory import write_bytes
from medvfm.io.writers import file_names
from medvfm.metrics import fidelity
from medvfm.models.extractors import load as extractors
from medvfm.models.image_text.caption_scores import CaptionScorer
from medvfm.models.weights import refuse_missing
from medvfm.statistics.estimand import Estimand
from medvfm.tasks.generation import (
    combination_views,
    estimands,
    given_sets,
    image_files,
    judge,
    made_set,
    rival_sets,
    rivals,
    sheets,
)
from medvfm.tasks.generation.held_out import Combination, combinations, refuse
from medvfm.tasks.generation.image_set import ImageSet
from medvfm.tasks.generation.judge import Judge
from medvfm.tasks.generation.made_set import MadeSet
from medvfm.tasks.generation.options import GenerationOptions as Options
from medvfm.tasks.generation.options import GivenOptions
from medvfm.tasks.generation.set_features import FeatureNetwork
from medvfm.tasks.generation.words import WORDS

USES: frozenset[str] = frozenset({"task.classes"})
METRICS = {
    name: metric
    for name, metric in fidelity.METRICS.items()
    if metric.takes in ("features", "images", "distances", "score", "embeddings", "verified", "singled")
}
TABLES: dict[str, Mapping[str, Metric]] = {"": METRICS}  # for `medvfm list metrics`
BUILT_IN = {**rivals.RIVALS, **rivals.REFERENCES}  # for `medvfm list baselines`
OF_SETS = ("fid", "kid", "precision", "recall", "density", "coverage")
DEFAULT_METRICS = (
    *OF_SETS, "ms_ssim", "nearest_ratio", "singled_out", "reidentified", "condition_auroc", "usefulness_auroc",
)  # fmt: skip
RUN = "run"  # before the folder of a finished run, which is a verification model
NEVER_SELECTS = (
    "made images are judged as a set, and such numbers can rise while the images get better (FID does), or fall by "
    "copying"
)


@dataclass(frozen=True)
class GenerationTask:
    """Made images for the conditions of cases. See core.protocols.Task.

    An answer is MadeImages. classes are what a condition says besides words, and what a classifier looks for in made
    images. judge: what answers are judged beside, once there are training images. extractor: its record, where the sets
    came from elsewhere. outlines: reads those of the classes that masks show.
    """

    classes: tuple[str, ...] = ()
    options: Options = field(default_factory=Options)
    judge: Judge | None = None
    extractor: Record | None = None
    outlines: TruthReader | None = None
    load_run: Callable[[], FeatureNetwork] | None = None
    name: str = "generation"
    kind: str = "images"
    unit: str = "image"
    uses: ClassVar[frozenset[str]] = USES
    built_in_baselines: ClassVar[Mapping[str, str]] = BUILT_IN
    variant_metrics: ClassVar[tuple[str, ...]] = ("fid", "kid", "precision", "recall", "condition_auroc")
    variant_cases: ClassVar[int] = 1000
    formats: ClassVar[tuple[str, ...]] = image_files.FORMATS
    hidden_arrays: ClassVar[frozenset[str]] = frozenset({PIXELS})
    never_selects: ClassVar[str] = NEVER_SELECTS

    @property
    def images(self) -> int:
        """Made for each condition."""
        return self.options.images

    @property
    def answers(self) -> Literal["images"]:
        return "images"

    @property
    def metrics(self) -> Mapping[str, Metric]:
        return METRICS

    @property
    def default_metrics(self) -> tuple[str, ...]:
        own = (*DEFAULT_METRICS, "clip_score") if self.options.clip else DEFAULT_METRICS
        return tuple(m for m in own if self.classes or METRICS[m].takes != "score")

    def has_truth(self, case: Case) -> bool:
        """Every image is its own truth; a class that is asked for must be known."""
        return not self.classes or not np.isnan([case.target(name) for name in self.classes]).all()

    def hide(self, case: Case) -> Case:
        """Conditions are what is asked; the image itself is hidden by `hidden_arrays`."""
        return replace(case, answer=None)

    def stratify(self) -> tuple[str, ...]:
        return self.classes

    def labels(self, cases: Sequence[Case]) -> Array | None:
        return None

    def truth_reader(self, card: DataCard) -> TruthReader | None:
        return None

    def presence(self, true: TrueCases) -> Array:
        return judge.labels_of([true.case(place) for place in range(len(true))], self.classes)

    def learns_from(self, case: Case) -> bool:
        return not any(combination.possible(case) for combination in self.held_out)

    @property
    def held_out(self) -> tuple[Combination, ...]:
        return combinations(self.options.held_out)

    def load_judges(self) -> None:
        """The extractor and the CLIP that the recipe names."""
        options = self.options
        loaders: dict[str, Callable[[], object]] = {}
        if options.extractor != extractors.DEFAULT:
            loaders["extractor"] = lambda: extractors.load_extractor(options.extractor, size_px=options.extractor_px)
        named = options.reidentification
        if named is not None:
            loaders["reidentification"] = lambda: self._verifying(named, "cpu")
        if options.clip is not None:
            loaders["clip"] = lambda: CaptionScorer.loaded(str(options.clip), "cpu")
        for key, load in loaders.items():
            try:
                load()
            except (RunError, WeightsError) as error:
                raise WeightsError(
                    f"task.options.{key}: {error.what}", where=error.where, remedy=error.remedy
                ) from error

    @property
    def verifying_run(self) -> str | None:
        """The folder of a finished run that says whose images are."""
        kind, _, folder = str(self.options.reidentification or "").partition(":")
        return folder if kind == RUN else None

    def verified_by(self, load: Callable[[], FeatureNetwork]) -> GenerationTask:
        return replace(self, load_run=load)

    def _verifying(self, named: str, device: str) -> FeatureNetwork:
        return extractors.load_extractor(named, device) if self.load_run is None else self.load_run()

    def beside(self, train: TrueCases, device: str) -> GenerationTask:
        """The task with a judge of its own: the extractor is loaded, and looks at the training images."""
        extractor = extractors.load_extractor(self.options.extractor, device, self.options.extractor_px)
        scorer = None if self.options.clip is None else CaptionScorer.loaded(self.options.clip, device)
        named = self.options.reidentification
        verifying = None if named is None else self._verifying(named, device)
        return replace(self, judge=Judge.of(train, self.classes, extractor, scorer, verifying, self.held_out))

    def settled(self, answer: Answer, grid: SliceGrid | None) -> Answer:
        return answer

    def collect(
        self,
        true: TrueCases,
        answers: Iterable[Answer],
        folder: Path | None,
        specs: Sequence[MetricSpec],
        probabilities: bool = True,
    ) -> MadeSet:
        """The images of all conditions as one set; with a folder, each as images/CASE-NUMBER.png or .nii.gz."""
        assert self.judge is not None
        shown, real = self.judge.real(true)
        channels = self.judge.train.pixels.shape[1]
        words = [""] * len(true)
        places: list[int] = []
        planes: list[Array] = []
        asked: list[str] = []
        files: list[str] = []
        spacing_mm: tuple[float, float, float] | None = None
        for place, answer in enumerate(answers):
            words[place] = answer.asked
            spacing_mm, count = answer.spacing_mm, len(answer.pixels)
            planes += list(answer.planes(channels))
            places += [place] * count
            asked += [answer.asked] * count
            files += [""] * count if folder is None else image_files.saved(folder, true.case(place), answer)
        rows = np.array(places, int)
        cases = [true.case(place) for place in places]
        pictures = _fitting(np.stack(planes), shown.pixels.shape[2:])
        made = replace(shown.rows(rows), pixels=pictures)
        columns = sorted({name for case in cases for name in case.groups})
        return MadeSet(
            self.judge.made(made, real, asked),
            replace(real, fits=self.judge.fits(shown.pixels, words)),
            np.array(asked, dtype=object),
            np.zeros(len(rows), dtype=int),
            np.array(files, dtype=object),
            {c: np.array([case.groups.get(c, "") for case in cases], dtype=object) for c in columns},
            pictures=pictures,
            spacing_mm=spacing_mm,
            judge=self.judge,
        )

    def join(self, parts: Sequence[MadeSet]) -> MadeSet:
        """There is one part: folds are refused before anything is read."""
        assert len(parts) == 1
        return parts[0]

    def operating_points(
        self, val: MadeSet | None, specs: Sequence[MetricSpec], recalibrate: str, decide_at: str | float = "youden"
    ) -> Points:
        """Nothing is fixed on validation data."""
        return Points()

    def adjusted(self, predictions: MadeSet, points: Points) -> MadeSet:
        return predictions

    def estimands(self, predictions: MadeSet, specs: Sequence[MetricSpec], points: Points) -> list[Estimand]:
        return estimands.estimands(predictions, specs, self.classes)

    def views(self, predictions: MadeSet) -> dict[str, MadeSet]:
        """`lesion=1` to the images that were made for it, beside the real ones that show it."""
        found = {}
        for column, name in enumerate(self.classes if self.options.per_condition else ()):
            for value in (0, 1):
                made, real = (
                    np.flatnonzero(s.labels[:, column] == value) for s in (predictions.made, predictions.real)
                )
                if len(made) and len(real):
                    found[f"{name}={value}"] = predictions.beside(made, real)
        return found | combination_views.views(predictions, self.held_out, self.classes)

    def baseline(self, settings: Baseline, context: BaselineContext) -> Callable[[], Adapter] | Reuse | None:
        if settings.name not in BUILT_IN:
            return None
        name = settings.name
        return Reuse(rearrange=lambda predictions, rng: rival_sets.of(name, predictions, rng))

    def read_run(self, directory: Path) -> dict[tuple[str, str | None], MadeSet]:
        return made_set.read_run(directory)

    def combine(self, answers: Sequence[Answer], points: Points) -> Answer:
        return answers[0]

    def rows(
        self, case: Case, answer: Answer, grid: SliceGrid | None, points: Points, files: Sequence[Path]
    ) -> list[Record]:
        return [
            {"file": str(file), "prompt": answer.asked, "seed": seed}
            for file, seed in zip(files, answer.seeds, strict=True)
        ]

    def write_answer(
        self, answer: Answer, case: Case, grid: SliceGrid | None, preparer: Preparer, folder: Path, form: str,
        model: str,
    ) -> list[Path]:  # fmt: skip
        """A file for each image, which says what made it."""
        stem = file_names.stem(case.case_id)
        files, suffix = image_files.written(answer, image_files.said_of(answer, {"recipe": model}), form)
        paths = [folder / f"{stem}-{number + 1}{suffix}" for number in range(len(files))]
        for path, content in zip(paths, files, strict=True):
            write_bytes(path, content)
        return paths

    def pictures(self, predictions: MadeSet, points: Points, specs: Sequence[MetricSpec], seen: Seen) -> Record:
        """Sheets of made images beside real ones for each condition, and the pairs that look most like copies."""
        written = sheets.write(predictions, self.classes, seen, blinded=self.options.blinded)
        if self.held_out and written:
            written["generation"]["held_out"] = combination_views.record(predictions, self.held_out)
        return written

    def describe(self) -> Record:
        return {
            "name": self.name,
            "kind": self.kind,
            "classes": list(self.classes),
            "unit": self.unit,
            "options": self.options.model_dump(mode="json"),
            "extractor": self.extractor or {"name": self.options.extractor},
            "words": dict(WORDS),
        }


def _fitting(pictures: Array, size: tuple[int, ...]) -> Array:
    """Made pictures at the size of the real ones that they are compared with; volumes have it already."""
    if pictures.shape[2:] == size:
        return pictures.astype(np.float32)
    given = torch.from_numpy(pictures).float()
    found = torch.nn.functional.interpolate(given, size=tuple(size), mode="bilinear", antialias=True)
    return np.asarray(found.clamp(0, 1).numpy())


def build(settings: TaskSettings, where: Where, card: DataCard) -> GenerationTask:
    """Settle the question; classes are those of the card."""
    if settings.kind is not None:
        raise RecipeError(f"generation has one kind, and none is named; not {settings.kind!r}", where=where("kind"))
    if settings.unit != "image":
        raise RecipeError(f"images are made one by one, not by {settings.unit}", where=where("unit"))
    options = checked(Options, settings.options, "generation", where("options"))
    _, weights = extractors.check_name(options.extractor, where=where("options", "extractor"))
    verifying = None
    if options.reidentification is not None and not options.reidentification.startswith(f"{RUN}:"):
        _, verifying = extractors.check_name(options.reidentification, where=where("options", "reidentification"))
    for key, source in (("extractor", weights), ("clip", options.clip), ("reidentification", verifying)):
        if source is not None:
            refuse_missing(source, where("options", key))
    for number, name in enumerate(settings.classes):
        if name not in card.class_names():
            raise RecipeError(
                f"the card {card.name} has no class {name!r}; {nearest(name, card.class_names())}",
                where=where("classes", number),
            )
    columns = sorted(card.group_columns())
    refuse(options.held_out, settings.classes, columns, lambda number: where("options", "held_out", number))
    return GenerationTask(tuple(settings.classes), options, outlines=truth_masks.outlines(card, settings.classes))


def from_record(record: Record) -> GenerationTask:
    """The task of a finished run, from what `describe` said."""
    options = checked(Options, record.get("options") or {}, "generation", "run.json")
    return GenerationTask(tuple(record["classes"]), options)


def read(truth: Table, predictions: Table, metrics: Sequence[str] | None, options: Mapping[str, object]) -> Outside:
    """Any program's images: two folders of pictures, or two tables of features, a column each."""
    given = checked(GivenOptions, options, "evaluate generation", "evaluate")
    specs = [parse(name, METRICS, "metrics") for name in (metrics or OF_SETS)]
    extractors.check_name(given.extractor, where="--extractor")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = given_sets.read(truth, predictions, given.extractor, device, size_px=given.extractor_px)
    shown = Options(extractor=given.extractor, extractor_px=given.extractor_px)
    task = GenerationTask(options=shown, extractor=None if found.extractor is None else dict(found.extractor))
    pictures = found.predictions.images() if any(spec.metric.takes == "images" for spec in specs) else None
    made, real = _given(found.predictions, pictures), _given(found.truth)
    nothing = np.array([""] * len(made), dtype=object)
    sets = MadeSet(made, real, nothing, np.zeros(len(made), dtype=int), nothing)
    return Outside(task, sets, specs, Points(), (), list(found.notes), [], len(made))


def _given(side: given_sets.GivenSet, pictures: torch.Tensor | None = None) -> ImageSet:
    features = side.features.cpu().numpy()
    pairs, likeness = (None, None) if pictures is None else judge.pairs_of(pictures)
    unlabelled = np.zeros((len(features), 0))
    return ImageSet(side.case_ids, side.patients, features, unlabelled, pairs=pairs, likeness=likeness)
