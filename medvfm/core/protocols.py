"""What an adapter, a task and a metric are to the rest of the house."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from medvfm.core.case import Case

# A batch is a mapping of tensors and lists that an adapter's `collate` made; core knows no torch, so it is Any here.
Batch = Mapping[str, Any]


@dataclass(frozen=True)
class Method:
    """One way of adapting, as an adapter's table METHODS names it.

    fits  what is fitted: `nothing`, a head on `features` that are computed once, or `weights` by the training loop
    uses  the keys of the recipe's `train` that this method understands; any other is refused
    """

    summary: str
    tasks: frozenset[str]
    fits: Literal["nothing", "features", "weights"]
    uses: frozenset[str] = frozenset()
    prompted: bool = False


class Preparer(Protocol):
    """Reads a case and makes it what the model takes. It holds no weights, so that loader workers can carry it."""

    def key(self) -> str:
        """What was done to the voxels, in words; together with the files' content it names the result in a cache."""
        ...

    def files(self, case: Case) -> Sequence[Any]:
        """The files that the result depends on."""
        ...

    def __call__(self, case: Case) -> Any:
        """The prepared array (NumPy); raises a MedvfmError for a case that cannot be read."""
        ...


class Adapter(Protocol):
    """One family of models, adapted to one task by one method.

    An adapter's file in `adapters/` holds METHODS (name to Method) and `build(settings, question) -> Adapter`.
    `module` is the torch module with everything that is trained; `trainable` names its parameters by their full names.
    Scores are (B, targets), higher means more likely; `probabilities` says whether they are meant as such.
    """

    preparer: Preparer
    module: Any
    probabilities: bool

    def collate(self, items: Sequence[Any]) -> Batch:
        """Prepared cases as one batch."""
        ...

    def embed(self, batch: Batch) -> Any:
        """(B, ...) features of the frozen model, for methods that fit on features."""
        ...

    def features_key(self) -> str:
        """Names the weights, the input contract and the pooling that features depend on."""
        ...

    def pooled(self, features: Any) -> Any:
        """(n, d) from what `embed` gave."""
        ...

    def fit_features(self, train: Any, val: Any, choose: Callable[[Any], float] | None, seed: int) -> dict[str, Any]:
        """Fit the head on (features, truth) pairs; `choose` values (n, T) scores of val. Returns a record."""
        ...

    def score_features(self, features: Any) -> Any:
        """(B, T) scores from features."""
        ...

    def loss(self, batch: Batch, truth: Any) -> Any:
        """The training loss of a batch; truth (B, T) with NaN where unknown."""
        ...

    def predict(self, batch: Batch) -> Any:
        """(B, T) scores of a batch."""
        ...

    def record(self) -> dict[str, Any]:
        """What run.json says about the model: weights, hash, contract, parameters."""
        ...


class Segmenter(Protocol):
    """An adapter that answers segmentation: it draws masks on the grid of the image.

    `preparer` is models.inputs.volumes.VolumePreparer and an item its PreparedVolume. `oracle` says
    in words which truth of a case its prompts take; it is None for an adapter that sees none, and only then is an item
    without truth.
    """

    preparer: Any
    module: Any
    oracle: str | None

    def draw(self, item: Any, rng: Any, augment: Callable[[Any, Any], tuple[Any, Any]]) -> Any:
        """One training example of a case; `augment` moves pixels and labels together."""
        ...

    def collate(self, examples: Sequence[Any]) -> Batch:
        """Examples as one batch."""
        ...

    def loss(self, batch: Batch, truth: Any) -> Any:
        """The training loss; the truth of a mask lies in the batch, `truth` is a stand-in of its length."""
        ...

    def segment(self, item: Any, variant: str | None = None) -> Any:
        """(i, j, k) whole numbers on the grid of the image, or (i, j, k, T) of bool for multi-label questions."""
        ...

    def variants(self) -> list[str]:
        """Names of ways to disturb the prompts, such as `box_jitter_px=5`, for curves of robustness."""
        ...

    def record(self) -> dict[str, Any]:
        """What run.json says about the model: weights, hash, contract, parameters."""
        ...


@dataclass(frozen=True)
class Metric:
    """One row of the table at the foot of a file in `metrics/`.

    `function` has truth first and prediction second. What they are is said by `takes`:

    score        truth (n,) of 0/1, score (n,), any real numbers; optional `weights` (R, n) integers gives (R,) values
    probability  the same, score in [0, 1] and meant as a probability
    decision     truth (n,) of 0/1, decision (n,) of 0/1, made at a threshold that was fixed on validation data
    class_score  truth (n,) class index, score (n, C); optional `weights` as above
    class        truth (n,) class index, decision (n,) class index; optional `weights` as above
    overlap      the voxel counts of one case, `overlap.Counts`; gives (T,), NaN where a label's value does not exist
    surface      the distances between the surfaces of one label of one case, `surface.Surfaces`; NaN as above
    instances    the objects of one case, `instances.Matches`; NaN as above
    features     (n, d) features of two sets of images
    answer       texts

    A metric with a `parameter` is written `name@parameter=value` in a recipe: `sensitivity@specificity=0.9`.
    A value that does not exist raises Undefined with the reason; under `weights` it is NaN for that resample.
    `over_cases` says how a row's number is made of those of single cases: their mean, or their sum where cases are
    counted. Cases without a value are left out.
    """

    function: Callable[..., Any]
    takes: Literal[
        "score",
        "probability",
        "decision",
        "class_score",
        "class",
        "overlap",
        "surface",
        "instances",
        "features",
        "answer",
    ]
    better: Literal["higher", "lower", "zero", ""]
    unit: str = ""
    parameter: str | None = None
    summary: str = ""
    over_cases: Literal["mean", "sum"] = "mean"
