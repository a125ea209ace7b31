"""The sections of a recipe: what each key may hold, and what does not fit together within a section."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from medvfm.core.layout import OptionValue

Lax = Field(strict=False)  # YAML has lists where these models have tuples; what is in them stays strict
Names = Annotated[tuple[str, ...], Lax]
Scalar = str | int | float | bool | None
Number = Annotated[float, Field(allow_inf_nan=False)]
Range = Annotated[tuple[Number, Number], Lax]
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A part of the recipe: frozen, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)


class Data(Section):
    card: str = Field(description="name of a data card, or path of one")
    root: str | None = Field(None, description="folder that holds the data; null asks roots.yaml, then the cache")
    layout: str | None = Field(None, description="which of the card's layouts; null takes the one that is found")
    options: dict[str, OptionValue] = Field(default_factory=dict, description="options that the card declares")


class Slices(Section):
    axis: Literal["axial", "coronal", "sagittal", "native"] | None = Field(
        None, description="null: axial for classification; for segmentation native, the best resolution in plane"
    )
    count: int = Field(13, ge=1, description="slices taken from a volume, evenly spaced; segmentation takes all")
    span: Annotated[tuple[Share, Share], Lax] = Field((0.2, 0.8), description="part of the volume they cover")
    pool: Literal["mean", "max", "attention"] = "mean"

    @model_validator(mode="after")
    def _ordered(self) -> Slices:
        if self.span[0] >= self.span[1]:
            raise ValueError("span must go from a smaller to a larger share")
        return self


class Prepare(Section):
    windows: (
        str
        | Annotated[tuple[Number, Number], Lax]
        | Annotated[tuple[Range, Range, Range], Lax]
        | dict[str, Annotated[tuple[Number, Number], Lax]]
        | None
    ) = Field(
        None,
        description="a named window, [low, high] in the image's unit, three of these as red, green and blue, "
        "{percentiles: [low, high]}; null: the card",
    )
    size: int | Annotated[tuple[int, ...], Lax] | None = Field(
        None,
        description="pixels or voxels; null: the model's. sam: the longest side; positions are interpolated, and small "
        "structures suffer first",
    )
    spacing: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Lax] | None = Field(None, description="mm")
    slices: Slices = Slices()
    patches: Literal["mean", "cls", "max"] | None = Field(None, description="how patch tokens become one vector")
    invalid: Literal["refuse", "zero"] = Field("refuse", description="NaN and infinity in voxels")


class Split(Section):
    origin: Literal["random", "card"] | None = Field(None, alias="from")
    fractions: Annotated[tuple[Share, Share, Share], Lax] | None = Field(None, description="train, val, test")
    folds: int | None = Field(None, ge=2, le=50)
    hold_out: dict[str, Annotated[tuple[Scalar, ...], Lax]] | None = Field(
        None, description="group column to the values"
    )
    stratify: Names | None = Field(None, description="columns held in balance; null: the classes")
    leaks: Literal["stop", "drop"] = Field("stop", description="identical pixels in two splits")

    @model_validator(mode="after")
    def _one_way(self) -> Split:
        ways = [
            w for w, v in (("from", self.origin), ("folds", self.folds), ("hold_out", self.hold_out)) if v is not None
        ]
        if len(ways) > 1:
            raise ValueError(f"split in one way: {' and '.join(ways)} exclude each other")
        if self.fractions and abs(sum(self.fractions) - 1) > 1e-6:
            raise ValueError(f"fractions must sum to 1 and sum to {sum(self.fractions):g}")
        if self.fractions and min(self.fractions[0], self.fractions[2]) <= 0:
            raise ValueError("train and test need a fraction above 0")
        return self

    @property
    def shares(self) -> tuple[float, float, float]:
        return self.fractions or (0.6, 0.15, 0.25)


class TaskSettings(Section):
    name: str
    classes: Names = Field((), description="columns of the cases table, or names of label values")
    kind: Literal["binary", "multi_class", "multi_label", "ordinal", "semantic", "instances"] | None = Field(
        None, description="null: binary for one class; more than one class must say"
    )
    unit: Literal["image", "side", "exam", "patient"] = "image"
    pool: Literal["mean", "max"] = Field("mean", description="how scores of one unit become one")
    metrics: Names | None = Field(None, description="for a list of tasks; null: evaluate.metrics")
    options: dict[str, Any] = Field(default_factory=dict, description="what only this task understands")
    postprocess: Names = Field(
        (), description="segmentation, off by default: largest_component, fill_holes, drop_smaller@mm3=10; in order"
    )


class Augmentation(BaseModel):
    """A transform by name, and its own options."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str


class Train(Section):
    epochs: int | None = Field(None, ge=1)
    batch_size: int | None = Field(None, ge=1)
    learning_rate: float | None = Field(None, gt=0)
    weight_decay: float | None = Field(None, ge=0)
    warmup: Share | None = Field(None, description="share of all steps")
    accumulate: int | None = Field(None, ge=1)
    clip: float | None = Field(None, gt=0, description="norm of the gradient")
    precision: Literal["fp32", "bf16", "fp16"] | None = None
    patience: int | None = Field(None, ge=1, description="epochs without a better validation value")
    class_weights: Literal["balanced", "none"] | None = None
    balanced_sampling: bool | None = None
    augment: Annotated[tuple[Augmentation, ...], Lax] | None = None
    loss: str | None = None
    steps: int | None = Field(None, ge=1, description="steps an epoch; null: every case once")
    rates: dict[str, Annotated[float, Field(gt=0)]] | None = Field(
        None, description="learning rates of parts of the model, in place of learning_rate: {projector: 0.001}"
    )
    ema: float | None = Field(
        None, gt=0, lt=1, description="decay of the moving average of the weights, which is validated and saved"
    )

    def given(self) -> dict[str, Any]:
        """Only the keys that the recipe sets."""
        return self.model_dump(exclude_none=True)


class Stage(Section):
    method: str
    train: Train = Train()
    data: Data | None = Field(None, description="cases that train this stage only")
    options: dict[str, Any] = Field(default_factory=dict, description="adapter.options that change for this stage")


class PromptSettings(Section):
    origin: Literal["truth", "file", "grid", "adapter"] = Field(alias="from")
    kind: Literal["box", "point", "points", "mask"] | None = None
    file: str | None = None
    adapter: AdapterSettings | None = None
    options: dict[str, Any] = Field(default_factory=dict)


class AdapterSettings(Section):
    name: str
    weights: str | None = Field(None, description="hub id, folder or file, an embedded set, or `tiny`")
    method: str | None = None
    stages: Annotated[tuple[Stage, ...], Lax] | None = None
    rank: int | None = Field(None, ge=1, description="of LoRA")
    alpha: float | None = Field(None, gt=0, description="of LoRA")
    blocks: int | None = Field(None, ge=1, description="how many last blocks are trained")
    prompts: PromptSettings | None = None
    options: dict[str, Any] = Field(default_factory=dict, description="what only this adapter understands")

    @model_validator(mode="after")
    def _steps(self) -> AdapterSettings:
        if self.method and self.stages:
            raise ValueError("either method or stages, not both")
        if self.stages is not None and not self.stages:
            raise ValueError("stages must hold at least one stage")
        return self


class Select(Section):
    metric: str | None = None
    on: Literal["val"] = "val"


class Baseline(AdapterSettings):
    columns: Names = Field((), description="for `attributes`: which columns")
    train: Train = Train()


class Confidence(Section):
    level: float = Field(0.95, gt=0.5, lt=1)
    resamples: int = Field(2000, ge=100, le=1_000_000)
    cluster: Literal["patient"] = "patient"
    method: Literal["auto", "delong", "bootstrap", "bca", "clopper_pearson"] = Field(
        "auto",
        description="auto: for every metric the interval that was found to cover best; delong: the same; "
        "bootstrap: percentiles of resampled patients for all, which cover less with few patients; bca: the same, "
        "corrected for bias and skewness; clopper_pearson: shares by Clopper and Pearson, wider, the rest as auto",
    )


class FewShot(Section):
    per_class: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False, min_length=1)] = Field(
        (1, 2, 4, 8, 16), description="training cases of each class; as many validation cases fix thresholds alone"
    )
    draws: int = Field(5, ge=1, le=100, description="random draws of those cases; the row is their mean")


class Evaluate(Section):
    metrics: Names | None = None
    confidence: Confidence = Confidence()
    subgroups: Names = Field(
        (), description="columns; `sex*site` for their intersections; numbers become bands, an empty cell is missing"
    )
    smallest_intersection: int = Field(20, ge=1, description="patients of an intersection that is shown")
    few_shot: FewShot | None = Field(
        None, description="fit again on few training cases: rows `shots=1`, ...; null: only on all of them"
    )
    self_check: bool = Field(
        True,
        description="masks: ask again about the mirrored image and fit on validation cases how good a mask is without "
        "its truth, with intervals of volumes; false saves the second answer",
    )
    recalibrate: Literal["none", "platt", "temperature"] = Field(
        "none",
        description="fitted on validation data, for baselines too. platt: slope and intercept of every class; "
        "temperature: one factor for the log odds of a class, or for all logits of exclusive classes (Guo et al. 2017)",
    )
    decide_at: str | float = Field(
        "youden",
        description="the threshold of every metric without one in its name, such as balanced_accuracy and f1, and of "
        "what predict decides: youden (greatest sensitivity + specificity on validation data), f1 (greatest F1 there), "
        "specificity=0.9 or sensitivity=0.9 (reached there), or a number such as 0.5",
    )

    @field_validator("decide_at")
    @classmethod
    def _decides(cls, given: str | float) -> str | float:
        if isinstance(given, float):
            return given
        name, equals, value = given.partition("=")
        try:
            good = 0 < float(value) <= 1 if equals else False
        except ValueError:
            good = False
        if given in ("youden", "f1") or (name in ("specificity", "sensitivity") and good):
            return given
        raise ValueError(
            f"decide_at {given!r}: one of youden, f1, specificity=0.9, sensitivity=0.9, or a number such as 0.5"
        )


class Repeats(Section):
    seeds: int = Field(
        1,
        ge=1,
        le=50,
        description="train anew with so many seeds, counted from `seed`, on the same split: numbers are means, and "
        "intervals hold both the choice of patients and the seeds",
    )


Grid = dict[str, Annotated[tuple[Scalar, ...], Field(strict=False, min_length=1)]]


class Sweep(Section):
    """Several models on several numbers of training patients, all judged on the same test cases."""

    over: Grid | Annotated[tuple[Grid, ...], Field(strict=False, min_length=1)] = Field(
        description="dotted key of adapter, train or prepare to its values; every combination is a model, as in "
        "{adapter.method: [linear_probe, full]}; of a list of such, the combinations of each",
    )
    patients: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(strict=False, min_length=1)] = Field(
        (0.01, 0.05, 0.1, 0.25, 1.0), description="shares of the training and validation patients that a model gets"
    )
    draws: int = Field(3, ge=2, le=50, description="draws of those patients, each with a seed of its own")
    reach: Number | None = Field(
        None,
        description="a value of the first metric, for which patients are counted; null: what the weakest model has "
        "with all patients",
    )

    @property
    def grids(self) -> tuple[Grid, ...]:
        """Each of which is expanded to its combinations."""
        return self.over if isinstance(self.over, tuple) else (self.over,)


PromptSettings.model_rebuild()
AdapterSettings.model_rebuild()
