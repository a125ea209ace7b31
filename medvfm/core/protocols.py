"""What an adapter, a task and a metric are to the rest of the house.

Truth travels in the batch, an adapter answers one case, a task turns answers into estimands, the engine turns estimands
into rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, overload

import numpy as np

from medvfm.core.case import Case
from medvfm.core.data_card import DataCard
from medvfm.core.image import Image
from medvfm.core.item import Item
from medvfm.core.metric_spec import Metric, MetricSpec
from medvfm.core.recipe import Recipe
from medvfm.core.recipe_sections import Baseline, Prepare
from medvfm.core.slice_grid import SliceGrid

if TYPE_CHECKING:  # core imports neither torch nor pandas when it runs
    import pandas as pd
    import torch


Record = dict[str, Any]  # plain data, as run.json holds it
Batch = Mapping[str, Any]  # tensors and lists that an adapter's `collate` made, the truth among them
Answers = Sequence[Any] | np.ndarray  # one for each item
Answer = Any  # what the task's `answers` names: (T,) scores, a mask, a text, images, {role: vector}
Where = Callable[..., str]  # keys below a section of the recipe to file, line and dotted key, for messages
Windows = Mapping[str, tuple[float, float]]
Reading = Mapping[Any, Any]  # how image files are read: channel, time, page, unit


class Augment(Protocol):
    """Moves pixels in [0, 1] and labels of an example together."""

    @overload
    def __call__(self, pixels: np.ndarray, labels: np.ndarray, /) -> tuple[np.ndarray, np.ndarray]: ...

    @overload
    def __call__(self, pixels: np.ndarray, labels: None, /) -> tuple[np.ndarray, None]: ...


@dataclass(frozen=True)
class Method:
    """One way of adapting, as an adapter's table METHODS names it.

    fits         what is fitted: `nothing`, a head on `features` that are computed once, or `weights` by the loop
    uses         task to the dotted keys of a recipe that the method understands there (`train.epochs`, `adapter.rank`,
                 `prepare.spacing`); a key that neither method nor task uses is refused
    needs_truth  False for objectives that train on unlabelled cases
    frozen       names of the towers that the method leaves as they are: what `embed` gives of them is computed once
    never        dotted key that looks useful and is not, to the reason
    """

    summary: str
    fits: Literal["nothing", "features", "weights"]
    uses: Mapping[str, frozenset[str]]
    needs_truth: bool = True
    frozen: frozenset[str] = frozenset()
    never: Mapping[str, str] = field(default_factory=dict)

    @property
    def tasks(self) -> frozenset[str]:
        """The tasks that it answers."""
        return frozenset(self.uses)


class Preparer(Protocol):
    """Reads a case and makes it what the model takes. It holds no weights, so that loader workers can carry it."""

    @property
    def prepare(self) -> Prepare: ...

    @property
    def windows(self) -> Windows: ...

    @property
    def read(self) -> Reading: ...

    def key(self) -> str:
        """What was done to the voxels, in words; together with the content of the files it names the result in a
        cache."""
        ...

    def files(self, case: Case) -> Sequence[Path]:
        """The files that the result depends on; none for a model that reads no image."""
        ...

    def images(self, case: Case) -> list[Image]:
        """The images of a case, read; raises a MedvfmError for one that cannot be read."""
        ...

    def arrays(self, images: Sequence[Image], case: Case) -> Mapping[str, np.ndarray]:
        """Named arrays (NumPy) of images that have been read."""
        ...

    def grid(self, arrays: Mapping[str, np.ndarray]) -> SliceGrid | None:
        """How the slices lie in the image, from the arrays; None where the model needs no way back."""
        ...


class TruthReader(Protocol):
    """Reads the truth of a case that lies in files, in loader workers."""

    def key(self) -> str: ...

    def files(self, case: Case) -> Sequence[Path]: ...

    def __call__(self, case: Case, image: Image) -> np.ndarray:
        """The truth on the grid of the image."""
        ...


class Adapter(Protocol):
    """One family of models, adapted to one task by one method.

    An adapter's file in `adapters/` holds METHODS (name to Method), DEFAULT_METHOD, `refuse(settings, methods, prepare,
    task)`, `build(settings, task, method, prepare, *, windows, read, train, seed) -> Adapter`, `training(method,
    weights, given, task) -> settings of the loop` and `load(weights, prepare) -> Adapter`.

    module  the torch module with everything that is trained
    probabilities  scores are meant as such; of no matter where answers are no scores
    answers_at_once  how many items `answer` takes at a time: 1 where an answer is large
    oracle  which truth its prompts use, in words; None where it uses none, and only then it sees no truth
    """

    @property
    def preparer(self) -> Preparer: ...

    @property
    def module(self) -> torch.nn.Module: ...

    @property
    def oracle(self) -> str | None: ...

    @property
    def probabilities(self) -> bool: ...

    @property
    def answers_at_once(self) -> int: ...

    def example(self, item: Item, rng: np.random.Generator, augment: Augment) -> Any:
        """One training example of a case; `augment` moves pixels and labels together."""
        ...

    def collate(self, examples: Sequence[Any]) -> Batch:
        """Examples as one batch, with their truth."""
        ...

    def loss(self, batch: Batch) -> torch.Tensor:
        """The mean training loss of a batch."""
        ...

    def answer(self, items: Sequence[Item], variant: str | None = None) -> Answers:
        """An answer to each item; `variant` is one of `variants`."""
        ...

    def variants(self) -> list[str]:
        """Names of ways to disturb the prompts, such as `box_jitter_px=5`, for curves of robustness."""
        ...

    def start_stage(self, method: str, options: Mapping[str, Any]) -> None:
        """Go on with another method from the weights that the last stage left."""
        ...

    def save(self, folder: Path) -> None:
        """What was trained, as safetensors."""
        ...

    def load(self, folder: Path) -> None:
        """Put back what `save` wrote."""
        ...

    def record(self) -> Record:
        """What run.json says about the model: weights, hash, contract, parameters, and `said`, its words for the
        report. A model of several towers lists them: `towers: [{role, weights, sha256, licence, trained}]`."""
        ...


class Predictions(Protocol):
    """What a task keeps of the answers to the cases of one split: ids, whose they are, fold, groups, and more."""

    @property
    def ids(self) -> tuple[str, ...]: ...

    @property
    def patients(self) -> np.ndarray: ...

    @property
    def fold(self) -> np.ndarray: ...

    @property
    def groups(self) -> Mapping[str, np.ndarray]: ...

    def subset(self, keep: np.ndarray) -> Predictions:
        """The units where `keep` (n,) is true."""
        ...

    def as_frame(self, split: str, hashed: Mapping[str, str], baseline: str | None) -> pd.DataFrame:
        """Long, for predictions.parquet: case_id, patient, split, fold, target, truth, score | answer | rank | mask,
        baseline."""
        ...

    def measures(self, split: str, hashed: Mapping[str, str], baseline: str | None) -> pd.DataFrame | None:
        """Long, for measures.parquet: values of single cases; None for a task that measures over all cases."""
        ...


@dataclass(frozen=True, eq=False)
class Recalibration:
    """How scores become probabilities, fitted on validation data.

    method            `platt`: sigmoid(slope * score + intercept), values (folds, T, 2); `temperature`: log odds, or
                      logits of exclusive classes, over a temperature, values (folds, T), one for all exclusive classes
    of_probabilities  the scores that it takes are probabilities; otherwise logits
    """

    method: str
    values: np.ndarray
    of_probabilities: bool = False


@dataclass(frozen=True, eq=False)
class Points:
    """What was fixed on validation data and is used on test data as it is.

    thresholds     (metric, target) to one threshold a fold; `decision` serves whatever has none of its own
    recalibration  None without
    fixed_on       `val`, or `given` where a user states a threshold
    decided_at     how `decision` was chosen, in words
    in_sample      the predictions are those that all this was fixed on
    left_as_they_are  why scores were not recalibrated though they should have been
    of_seeds       what was fixed for each of several seeds, where there are several; the rest is of the first
    """

    thresholds: Mapping[tuple[str, str], np.ndarray] = field(default_factory=dict)
    recalibration: Recalibration | None = None
    fixed_on: str = "val"
    decided_at: str = ""
    in_sample: bool = False
    left_as_they_are: str = ""
    of_seeds: tuple[Points, ...] = ()


@dataclass(frozen=True, eq=False)
class Exchange:
    """How images are dealt anew among the cases of a split before a fitted model is asked again.

    places  (cases, rng) to (n,) for each case the place of the case whose images it gets
    asked   what of a case decides its answer besides its images: the same of the same images is not asked twice
    given   the model's own answers, in the order of its predictions
    """

    places: Callable[[Sequence[Case], np.random.Generator], np.ndarray]
    asked: Callable[[Case], str]
    given: Callable[[Any], Sequence[Any]]


@dataclass(frozen=True, eq=False)
class Reuse:
    """A baseline that reuses the fitted model, without fitting.

    at         `start`, `stage 1`, ... or `final`: the moment of training whose weights answer
    change     (item, rng) to the item that is answered, such as one without its image; None leaves it
    exchange   test cases are answered with the images of others
    redraw     the weights that began at random are drawn anew; see capabilities.RedrawnAdapter
    rearrange  (predictions, rng) to the predictions that are judged: nothing is answered again
    draws      how often this is done with fresh randomness: the row is the mean, and its note says of how many
    """

    at: str = "final"
    change: Callable[[Item, np.random.Generator], Item] | None = None
    exchange: Exchange | None = None
    redraw: bool = False
    rearrange: Callable[[Any, np.random.Generator], Any] | None = None
    draws: int = 1


@dataclass(frozen=True)
class BaselineContext:
    """What built-in baselines are made from. `adapter` makes the recipe's own adapter by another of its methods."""

    recipe: Recipe
    card: DataCard
    where: str
    adapter: Callable[[str], Adapter]


@dataclass(frozen=True, eq=False)
class Outside:
    """What `medvfm evaluate` read: the settled task, predictions of the test cases, what does not match, who was left
    out, predictions of validation cases where the tables have them apart, and the steps of the flow before the cases
    that are analysed."""

    task: Task
    predictions: Predictions
    specs: Sequence[MetricSpec]
    points: Points
    subgroups: tuple[str, ...]
    notes: list[str]
    left_out: list[tuple[str, str]]
    cases: int
    val: Predictions | None = None
    flow: Sequence[Record] = ()


class TrueCases(Protocol):
    """Cases beside their truth, by their place from 0 on."""

    def __len__(self) -> int: ...

    def case(self, place: int) -> Case: ...

    def truth(self, place: int) -> np.ndarray:
        """Truth that lies in files, on the grid of the image."""
        ...

    def grid(self, place: int) -> SliceGrid | None: ...

    def pixels(self, place: int) -> np.ndarray:
        """The prepared image, where that is the truth: (C, H, W) in [0, 1]."""
        ...

    def array(self, place: int, name: str) -> np.ndarray:
        """Another array that the preparer made, by its name."""
        ...


class Task(Protocol):
    """The question. A folder in `tasks/` with a file `task.py` that holds `build(settings, where, card) -> Task`,
    `from_record(record) -> Task` (the task of a finished run) and `read(truth, predictions, metrics, options) ->
    Outside` (any program's answers beside the truth, for `medvfm evaluate`).

    answers          what an adapter gives for one case
    uses             dotted keys of a recipe that the task understands; see Method.uses
    variant_metrics  the metrics that curves over an adapter's variants show, and on how many cases at most
    """

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def unit(self) -> str: ...

    @property
    def answers(self) -> Literal["scores", "mask", "text", "images", "embedding"]: ...

    @property
    def uses(self) -> frozenset[str]: ...

    @property
    def metrics(self) -> Mapping[str, Metric]: ...

    @property
    def default_metrics(self) -> tuple[str, ...]: ...

    @property
    def built_in_baselines(self) -> Mapping[str, str]: ...

    @property
    def variant_metrics(self) -> tuple[str, ...]: ...

    @property
    def variant_cases(self) -> int: ...

    @property
    def formats(self) -> tuple[str, ...]: ...

    def has_truth(self, case: Case) -> bool:
        """The case can be trained and scored on."""
        ...

    def hide(self, case: Case) -> Case:
        """The case without what is truth."""
        ...

    def stratify(self) -> tuple[str, ...]:
        """Columns that a split holds in balance where the recipe names none."""
        ...

    def labels(self, cases: Sequence[Case]) -> np.ndarray | None:
        """(n, T) labels that the cases hold, NaN where unknown, for weights and sampling; None for tasks without."""
        ...

    def truth_reader(self, card: DataCard) -> TruthReader | None:
        """Reads truth that lies in files; None where the case holds it."""
        ...

    def presence(self, true: TrueCases) -> np.ndarray:
        """(n, T) 1 where a case is positive for a class, for the tables that describe the splits."""
        ...

    def settled(self, answer: Answer, grid: SliceGrid | None) -> Answer:
        """An answer as it is scored and written: masks after post-processing, where the recipe asks for it."""
        ...

    def collect(
        self,
        true: TrueCases,
        answers: Iterable[Answer],
        folder: Path | None,
        specs: Sequence[MetricSpec],
        probabilities: bool = True,
    ) -> Any:
        """Predictions from settled answers, consumed case by case so that memory holds one; files go to `folder` where
        there is one. `probabilities`: scores are meant as such."""
        ...

    def join(self, parts: Sequence[Any]) -> Any:
        """Predictions of several folds, numbered by fold."""
        ...

    def operating_points(
        self, val: Any | None, specs: Sequence[MetricSpec], recalibrate: str, decide_at: str | float = "youden"
    ) -> Points:
        """What is fixed on validation data; empty where nothing is. See core.recipe_sections.Evaluate for
        `recalibrate` and `decide_at`."""
        ...

    def adjusted(self, predictions: Any, points: Points) -> Any:
        """Predictions after recalibration, where there is one."""
        ...

    def estimands(self, predictions: Any, specs: Sequence[MetricSpec], points: Points) -> Sequence[Any]:
        """`statistics.estimand.Estimand` of each metric and target."""
        ...

    def baseline(self, settings: Baseline, context: BaselineContext) -> Callable[[], Adapter] | Reuse | None:
        """A built-in baseline by its name, or None where it is an adapter."""
        ...

    def read_run(self, directory: Path) -> dict[tuple[str, str | None], Any]:
        """A finished run's predictions by (split, baseline)."""
        ...

    def combine(self, answers: Sequence[Answer], points: Points) -> Answer:
        """The answers of several folds to one case as one answer."""
        ...

    def rows(
        self, case: Case, answer: Answer, grid: SliceGrid | None, points: Points, files: Sequence[Path]
    ) -> list[Record]:
        """What `medvfm predict` writes of a case to predictions.csv."""
        ...

    def write_answer(
        self,
        answer: Answer,
        case: Case,
        grid: SliceGrid | None,
        preparer: Preparer,
        folder: Path,
        form: str,
        model: str,
    ) -> list[Path]:
        """Files of an answer, in one of `formats`."""
        ...

    def pictures(self, predictions: Any, points: Points, specs: Sequence[MetricSpec], seen: Seen) -> Record:
        """Small pictures for the report below `seen.folder`/previews, and what run.json says of them."""
        ...

    def describe(self) -> Record:
        """The task section of run.json, with its words for the report."""
        ...


@dataclass(frozen=True, eq=False)
class Seen:
    """What pictures are made from: the run's folder, the test cases with their truth, and the answer to each place."""

    folder: Path
    true: TrueCases
    answer: Callable[[int], Answer]
    preparer: Preparer
