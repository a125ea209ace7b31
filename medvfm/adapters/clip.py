"""Image-text models (BiomedCLIP, CLIP, SigLIP, any assembled pair): asked in words, searched, tuned on pairs.

Images and texts become vectors of one space. A class is what its prompts say; a report is found by the image that it
describes. What is trained is two linear heads on stored outputs of both encoders (contrastive), the encoders themselves
(lora, full, locked_image, locked_text), or a few learned words (prompt_learning).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from medvfm.adapters import _clip_dense, _clip_towers, _clip_unaligned, dinov2
from medvfm.adapters._clip_dense import DenseSettings, PatchSegmenter
from medvfm.adapters._clip_pairs import CONTRASTIVE, PairAdapter, PairSettings
from medvfm.adapters._clip_prompts import ClassPrompts, Words
from medvfm.core.errors import RecipeError
from medvfm.core.options import PathOrName, checked
from medvfm.core.protocols import Adapter, BaselineContext, Method, Record, Reuse, Task
from medvfm.core.recipe_sections import AdapterSettings, Baseline, Prepare, Train
from medvfm.models.image_text.load import load_pair

_IMAGES = frozenset(
    {
        "prepare.size",
        "prepare.windows",
        "prepare.invalid",
        "prepare.slices.axis",
        "prepare.slices.count",
        "prepare.slices.span",
        "prepare.slices.pool",
    }
)
_VOLUMES = frozenset({"prepare.size", "prepare.windows", "prepare.invalid", "prepare.spacing", "prepare.slices.axis"})
_LOOP = frozenset(f"train.{key}" for key in Train.model_fields) - {
    "train.accumulate",
    "train.class_weights",
    "train.balanced_sampling",
}
_HEADS = _IMAGES | (_LOOP - {"train.augment", "train.rates"})
_ENCODERS = _IMAGES | _LOOP | {"adapter.stages.data"}
_LABELS = _IMAGES | (_LOOP - {"train.augment", "train.rates", "train.loss"}) | {"train.balanced_sampling"}
_NOT_LARGER = {
    "train.accumulate": "gradients of small batches do not add up to those of a large one, as each pair is compared "
    "within its batch alone; raise batch_size, and adapter.options.chunk keeps memory small"
}


def _both(uses: frozenset[str], *more: str) -> dict[str, frozenset[str]]:
    return {task: uses | set(more) for task in ("classification", "retrieval")}


METHODS = {
    "zero_shot": Method("asked in words, nothing is trained", "nothing", _both(_IMAGES)),
    "linear_probe": Method(
        "logistic regression on the frozen image encoder",
        "features",
        {"classification": _IMAGES | {"prepare.patches", "train.class_weights"}},
    ),
    "knn": Method(
        "nearest neighbours among features of the frozen image encoder",
        "features",
        {"classification": _IMAGES | {"prepare.patches"}},
    ),
    "contrastive": Method(
        "linear heads on both frozen encoders, trained on pairs of images and texts",
        "weights",
        _both(_HEADS, "adapter.stages.data"),
        frozen=frozenset({"image", "text"}),
        never=_NOT_LARGER,
    ),
    "lora": Method(
        "low-rank updates of both encoders, on pairs of images and texts",
        "weights",
        _both(_ENCODERS, "adapter.rank", "adapter.alpha"),
        never=_NOT_LARGER,
    ),
    "full": Method(
        "every weight of both encoders, on pairs of images and texts", "weights", _both(_ENCODERS), never=_NOT_LARGER
    ),
    "locked_image": Method(
        "the text encoder alone, to images that stay as they are",
        "weights",
        _both(_ENCODERS - {"train.augment"}),
        frozen=frozenset({"image"}),
        never=_NOT_LARGER,
    ),
    "locked_text": Method(
        "the image encoder alone, to texts that stay as they are",
        "weights",
        _both(_ENCODERS),
        frozen=frozenset({"text"}),
        never=_NOT_LARGER,
    ),
    "prompt_learning": Method(
        "a learned context before the names of the classes (CoOp), on labels",
        "weights",
        {"classification": _LABELS},
        frozen=frozenset({"image"}),
    ),
    "dense": Method(
        "each patch of a slice compared with what the structures are called, nothing is trained",
        "nothing",
        {"segmentation": _VOLUMES},
    ),
}
DEFAULT_METHOD = "zero_shot"
HEAD_SWEEPS = dinov2.HEAD_SWEEPS
DEFAULT_WEIGHTS = "hf-hub:microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224"
ANSWERS_ALSO = frozenset({"classification", "retrieval"})
STAGE_OPTIONS = frozenset[str]()
BASELINES = {
    "probe": "a linear probe on the same frozen image encoder: what labels reach without words",
    "untuned": "the same model before training; of a pair with random heads the mean of five draws",
}
DRAWS = 5
TRAINING = {
    "contrastive": {"epochs": 30, "batch_size": 64, "learning_rate": 1e-4, "weight_decay": 0.05},
    "lora": {"epochs": 5, "batch_size": 64, "learning_rate": 2e-4, "weight_decay": 0.05, "warmup": 0.1},
    "full": {"epochs": 5, "batch_size": 64, "learning_rate": 1e-5, "weight_decay": 0.1, "warmup": 0.1},
    "locked_image": {"epochs": 10, "batch_size": 64, "learning_rate": 1e-5, "weight_decay": 0.1, "warmup": 0.1},
    "locked_text": {"epochs": 5, "batch_size": 64, "learning_rate": 1e-5, "weight_decay": 0.1, "warmup": 0.1},
    "prompt_learning": {"epochs": 50, "batch_size": 32, "learning_rate": 2e-3, "weight_decay": 0.0},
}
FROM_SCRATCH = {  # of pairs whose heads begin at random
    "contrastive": {"epochs": 60, "batch_size": 32, "learning_rate": 1e-3},
}


class Options(BaseModel):
    """What `adapter.options` may say."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    image: PathOrName | None = Field(None, description="an image encoder of its own, as dinov2 takes `weights`")
    text: PathOrName | None = Field(
        None, description="a text encoder of its own: a folder or hub id, `embedded` or `tiny`"
    )
    templates: str | tuple[str, ...] | None = Field(
        None,
        description="a shipped set (chest_xray, ct, mr, pathology, dermatology, retina, ultrasound, general) or "
        "sentences with {} in the place of the class; null: general",
    )
    prompts: dict[str, Words] = Field(
        default_factory=dict,
        description="class to its name or synonyms, or to {positive: [...], negative: [...]} sentences",
    )
    paraphrases: dict[str, Words] = Field(
        default_factory=dict, description="the same in other words: test rows `paraphrased`"
    )
    temperature: float | None = Field(None, gt=0, description="fixed; null: published, and learned in training")
    width: int | None = Field(
        None, ge=2, description="of the shared space of an assembled pair; null: the space of its text encoder"
    )
    sentences: bool | None = Field(
        None,
        description="texts by their sentences: one is drawn each time in training, their mean answers; null: yes where "
        "something is trained",
    )
    image_weight: float = Field(0.5, ge=0, le=1, description="of the loss from images to texts; ConVIRT: 0.75")
    chunk: int = Field(32, ge=1, description="pictures or texts that go through an encoder at once")
    context: int = Field(16, ge=1, description="prompt_learning: how many words are learned")
    start: str | None = Field(None, description="prompt_learning: the words to begin with, such as `a photo of`")
    background: Words | None = Field(
        None,
        description="dense, semantic: names of what is no structure, or {positive: [...]} sentences; null: background "
        "and normal tissue",
    )
    threshold: float | None = Field(
        None, gt=0, lt=1, description="dense, multi_label: least share against the class's absence; null: 0.5"
    )
    roles: tuple[str, ...] | None = Field(
        None, description="dense: which images of a case are the channels, in order; null takes all"
    )


def refuse(settings: AdapterSettings, methods: Sequence[str], prepare: Prepare, task: Task) -> None:
    """What this adapter cannot do, said before data are read or weights are loaded."""
    given = checked(Options, settings.options, "clip")
    if methods[0] == "dense":
        _clip_dense.prompts_of(_dense(settings, 0), task)
        _side_px(prepare)
    else:
        _refuse_of_dense(given, methods[0])
        prompts_of(given)(task)
    last = METHODS[methods[-1]]
    if task.name not in last.tasks:  # a further task, which the method that fits the first must answer too
        able = ", ".join(name for name, entry in METHODS.items() if task.name in entry.tasks)
        raise RecipeError(
            f"{methods[-1]} answers {', '.join(sorted(last.tasks))}, and {task.name} is a further task",
            where="task",
            remedy=f"{task.name} is answered by {able}",
        )
    if methods[0] in ("linear_probe", "knn"):
        dinov2.refuse(settings.model_copy(update={"options": {}}), methods, prepare, task)
        return
    _clip_towers.refuse_attention(prepare.slices.pool, methods)
    for number, method in enumerate(methods):
        if METHODS[method].fits == "features":
            raise RecipeError(
                f"{method} cannot follow {methods[number - 1]}: it is fitted on the encoder as it was published",
                where=f"adapter.stages.{number}.method",
                remedy="ask for it as a run or as the baseline `probe`",
            )
    if methods[0] in _clip_unaligned.ASKED and is_unaligned(settings):
        raise RecipeError(
            _clip_unaligned.unaligned(settings.weights or "an assembled pair", methods[0]),
            where="adapter.method",
            remedy=_clip_unaligned.ALIGN[methods[0]],
        )


def _refuse_of_dense(given: Options, method: str) -> None:
    for key in ("background", "threshold", "roles"):
        if getattr(given, key) is not None:
            raise RecipeError(f"{method} has no use for {key!r}, which dense has", where=f"adapter.options.{key}")


def _dense(settings: AdapterSettings, seed: int) -> DenseSettings:
    given = checked(Options, settings.options, "clip")
    return DenseSettings(
        given.templates, given.prompts, given.paraphrases, given.background, given.threshold, given.temperature,
        given.roles, given.chunk, seed,
    )  # fmt: skip


def is_unaligned(settings: AdapterSettings) -> bool:
    """The two encoders were not trained together, as far as their names tell."""
    given = checked(Options, settings.options, "clip")
    return settings.weights in ("embedded", "tiny") or given.image is not None or given.text is not None


def prompts_of(given: Options) -> Callable[[Task], ClassPrompts | None]:
    """The prompts of a task's classes; None for a task that asks for none."""

    def of(task: Task) -> ClassPrompts | None:
        if task.answers != "scores":
            return None
        return ClassPrompts.of(
            task.classes,
            given.templates,
            {**getattr(task, "synonyms", {}), **given.prompts},
            given.paraphrases,
            exclusive=task.kind in ("multi_class", "ordinal"),
        )

    return of


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
    given = checked(Options, settings.options, "clip")
    pair = load_pair(
        settings.weights or DEFAULT_WEIGHTS, image=given.image, text=given.text, size_px=_side_px(prepare), seed=seed
    )
    if method in ("linear_probe", "knn"):
        patches: Literal["cls", "mean"] = "cls" if pair.aligned and pair.has_summary else "mean"
        return dinov2.EncoderClassifier(
            pair.image,
            task,
            method,
            prepare if prepare.patches else prepare.model_copy(update={"patches": patches}),
            settings,
            windows=windows,
            read=read,
            class_weights=train.class_weights == "balanced",
            seed=seed,
        )
    if task is not None:
        _clip_unaligned.refuse_unaligned(pair, method)
    if task is not None and method == "dense":
        return PatchSegmenter(pair, task, prepare, _dense(settings, seed), windows=windows, read=read)
    if "prompt_learning" in (method, *(stage.method for stage in settings.stages or ())):
        _clip_towers.refuse_context(pair.text, given.context, given.start)
    return PairAdapter(
        pair,
        task,
        method,
        prepare,
        PairSettings(
            loss=_loss(train),
            image_weight=given.image_weight,
            temperature=given.temperature,
            sentences=given.sentences,
            chunk=given.chunk,
            context=given.context,
            start=given.start,
            rank=settings.rank or 8,
            alpha=settings.alpha,
            seed=seed,
        ),
        prompts_of(given),
        windows=windows,
        read=read,
        width=given.width,
    )


def _loss(train: Train) -> str | None:
    if train.loss not in (None, "clip", "siglip"):
        raise RecipeError(f"no loss {train.loss!r} of pairs; clip or siglip", where="train.loss")
    return train.loss


def _side_px(prepare: Prepare) -> int | None:
    return dinov2.side_px(prepare)


def training(method: str, weights: str | None, given: Train, task: str = "classification") -> Record:
    """The settings of the training loop: the recipe's, over the method's own."""
    scratch = FROM_SCRATCH.get(method, {}) if weights in ("embedded", "tiny") else {}
    asked = {k: v for k, v in given.given().items() if k != "loss"}
    return {**TRAINING[method], **scratch, **asked}


def baseline(settings: Baseline, task: Task, context: BaselineContext) -> Callable[[], Adapter] | Reuse | None:
    """See BASELINES."""
    if settings.name == "probe" and task.answers == "scores":
        return lambda: context.adapter("linear_probe")
    if settings.name == "untuned":
        own = context.recipe.adapter
        methods = [s.method for s in own.stages or ()] or [own.method or DEFAULT_METHOD]
        if methods[0] not in CONTRASTIVE:
            raise RecipeError(f"{methods[0]} trains no pair, so there is nothing untuned", where=context.where)
        random = is_unaligned(own)
        return Reuse(at="start", redraw=random, draws=DRAWS if random else 1)
    return None


def load(weights: str | None, prepare: Prepare) -> Adapter:
    """The pair without a task, for `encode` and `encode_texts`."""
    settings = AdapterSettings(name="clip", weights=weights)
    return build(settings, None, "zero_shot", prepare, windows={}, read={}, train=Train(), seed=0)
