"""What a recipe may ask of the adapter sam, and what it refuses before data are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from medvfm.core.errors import RecipeError, nearest
from medvfm.core.options import checked
from medvfm.core.recipe_sections import AdapterSettings, Prepare, PromptSettings

SMALLEST_PX = 32


class Losses(BaseModel):
    """Weights of the losses of a mask, and of the head that predicts a mask's IoU."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    dice: float = Field(1.0, ge=0)
    cross_entropy: float = Field(1.0, ge=0)
    focal: float = Field(0.0, ge=0)
    iou: float = Field(0.1, ge=0)


class Options(BaseModel):
    """What `adapter.options` may say.

    contract        which input the weights take, where they do not say it themselves
    prompt_encoder  train the prompt encoder too
    objects         at most, of one picture in training
    crop_px         train on square parts of this side; null: whole pictures (`tiny`: 128)
    exact, jitter_share, jitter_px, points  how prompts are sampled in training: share of boxes that fit, how far the
                    sides of the others are off (of the box's side, and in pixels), share of objects with points
    tokens          learned prompts of each class (promptless)
    losses          their weights
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    contract: Literal["sam", "medsam", "sam2", "medsam2", "sam3"] | None = None
    prompt_encoder: bool = False
    objects: int = Field(8, ge=1)
    crop_px: int | None = Field(None, ge=16)
    exact: float = Field(0.6, ge=0, le=1)
    jitter_share: float = Field(0.1, ge=0)
    jitter_px: float = Field(20.0, ge=0)
    points: float = Field(0.2, ge=0, le=1)
    tokens: int = Field(4, ge=1)
    losses: Losses = Losses()


class PromptOptions(BaseModel):
    """What `adapter.prompts.options` may say.

    per           class: all of a structure in a slice is one object; component: each connected part (from: truth,
                  file where that is a folder of masks, or adapter where that is clip)
    extent        slice: a box a slice; volume: one box for all slices that a structure lies in (from: truth)
    jitter_px     how far the sides of true boxes are off
    clicks        of kind points: the first in the middle, the others where the mask is most wrong (from: truth)
    propagate     slices: prompt one slice of each structure, and each next slice with the mask of the last;
                  memory: the same with SAM 2's memory of the slices before (zero_shot, weights for video)
    robustness    measure the masks of jittered boxes and of 1 to 10 clicks too (from: truth)
    points, iou, stability, nms, largest  of automatic masks (from: grid); see models.sam.automatic_masks.PointGrid
    threshold     least score of a detection (from: adapter, a detector)
    names         what the detector calls each class (from: adapter, a detector)
    size          side of the pictures that clip sees (from: adapter); null: that of its weights
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    per: Literal["class", "component"] = "class"
    extent: Literal["slice", "volume"] = "slice"
    jitter_px: float = Field(0.0, ge=0)
    clicks: int = Field(1, ge=1, le=20)
    propagate: Literal["slices", "memory"] | None = None
    robustness: bool = False
    points: int = Field(32, ge=1, le=128)
    iou: float = Field(0.88, ge=0, le=1)
    stability: float = Field(0.95, ge=0, le=1)
    nms: float = Field(0.7, ge=0, le=1)
    largest: float = Field(0.9, gt=0, le=1)
    threshold: float = Field(0.5, ge=0, le=1)
    names: dict[str, str] = Field(default_factory=dict)
    size: int | None = Field(None, ge=SMALLEST_PX)


def options(settings: AdapterSettings) -> Options:
    return checked(Options, settings.options, "sam")


def prompt_options(prompts: PromptSettings) -> PromptOptions:
    return checked(PromptOptions, prompts.options, "sam", "adapter.prompts.options")


def size_px(prepare: Prepare) -> int | None:
    """The longest side that pictures are brought to; None for the weights' own."""
    sizes = (prepare.size,) if isinstance(prepare.size, int) else prepare.size
    if sizes is None:
        return None
    if len(set(sizes)) != 1:
        raise RecipeError("the longest side has one size", where="prepare.size", remedy="give one number, as in 512")
    if sizes[0] < SMALLEST_PX:
        raise RecipeError(f"at least {SMALLEST_PX} px, not {sizes[0]}", where="prepare.size")
    return sizes[0]


def refuse_size(settings: AdapterSettings, prepare: Prepare) -> None:
    """What does not go with another size of the pictures."""
    if size_px(prepare) is None:
        return
    if settings.prompts is not None and prompt_options(settings.prompts).propagate == "memory":
        raise RecipeError(
            "the memory of SAM 2 encodes places for the size it was trained at", where="prepare.size",
            remedy="leave it out, or say adapter.prompts.options.propagate: slices",
        )  # fmt: skip
    if settings.weights == "tiny" and options(settings).crop_px is not None:
        raise RecipeError(
            "parts are cut at the picture's own size, and whole pictures are brought to this size",
            where="prepare.size",
            remedy="leave out adapter.options.crop_px",
        )


def refuse(settings: AdapterSettings, methods: Sequence[str], question: Any) -> None:
    """Settings that contradict each other."""
    options(settings)
    promptless = "promptless" in methods
    if promptless and len(set(methods)) > 1:
        raise RecipeError("promptless learns prompts of its own, and other methods need given ones", where="adapter")
    prompts = settings.prompts
    if promptless:
        if prompts is not None:
            raise RecipeError("promptless takes no prompts", where="adapter.prompts", remedy="leave them out")
        if question.kind == "instances":
            raise RecipeError(
                "promptless gives one mask a class and does not tell objects apart", where="task.kind",
                remedy="take prompts, such as adapter.prompts: {from: grid}",
            )  # fmt: skip
        return
    if prompts is None:
        raise RecipeError(
            f"the method {methods[-1]} needs prompts",
            where="adapter.prompts",
            remedy="say where they come from: {from: truth | file | grid | adapter}; or take the method promptless",
        )
    if settings.weights == "tiny" and "zero_shot" in methods:
        raise RecipeError("tiny knows nothing before it is trained", where="adapter.method", remedy="take full")
    if prompt_options(prompts).propagate == "memory" and set(methods) != {"zero_shot"}:
        raise RecipeError(
            "SAM 2's memory is used as it is", where="adapter.prompts.options.propagate", remedy="take zero_shot"
        )
    _refuse_prompts(prompts, settings.weights == "tiny", question)


def _refuse_prompts(prompts: PromptSettings, tiny: bool, question: Any) -> None:
    given = prompt_options(prompts)
    where = "adapter.prompts"
    if prompts.kind == "mask" and tiny:
        raise RecipeError("tiny takes no masks as prompts", where=f"{where}.kind", remedy="box, point or points")
    if prompts.origin == "truth":
        if given.extent == "volume" and prompts.kind not in (None, "box"):
            raise RecipeError("one prompt for a volume is a box", where=f"{where}.options.extent")
    elif given.robustness:
        raise RecipeError(
            "robustness is measured with prompts from the truth", where=f"{where}.options.robustness",
            remedy="set adapter.prompts.from to truth",
        )  # fmt: skip
    if prompts.origin == "file":
        if prompts.file is None:
            raise RecipeError("which file?", where=f"{where}.file", remedy="a table of prompts, or a folder of masks")
        if not Path(prompts.file).expanduser().exists():
            raise RecipeError(f"no such file or folder: {Path(prompts.file).name}", where=f"{where}.file")
    if prompts.origin == "grid" and question.kind != "instances":
        raise RecipeError(
            "a grid finds objects without saying what they are", where=where, remedy="set task.kind to instances"
        )
    if prompts.origin == "adapter":
        by_words = prompts.adapter is not None and prompts.adapter.name == "clip"
        for key in ("threshold", "names") if by_words else ("size",):
            if key in given.model_fields_set:
                who = "clip finds structures by words" if by_words else "a detector takes pictures as they are"
                raise RecipeError(f"{who} and has no use for {key!r}", where=f"{where}.options.{key}")
        if not by_words and (
            prompts.adapter is None or prompts.adapter.name != "detector" or prompts.adapter.weights is None
        ):
            raise RecipeError(
                "prompts come from a detector, adapter.prompts.adapter: {name: detector, weights: ...}, or from words: "
                "{name: clip, method: dense}",
                where=f"{where}.adapter",
                remedy="run another adapter by itself, and give its masks folder as {from: file, file: ...}",
            )
        strange = [name for name in given.names if name not in question.classes]
        if strange:
            raise RecipeError(
                f"no class {strange[0]!r}; {nearest(strange[0], question.classes)}", where=f"{where}.options.names"
            )
    if given.propagate and given.robustness:
        raise RecipeError("robustness is measured slice by slice", where=f"{where}.options.propagate")
    if given.propagate and question.kind == "instances":
        raise RecipeError("structures are carried from slice to slice, not objects", where=f"{where}.options.propagate")
