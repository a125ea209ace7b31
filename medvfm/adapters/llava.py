"""Vision-language models (LLaVA, LLaVA-Med, Qwen2-VL, MedGemma, any assembled of parts): questions on images,
answered in words.

A frozen vision encoder gives patches, a projector makes vectors of them, and a language model reads these between the
words of a conversation. What is trained is the projector on captions (align), then projector and language model on
questions and answers (instruct).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from medvfm.adapters import dinov2
from medvfm.adapters._llava.adapter import TalkingAdapter, TalkSettings
from medvfm.adapters._llava.closed_probe import ClosedProbe
from medvfm.adapters._llava.whole import WholeAdapter
from medvfm.core.errors import RecipeError
from medvfm.core.options import PathOrName, checked
from medvfm.core.protocols import Adapter, BaselineContext, Method, Record, Reuse, Task
from medvfm.core.recipe_sections import AdapterSettings, Baseline, Prepare, Stage, Train
from medvfm.models.encoders.base import Encoder
from medvfm.models.encoders.load import load_encoder
from medvfm.models.language.chat import ChatFormat
from medvfm.models.language.connectors import Connector
from medvfm.models.language.from_image_text import load_image_text
from medvfm.models.language.from_llava import is_llava, load_llava
from medvfm.models.language.image_language import ImageLanguageModel
from medvfm.models.language.load import load_language_model
from medvfm.models.language.processor_chat import ProcessorChat

_IMAGES = frozenset(
    {
        "prepare.size",
        "prepare.windows",
        "prepare.invalid",
        "prepare.slices.axis",
        "prepare.slices.count",
        "prepare.slices.span",
    }
)
_LOOP = frozenset(f"train.{key}" for key in Train.model_fields) - {
    "train.augment",
    "train.class_weights",
    "train.balanced_sampling",
    "train.loss",
}
_TRAINED = _IMAGES | _LOOP | {"adapter.stages.data"}
METHODS = {
    "zero_shot": Method("asked as it was published, nothing is trained", "nothing", {"question_answering": _IMAGES}),
    "align": Method(
        "the projector alone, on captions as answers to instructions",
        "weights",
        {"question_answering": _TRAINED},
        needs_truth=False,
        frozen=frozenset({"vision"}),
    ),
    "instruct": Method(
        "projector and language model, on questions and answers",
        "weights",
        {"question_answering": _TRAINED | {"adapter.rank", "adapter.alpha"}},
        frozen=frozenset({"vision"}),
    ),
}
DEFAULT_METHOD = "zero_shot"
PUBLISHED = "llava-hf/llava-1.5-7b-hf"
STAGE_OPTIONS = frozenset[str]()
BASELINES = {
    "blind": "the same language model trained and asked without images; its own `train` where it needs less",
    "align": "the model after the first stage alone",
    "probe": "a linear probe on the same vision encoder for closed questions: what the encoder knows",
}
_LLAVA_MED = {"batch_size": 16, "accumulate": 8, "weight_decay": 0.0, "warmup": 0.03}  # batches of 128, in parts
TRAINING: dict[str, Record] = {
    "align": {"epochs": 1, "learning_rate": 2e-3, **_LLAVA_MED},
    "instruct": {"epochs": 3, "learning_rate": 2e-5, **_LLAVA_MED},
}
SMALL: dict[str, Record] = {  # of projectors that begin at random beside a small language model
    "align": {"accumulate": 1, "learning_rate": 1e-3, "warmup": 0.1},
    "instruct": {"accumulate": 1, "learning_rate": 5e-4, "rates": {"projector": 1e-3}, "warmup": 0.1},
}


class Options(BaseModel):
    """What `adapter.options` may say."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    vision: PathOrName | None = Field(None, description="a vision encoder of its own, as dinov2 takes `weights`")
    language: PathOrName | None = Field(
        None, description="a language model of its own: a folder, GGUF file or hub id, `embedded` or `tiny`"
    )
    connector: Literal["linear", "mlp", "prefix", "perceiver", "qformer"] = Field(
        "mlp", description="between the two: linear, mlp (LLaVA 1.5), prefix, perceiver (Flamingo), qformer (BLIP-2)"
    )
    tokens: int = Field(4, ge=1, description="vectors of a case, of prefix, perceiver and qformer")
    start: Literal["random", "said"] = Field(
        "random",
        description="of prefix; said: a regression of captions' words and answers on features of training images",
    )
    grid: int = Field(
        2, ge=0, description="patches of a slice are averaged to so many by so many; 0, and published models: all"
    )
    template: Literal["chat", "plain"] = Field(
        "chat", description="chat: the tokenizer's own template; plain: question, line break, answer"
    )
    system: str | None = Field(None, description="system prompt; null: the template's own")
    instruction: str | None = Field(None, description="what every question ends with, such as `Answer in one word.`")
    images: Literal["first", "last"] = Field(
        "first", description="before or after the question; last is faster where many images are asked the same"
    )
    tune: Literal["lora", "full", "none"] = Field("lora", description="instruct: what is trained of the language model")
    answer_tokens: int = Field(32, ge=1, description="the longest answer")
    windows: Literal["colours", "images"] = Field(
        "colours", description="three windows of `prepare.windows` as red, green and blue, or as three pictures"
    )
    bits: Literal[4] | None = Field(
        None,
        description="4: frozen weights of the language model in four bits (QLoRA), by bitsandbytes; null: as they are",
    )
    checkpointing: bool = Field(False, description="less memory, a third more time: activations are computed twice")
    blind: bool = Field(False, description="trained and asked without images, as the baseline of that name is")
    batch_answers: int = Field(32, ge=1, description="questions that are answered at once")
    pack: bool = Field(
        False, description="questions on one image are trained in one row, which shows it once; none sees another"
    )
    roles: tuple[str, ...] = Field(
        ("image",), min_length=1, description="images of a case that are shown, in their order: [prior, image]"
    )
    group_lengths: bool = Field(False, description="conversations of like length share a batch: fewer padded tokens")


def refuse(settings: AdapterSettings, methods: Sequence[str], prepare: Prepare, task: Task) -> None:
    """What this adapter cannot do, said before data are read or weights are loaded."""
    given = checked(Options, settings.options, "llava")
    dinov2.side_px(prepare)
    named = _parts(settings, given)
    if named is None and prepare.size is not None:
        raise RecipeError("a published model takes pictures of its own size", where="prepare.size")
    if named is not None and methods[0] == "zero_shot":
        raise RecipeError(
            "a vision encoder and a language model that were put together have not met: the projector is random",
            where="adapter.method",
            remedy="train it by the stages align and instruct",
        )
    if given.start == "said" and (named is None or given.connector != "prefix"):
        raise RecipeError(
            "start: said is a regression that the connector prefix alone can begin with", where="adapter.options.start"
        )
    if given.blind and "align" in methods:
        raise RecipeError("align trains what shows images, and blind sees none", where="adapter.options.blind")
    if given.pack and given.images == "last":
        raise RecipeError(
            "pack shows an image once before its questions, and images: last after each", where="adapter.options.pack"
        )
    if given.bits is not None:
        _refuse_bits(settings, given, methods, named)
    if "instruct" in methods and given.tune != "lora":
        for key in ("rank", "alpha"):
            if getattr(settings, key) is not None:
                raise RecipeError(f"tune {given.tune} has no use for {key!r}, which LoRA has", where=f"adapter.{key}")


def _refuse_bits(
    settings: AdapterSettings, given: Options, methods: Sequence[str], named: tuple[str, str] | None
) -> None:
    """Four bits are for frozen weights that transformers reads from a folder or the hub."""
    where = "adapter.options.bits"
    if "instruct" in methods and given.tune == "full":
        raise RecipeError("weights in four bits are not trained", where=where, remedy="say tune: lora or tune: none")
    language = named[1] if named is not None else ""
    if language.partition(":")[0] in ("embedded", "tiny") or language.endswith(".gguf"):
        raise RecipeError(
            f"{language} is no folder of transformers, whose weights alone are read in four bits",
            where=where,
            remedy="leave it out",
        )


def _parts(settings: AdapterSettings, given: Options) -> tuple[str, str] | None:
    """Names of the vision encoder and the language model that are put together; None for a checkpoint that has both."""
    known = settings.weights if settings.weights in ("embedded", "tiny") else None
    vision, language = given.vision or known, given.language or known
    if vision is None and language is None:
        return None
    if vision is None or language is None:
        missing = "vision" if vision is None else "language"
        raise RecipeError(
            f"a model of parts lacks its {missing}", where="adapter.options", remedy="name both vision and language"
        )
    if settings.weights is not None and known is None:
        raise RecipeError(
            f"{settings.weights} has a vision encoder and a language model of its own",
            where="adapter.weights",
            remedy="leave weights out, or the options vision and language",
        )
    return vision, language


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
    given = checked(Options, settings.options, "llava")
    told = TalkSettings(
        tune=given.tune,
        blind=given.blind,
        instruction=given.instruction,
        images_last=given.images == "last",
        answer_tokens=given.answer_tokens,
        batch_answers=given.batch_answers,
        rank=settings.rank or 8,
        alpha=settings.alpha,
        seed=seed,
        pack=given.pack,
        group_lengths=given.group_lengths,
        roles=given.roles,
        from_said=given.start == "said",
        bits=given.bits,
        apart=given.windows == "images",
    )
    if _parts(settings, given) is None and not is_llava(settings.weights or PUBLISHED):
        whole = load_image_text(settings.weights or PUBLISHED, four_bit=given.bits == 4)
        if given.checkpointing:
            whole.spare_memory()
        own = ProcessorChat(whole.processor, whole.name, given.template, given.system)
        return WholeAdapter(whole, own, method, prepare, told, windows=windows, read=read)
    model = _model(settings, given, prepare, seed)
    chat = ChatFormat(model.language.tokenizer, model.language.name, given.template, given.system)
    return TalkingAdapter(model, chat, method, prepare, told, windows=windows, read=read)


def _model(settings: AdapterSettings, given: Options, prepare: Prepare, seed: int) -> ImageLanguageModel:
    named = _parts(settings, given)
    if named is None:
        whole = load_llava(settings.weights or PUBLISHED, four_bit=given.bits == 4)
        if given.checkpointing:
            whole.language.spare_memory()
        return whole
    vision_name, language_name = named
    vision = load_encoder(vision_name, size_px=dinov2.side_px(prepare), seed=seed)
    language = load_language_model(language_name, seed=seed, four_bit=given.bits == 4)
    if given.checkpointing:
        language.spare_memory()
    weight = next(language.table.parameters()).detach()
    norm = float(weight.square().mean().sqrt())
    projector = Connector(given.connector, vision.width, language.width, given.tokens, norm, seed)
    return ImageLanguageModel(vision, projector, language, given.grid)


def training(method: str, weights: str | None, given: Train, task: str = "question_answering") -> Record:
    """The settings of the training loop: the recipe's, over the method's own."""
    small = SMALL[method] if weights in ("embedded", "tiny") else {}
    return {**TRAINING[method], **small, **given.given()}


def baseline(
    settings: Baseline, task: Task, context: BaselineContext
) -> Callable[[], Adapter] | Reuse | AdapterSettings | None:
    """See BASELINES."""
    own = context.recipe.adapter
    stages = own.stages or (Stage(method=own.method or DEFAULT_METHOD, train=context.recipe.train),)
    if settings.name == "probe":
        named, prepare = _parts(own, checked(Options, own.options, "llava")), context.recipe.prepare
        if named is None and Path(own.weights or "").is_dir() and not is_llava(str(own.weights)):
            raise RecipeError("the baseline probe reads the encoders of LLaVA-type models alone", where=context.where)

        def vision() -> Encoder:
            if named is None:
                return load_llava(own.weights or PUBLISHED).vision
            return load_encoder(named[0], size_px=dinov2.side_px(prepare), seed=context.recipe.seed)

        return lambda: ClosedProbe(
            vision(),
            prepare,
            windows=context.card.windows,
            read=context.card.reading,
            apart=checked(Options, own.options, "llava").windows == "images",
        )
    if settings.name == "align":
        if len(stages) < 2 or stages[0].method != "align":
            raise RecipeError("the baseline align is the model after a first stage `align`", where=context.where)
        return Reuse(at="stage 1")
    if settings.name == "blind":
        told = [stage for stage in stages if stage.method == "instruct"]
        if not told and any(stage.method == "align" for stage in stages):
            raise RecipeError("align trains nothing that answers without images", where=context.where)
        own_train = settings.train.given()
        if own_train and not told:
            raise RecipeError("the baseline blind has no use for 'train': nothing is trained", where=context.where)
        told = [s.model_copy(update={"train": s.train.model_copy(update=own_train)}) for s in told]
        more = {"method": None, "stages": tuple(told)} if told else {}
        return own.model_copy(update={"options": {**own.options, "blind": True}, **more})
    return None


def load(weights: str | None, prepare: Prepare) -> Adapter:
    """The model without training, to be asked."""
    settings = AdapterSettings(name="llava", weights=weights)
    return build(settings, None, "zero_shot", prepare, windows={}, read={}, train=Train(), seed=0)
