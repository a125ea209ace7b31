"""Latent diffusion (Stable Diffusion, or `tiny` from scratch): images made from texts, classes and attributes.

What is trained is the denoiser of latents; the autoencoder and the text encoder stay as they are, and what they give is
computed once and stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from medvfm.adapters._diffusion import sizes
from medvfm.adapters._diffusion.conditions import Conditions
from medvfm.adapters._diffusion.generation import GenerationSettings, LatentDiffusion
from medvfm.adapters._diffusion.reconstruction import Reconstructing
from medvfm.adapters._diffusion.spatial import READS
from medvfm.core.degradation import Degradation
from medvfm.core.errors import RecipeError, WeightsError
from medvfm.core.options import checked
from medvfm.core.protocols import Adapter, BaselineContext, Method, Record, Reuse, Task
from medvfm.core.recipe_sections import AdapterSettings, Baseline, Prepare, Train
from medvfm.core.task_capabilities import OutlinedTask, RestoringTask
from medvfm.models.diffusion.autoencoder import load_autoencoder
from medvfm.models.diffusion.load import load_generator
from medvfm.models.diffusion.names import MONAI, SCRATCH, TINY
from medvfm.models.diffusion.sampling import Sampling
from medvfm.models.inputs.grid_volumes import GridVolumePreparer
from medvfm.models.inputs.pictures import PicturePreparer

_IMAGES = frozenset(
    {
        "prepare.size",
        "prepare.spacing",
        "prepare.windows",
        "prepare.invalid",
        "prepare.slices.axis",
        "prepare.slices.span",
    }
)
_LOOP = frozenset(f"train.{key}" for key in Train.model_fields) - {
    "train.class_weights",
    "train.balanced_sampling",
    "train.loss",
    "train.rates",
}
_STORED = _IMAGES | (_LOOP - {"train.augment"})
METHODS = {
    "full": Method(
        "every weight of the denoiser, on stored latents and texts",
        "weights",
        {"generation": _STORED},
        frozen=frozenset({"autoencoder", "text"}),
    ),
    "full_text": Method(
        "every weight of the denoiser and of the text encoder, as RoentGen was made",
        "weights",
        {"generation": _IMAGES | (_LOOP - {"train.augment"})},
        frozen=frozenset({"autoencoder"}),
    ),
    "lora": Method(
        "low-rank updates of the denoiser's attention, on stored latents and texts",
        "weights",
        {"generation": _STORED | {"adapter.rank", "adapter.alpha"}},
        frozen=frozenset({"autoencoder", "text"}),
    ),
    "controlnet": Method(
        "a ControlNet beside the frozen denoiser, which reads masks",
        "weights",
        {"generation": _STORED},
        frozen=frozenset({"autoencoder", "text"}),
    ),
    "inpaint": Method(
        "every weight of the denoiser, and the region of a mask is filled while its surroundings stay",
        "weights",
        {"generation": _STORED},
        frozen=frozenset({"autoencoder", "text"}),
    ),
    "autoencoder": Method(
        "the autoencoder, on images alone; a stage before another method",
        "weights",
        {"generation": _IMAGES | _LOOP},
    ),
    "unconditional": Method(
        "a denoiser from scratch without conditions, the DDPM of Ho et al. 2020 with `pixels`",
        "weights",
        {"generation": _STORED},
        frozen=frozenset({"autoencoder", "text"}),
    ),
    "restore": Method(
        "every weight of the denoiser, which also reads the degraded image and makes what it was",
        "weights",
        {"restoration": _IMAGES | _LOOP},
    ),
    "textual_inversion": Method(
        "the vectors of a new word, which stands before every prompt (Gal et al. 2023)",
        "weights",
        {"generation": _STORED},
        frozen=frozenset({"autoencoder"}),
    ),
    "zero_shot": Method("a published generator as it is", "nothing", {"generation": _IMAGES}),
}
DEFAULT_METHOD = "full"
DEFAULT_WEIGHTS = "stable-diffusion-v1-5/stable-diffusion-v1-5"
ANSWERS_ALSO = frozenset[str]()
STAGE_OPTIONS = frozenset[str]()
BASELINES = {"untrained": "the same generator before training: what was there without the training images"}
TRAINING: dict[str, Record] = {
    "full": {"epochs": 10, "batch_size": 8, "learning_rate": 1e-5, "weight_decay": 0.01, "ema": 0.999},
    "full_text": {"epochs": 10, "batch_size": 8, "learning_rate": 1e-5, "weight_decay": 0.01, "ema": 0.999},
    "controlnet": {"epochs": 10, "batch_size": 8, "learning_rate": 1e-5, "weight_decay": 0.01, "ema": 0.999},
    "inpaint": {"epochs": 10, "batch_size": 8, "learning_rate": 1e-5, "weight_decay": 0.01, "ema": 0.999},
    "restore": {"epochs": 10, "batch_size": 8, "learning_rate": 1e-5, "weight_decay": 0.01, "ema": 0.999},
    "autoencoder": {"epochs": 5, "batch_size": 4, "learning_rate": 1e-5, "weight_decay": 0.0},
    "textual_inversion": {"epochs": 20, "batch_size": 4, "learning_rate": 5e-3, "weight_decay": 0.0},
    "lora": {"epochs": 10, "batch_size": 8, "learning_rate": 1e-4, "weight_decay": 0.01, "ema": 0.99},
}
_TINY: Record = {  # 5,000 steps in two minutes on two processors
    "epochs": 50, "steps": 100, "batch_size": 64, "learning_rate": 1e-3, "weight_decay": 0.01, "warmup": 0.05,
    "ema": 0.999,
}  # fmt: skip
_UNET: Record = {  # 40,000 steps
    "epochs": 100, "steps": 400, "batch_size": 64, "learning_rate": 2e-4, "weight_decay": 0.01, "warmup": 0.02,
    "ema": 0.9995,
}  # fmt: skip
TRAINING["unconditional"] = _UNET
FROM_SCRATCH = {"tiny": _TINY, "tiny-spatial": _UNET, "pixels": _UNET, MONAI: _UNET}
_MONAI_AUTOENCODER: Record = {"epochs": 50, "batch_size": 16, "learning_rate": 1e-4, "weight_decay": 0.0}
OF_MONAI = ("autoencoder", "full", "unconditional")
OF_SCRATCH = ("full", "unconditional", "restore")  # methods that train random weights
OF_BOTH = ("full", "restore")  # and trained ones too
SWEPT = ("guidance", "steps")


class Options(BaseModel):
    """What `adapter.options` may say."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    condition: Literal["text", "classes", "none"] | None = Field(
        None, description="what images are asked for by; null: the classes of the task where it has some, else texts"
    )
    attributes: tuple[str, ...] = Field((), description="columns beside the classes, such as age and sex")
    role: str = Field("image", description="which of a case's images is made, such as flair")
    sampler: str = Field("ddim", description="ddim, dpm++ or euler")
    steps: int | None = Field(None, ge=1, description="of the sampler; null: 50")
    guidance: float | None = Field(None, ge=0, description="1: none; null: 2 for tiny, 4 for others")
    negative: str = Field("", description="words that images are guided away from")
    sweep: dict[str, tuple[float, ...]] = Field(
        default_factory=dict, description="{guidance: [1, 2, 4], steps: [10, 50]}: test rows at each of these"
    )
    dropped: float | None = Field(
        None, ge=0, lt=1, description="share of training conditions that are left out, for guidance; null: 0.05 or 0.1"
    )
    min_snr_gamma: float | None = Field(None, gt=0, description="weights of steps by min-SNR (Hang 2023: 5)")
    offset_noise: float = Field(0.0, ge=0, description="0.1 lets brightness be learned; spatial latents alone")
    width: int = Field(128, ge=16, description="tiny-spatial, pixels, monai: channels of the first level")
    control: Literal["masks", "edges"] | None = Field(
        None, description="controlnet: what it reads, the masks of cases or the edges of their images; null: masks"
    )
    token: str = Field("<medvfm>", min_length=1, description="textual_inversion: the new word")
    vectors: int = Field(1, ge=1, le=64, description="textual_inversion: of how many vectors it consists")
    start: str = Field("image", min_length=1, description="textual_inversion: the words that it begins as")
    chunk: int | None = Field(
        None, ge=1, description="images that are made at once; null: 64 from scratch (of volumes: tiny alone), else 4"
    )


def refuse(settings: AdapterSettings, methods: Sequence[str], prepare: Prepare, task: Task) -> None:
    """What this adapter cannot do, said before data are read or weights are loaded."""
    given = checked(Options, settings.options, "latent_diffusion")
    Sampling(given.sampler)
    for name in given.sweep:
        if name not in SWEPT:
            raise RecipeError(
                f"nothing can be swept over {name!r}; one of: guidance, steps", where="adapter.options.sweep"
            )
    if any(v < 1 or v != int(v) for v in given.sweep.get("steps", ())):
        raise RecipeError("steps are whole numbers from 1 on", where="adapter.options.sweep.steps")
    by = _by(given, task, methods)
    if by == "classes" and not task.classes:
        raise RecipeError(
            "condition: classes, and the task names none",
            where="adapter.options.condition",
            remedy="name task.classes, or take condition: text or none",
        )
    sizes.refuse(prepare, settings.weights or DEFAULT_WEIGHTS, methods)
    if isinstance(task, RestoringTask):
        sizes.refuse_blocks(task.degradation, sizes.size_of(prepare))
    if given.attributes and by != "classes":
        raise RecipeError(
            f"attributes stand beside classes, and the condition is {by}", where="adapter.options.attributes"
        )
    if given.control and "controlnet" not in methods:
        what = f"{methods[-1]} reads no {given.control}"
        raise RecipeError(what, where="adapter.options.control", remedy="take controlnet")
    _refuse_weights(settings.weights or DEFAULT_WEIGHTS, methods, given)
    for number, method in enumerate(methods[:-1]):
        if method in (*READS, "textual_inversion"):
            raise RecipeError(
                f"{methods[number + 1]} cannot follow {method}",
                where=f"adapter.stages.{number + 1}.method",
                remedy=f"take {method} as the last stage",
            )


def _refuse_weights(weights: str, methods: Sequence[str], given: Options) -> None:
    """Methods that begin with random weights, and those that begin with trained ones."""
    own_autoencoder = weights == MONAI
    if own_autoencoder and (methods[0] != "autoencoder" or len(methods) < 2):
        raise RecipeError(
            f"the autoencoder of {MONAI} begins with random weights, and a stage must train it first",
            where="adapter.method",
            remedy="say stages: [{method: autoencoder}, {method: full}]",
        )
    for method in methods:
        if own_autoencoder and method in OF_MONAI and method != "unconditional":
            continue
        if (weights in SCRATCH) != (method in OF_SCRATCH) and method not in OF_BOTH:
            begins, needs = ("random", "full") if weights in SCRATCH else ("trained", "weights: pixels or tiny")
            raise RecipeError(
                f"{weights} begins with {begins} weights, and {method} does not",
                where="adapter.method",
                remedy=f"take {needs}",
            )
        if method == "unconditional" and given.condition not in (None, "none"):
            raise RecipeError(
                f"unconditional, and the condition is {given.condition}",
                where="adapter.options.condition",
                remedy="take full, or condition: none",
            )


def _by(given: Options, task: Task | None, methods: Sequence[str]) -> Literal["text", "classes", "none"]:
    if "unconditional" in methods:
        return "none"
    if given.condition is not None:
        return given.condition
    if "restore" in methods:
        return "none"
    return "classes" if task is not None and task.classes else "text"


def build(
    settings: AdapterSettings,
    task: Task | None,
    method: str,
    prepare: Prepare,
    *,
    windows: Mapping[str, tuple[float, float]],
    read: Mapping[Any, Any],
    train: Train,
    seed: int,
) -> Adapter:
    """Load the weights and make the adapter; the device is chosen later, by moving `module`."""
    given = checked(Options, settings.options, "latent_diffusion")
    weights = settings.weights or DEFAULT_WEIGHTS
    scratch, by = weights in SCRATCH, _by(given, task, _methods(settings, method))
    conditions = Conditions(
        by,
        task.classes if task is not None and by == "classes" else (),
        given.attributes,
    )
    generator = load_generator(weights, sizes.size_of(prepare), width=given.width, seed=seed)
    spatial = _spatial(settings, method, given)
    generator.reads_image = spatial == "degraded"
    degradation = task.degradation if isinstance(task, RestoringTask) else Degradation()
    sizes.refuse_blocks(degradation, generator.size_px)
    generator.new_word = (given.token, given.vectors, given.start)
    if generator.reads_region and "inpaint" not in _methods(settings, method):
        raise RecipeError(
            f"{weights} is for inpainting: its denoiser reads a region to fill",
            where="adapter.method",
            remedy="take inpaint",
        )
    guidance = given.guidance if given.guidance is not None else 1.0 if by == "none" else 2.0 if scratch else 4.0
    dropped = given.dropped if given.dropped is not None else 0.0 if by == "none" else 0.05 if scratch else 0.1
    return LatentDiffusion(
        generator,
        task,
        method,
        _preparer(generator.size_px, prepare, windows, read, given.role, spatial, task),
        conditions,
        GenerationSettings(
            Sampling(given.sampler, given.steps or 50, guidance),
            given.negative,
            given.sweep,
            dropped,
            given.min_snr_gamma,
            given.offset_noise,
            given.chunk or (64 if scratch and (weights == TINY or not sizes.is_of_volumes(prepare)) else 4),
            rank=settings.rank or 8,
            alpha=settings.alpha,
            seed=seed,
            degradation=degradation,
        ),
    )


def _preparer(
    size: tuple[int, ...],
    prepare: Prepare,
    windows: Mapping[str, tuple[float, float]],
    read: Mapping[Any, Any],
    role: str,
    reads: Literal["", "mask", "around", "edges", "degraded"],
    task: Task | None,
) -> PicturePreparer | GridVolumePreparer:
    """Of volumes where the size has three numbers."""
    if len(size) == 3:
        return GridVolumePreparer(
            (size[0], size[1], size[2]), sizes.spacing_of(prepare), prepare, windows, read, role=role
        )
    return PicturePreparer(
        (size[0], size[1]),
        prepare,
        windows,
        read,
        role=role,
        spatial=reads,
        outlines=task.outlines if isinstance(task, OutlinedTask) else None,
        degradation=task.degradation if isinstance(task, RestoringTask) else Degradation(),
    )


def _methods(settings: AdapterSettings, method: str) -> list[str]:
    return [stage.method for stage in settings.stages or ()] or [method]


def _spatial(
    settings: AdapterSettings, method: str, given: Options
) -> Literal["", "mask", "around", "edges", "degraded"]:
    """What the last method reads of a case besides words."""
    found = READS.get(_methods(settings, method)[-1], "")
    return "edges" if found == "mask" and given.control == "edges" else found


def training(method: str, weights: str | None, given: Train, task: str = "generation") -> Record:
    """The settings of the training loop: the recipe's, over the method's own."""
    own = FROM_SCRATCH[weights] if weights in FROM_SCRATCH else TRAINING[method]
    if (weights, method) == (MONAI, "autoencoder"):
        own = _MONAI_AUTOENCODER
    return {**own, **given.given()}


def baseline(settings: Baseline, task: Task, context: BaselineContext) -> Callable[[], Adapter] | Reuse | None:
    """See BASELINES."""
    if settings.name != "untrained":
        return None
    own = context.recipe.adapter
    methods = [s.method for s in own.stages or ()] or [own.method or DEFAULT_METHOD]
    if methods == ["zero_shot"]:
        raise RecipeError("zero_shot trains nothing, so there is nothing untrained", where=context.where)
    if "lora" in methods[:-1]:
        raise RecipeError(
            "low-rank updates are merged into the weights after their stage, so the start cannot be asked again",
            where=context.where,
        )
    return Reuse(at="start")


def load(weights: str | None, prepare: Prepare) -> Reconstructing:
    """The autoencoder of a generator, or one by itself, for `reconstruct`."""
    if weights in SCRATCH:
        raise WeightsError(f"{weights} has no autoencoder before it was trained", where="load_adapter")
    size = sizes.size_of(prepare)
    if size is not None and len(size) != 2:
        raise RecipeError("an autoencoder of pictures, and volumes are asked for", where="prepare.size")
    return Reconstructing(
        load_autoencoder(weights or DEFAULT_WEIGHTS), prepare, None if size is None else (size[0], size[1])
    )
