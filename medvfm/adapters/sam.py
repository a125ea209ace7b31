"""SAM, MedSAM, SAM 2 and a small kin adapted to segmentation, with prompts or with learned ones.

A slice is encoded once and decoded for every object. Volumes go slice by slice. What prompts take from the truth is
said in `oracle`, and such numbers are an oracle's.

`prepare.size` gives SAM, MedSAM and SAM 2 pictures of another size than the 1024 px they were trained at: positions are
interpolated. Half the size takes a quarter of the time and memory or less, and costs accuracy, most of all for small
structures and without training; compare both on validation cases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medvfm.adapters import _sam_examples, _sam_options, _sam_text_to_mask, _sam_words
from medvfm.adapters._sam_examples import ExampleSettings
from medvfm.adapters._sam_options import Options
from medvfm.adapters._sam_prompting import Prompting
from medvfm.core.capabilities import Shown
from medvfm.core.case import Case
from medvfm.core.errors import RecipeError
from medvfm.core.item import Item
from medvfm.core.protocols import Augment, Batch, Method, Record, Task
from medvfm.core.recipe_sections import AdapterSettings, Prepare, Train
from medvfm.models.inputs.volumes import VolumePreparer
from medvfm.models.sam import load as segmenters
from medvfm.models.sam.embedding_cache import EmbeddingCache, three_or_one
from medvfm.models.sam.mask_assembly import MaskAssembler
from medvfm.models.sam.model import ImageEmbeddings, SamModel
from medvfm.models.sam.trainable import TrainableSam
from medvfm.nn import dense_losses, prompts, state
from medvfm.nn.prompts import Prompts

_VOLUMES = frozenset({"prepare.windows", "prepare.invalid", "prepare.spacing", "prepare.slices.axis", "prepare.size"})
_PROMPTED = _VOLUMES | {"adapter.prompts"}
_LOOP = frozenset(f"train.{key}" for key in Train.model_fields) - {
    "train.class_weights",
    "train.balanced_sampling",
    "train.loss",
    "train.rates",
}
_TRAINED = _LOOP | {"adapter.stages.data"}
METHODS = {
    "zero_shot": Method("the model as it is, with prompts", "nothing", {"segmentation": _PROMPTED}),
    "decoder": Method(
        "the mask decoder, on embeddings of the frozen encoder", "weights", {"segmentation": _PROMPTED | _TRAINED}
    ),
    "lora": Method(
        "low-rank updates of the encoder's attention, and the decoder",
        "weights",
        {"segmentation": _PROMPTED | _TRAINED | {"adapter.rank", "adapter.alpha"}},
    ),
    "full": Method("encoder and decoder", "weights", {"segmentation": _PROMPTED | _TRAINED}),
    "promptless": Method(
        "learned prompts of each class, and the decoder", "weights", {"segmentation": _VOLUMES | _TRAINED}
    ),
}
DEFAULT_METHOD = "zero_shot"
DEFAULT_WEIGHTS = "facebook/sam-vit-base"
TRAINING: dict[str, dict[str, Any]] = {
    "decoder": {"epochs": 10, "batch_size": 4, "learning_rate": 1e-4},
    "lora": {"epochs": 10, "batch_size": 2, "learning_rate": 2e-4},
    "full": {"epochs": 10, "batch_size": 2, "learning_rate": 1e-5},
    "promptless": {"epochs": 20, "batch_size": 4, "learning_rate": 2e-4},
}
FROM_SCRATCH: dict[str, Any] = {
    "epochs": 6,
    "steps": 150,
    "batch_size": 4,
    "learning_rate": 2e-3,
    "warmup": 0.03,
    "augment": (
        {"name": "RandomHorizontalFlip"},
        {"name": "RandomVerticalFlip"},
        {"name": "ColorJitter", "brightness": 0.3, "contrast": 0.3},
    ),
}
TINY_CROP_PX = 128


class SamAdapter:
    """See core.protocols.Adapter."""

    probabilities = False
    answers_at_once = 1

    def __init__(
        self,
        segmenter: SamModel,
        question: Task,
        method: str,
        prepare: Prepare,
        settings: AdapterSettings,
        *,
        windows: Mapping[str, tuple[float, float]],
        read: Mapping[Any, Any],
        seed: int,
    ) -> None:
        self.question, self.method, self._settings = question, method, settings
        self._options = _sam_options.options(settings)
        classes = len(question.classes)
        promptless = method == "promptless"
        self.module = TrainableSam(segmenter, classes if promptless else 0, self._options.tokens, seed)
        self.preparer = VolumePreparer(prepare, windows, read)
        self._embed = EmbeddingCache(segmenter)
        small = segmenter.name == "tiny" and segmenter.frame.longest_px is None
        self._examples = _example_settings(self._options, settings, question, promptless, small)
        self._prompting = (
            None if promptless else Prompting.of(settings, question, seed, prepare=prepare, windows=windows, read=read)
        )
        self.oracle: str | None = None if self._prompting is None else self._prompting.oracle
        self._encoder_as_loaded = True
        self._set_trainable(method)

    def start_stage(self, method: str, options: Mapping[str, object]) -> None:
        """Go on with another method from the weights that the last stage left."""
        self.module.end_stage(self.method)
        self.method = method
        self._set_trainable(method)

    def _set_trainable(self, method: str) -> None:
        self.module.set_trainable(
            method,
            rank=self._settings.rank or 8,
            alpha=self._settings.alpha,
            with_prompt_encoder=self._options.prompt_encoder,
        )
        self._encoder_as_loaded &= self.module.encoder_is_frozen
        self._embed.forget()

    # training

    def example(self, item: Item, rng: np.random.Generator, augment: Augment) -> dict[str, np.ndarray | bool]:
        return _sam_examples.draw(item, rng, augment, self._examples, self.module.segmenter.frame)

    def collate(self, examples: Sequence[Any]) -> dict[str, Any]:
        """Pictures differ in size and in their number of objects, so examples stay apart."""
        return {"examples": list(examples)}

    def loss(self, batch: Batch) -> torch.Tensor:
        """The mean over objects, or over pictures and classes where there are no prompts."""
        parts = [self._losses(alike) for alike in _of_one_size(batch["examples"])]
        losses = torch.cat(parts)
        if not len(losses):  # no object in any picture: a step that changes nothing
            return torch.stack([p.sum() for p in self.module.parameters() if p.requires_grad]).sum() * 0
        return losses.mean()

    def _losses(self, examples: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """(M,) of the objects in pictures of one size."""
        segmenter = self.module.segmenter
        masks = torch.from_numpy(np.concatenate([e["masks"] for e in examples])).to(segmenter.device)
        if not len(masks):
            return torch.zeros(0, device=segmenter.device)
        embeddings = self._encoded(examples)
        if self.module.class_prompts is not None:
            logits = self.module.decode_classes(embeddings, training=True).flatten(0, 1)
            return self._of_masks(logits, masks)
        decoded = segmenter.decode(embeddings, _prompts_of(examples), multimask_output=False, training=True)
        right = dense_losses.object_iou(decoded.logits, masks)
        weight = self._options.losses.iou
        return self._of_masks(decoded.logits, masks) + weight * (decoded.iou - right).square()

    def _of_masks(self, logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        weights = self._options.losses
        per = "object" if self.question.kind == "instances" else "pixel"
        total = weights.dice * dense_losses.object_dice(logits, masks)
        total = total + weights.cross_entropy * dense_losses.object_cross_entropy(logits, masks, per)
        return total + weights.focal * dense_losses.object_focal(logits, masks) if weights.focal else total

    def _encoded(self, examples: Sequence[Mapping[str, Any]]) -> ImageEmbeddings:
        """With gradients where the encoder is trained, else from the cache."""
        segmenter = self.module.segmenter
        if self.module.encoder_is_frozen and not examples[0]["ranged"]:
            found = [self._embed(e["picture"], frozen=self._encoder_as_loaded) for e in examples]
            maps = tuple(torch.cat(level).clone() for level in zip(*(f.maps for f in found), strict=True))
            return ImageEmbeddings(maps, found[0].original_size_px)
        # Gray and colour go together: a batch of one kind would teach normalisation layers that kind's statistics.
        pictures = np.stack([np.broadcast_to(three_or_one(p := e["picture"]), (3, *p.shape[1:])) for e in examples])
        return segmenter.encode(torch.from_numpy(pictures), ranged=bool(examples[0]["ranged"]))

    # answers

    def answer(self, items: Sequence[Item], variant: str | None = None) -> list[np.ndarray]:
        return [self._mask(item, variant) for item in items]

    @torch.inference_mode()
    def _mask(self, item: Item, variant: str | None) -> np.ndarray:
        """(i, j, k) on the grid of the image, or (i, j, k, T) of bool."""
        self.module.eval()
        canvas = MaskAssembler(item.grid, self.question.kind, len(self.question.classes))
        if self._prompting is None:
            values = list(range(1, len(self.question.classes) + 1))
            for s in range(item.pixels.shape[1]):
                canvas.add(s, values, self.module.decode_classes(self._embeddings(item, s))[0])
        else:
            for s, values, logits in self._prompting.masks(item, self.module.segmenter, self._embeddings, variant):
                canvas.add(s, values, logits)
        self._embed.forget()
        return canvas.result()

    def _embeddings(self, item: Item, s: int, remember: bool = False) -> ImageEmbeddings:
        frozen = self._encoder_as_loaded and self.module.encoder_is_frozen
        return self._embed(np.asarray(item.pixels[:, s]), frozen=frozen, remember=remember)

    def variants(self) -> list[str]:
        return [] if self._prompting is None else self._prompting.variants()

    # prompts that come from outside

    def check_prompts(self, asked: Sequence[Case], known: Sequence[Case], shown: Shown = str) -> list[str]:
        given = None if self._prompting is None else self._prompting.given
        return [] if given is None else given.check(asked, known, shown)

    def prompt_remarks(self, shown: Shown = str) -> list[str]:
        given = None if self._prompting is None else self._prompting.given
        return [] if given is None else given.remarks(shown)

    # what was trained, on disk

    def save(self, folder: Path) -> None:
        self.module.save(self.method, folder)

    def load(self, folder: Path) -> None:
        self.module.load(self.method, folder)
        self._embed.forget()

    def record(self) -> Record:
        segmenter = self.module.segmenter
        given = self._settings.prompts
        found = {
            "weights": segmenter.name,
            **segmenter.weights_record,
            "contract": segmenter.frame.as_record(),
            "prompts": None if given is None else given.model_dump(mode="json", by_alias=True, exclude_none=True),
            "prompted_by": None if self._prompting is None else self._prompting.record(),
            "oracle": self.oracle,
            "options": self._options.model_dump(mode="json"),
            "parameters": state.count(self.module),
        }
        if found["prompted_by"]:
            own = {"role": "model", **{key: found.get(key) for key in ("weights", "sha256", "licence")}}
            others = found["prompted_by"]["towers"]
            found["towers"] = [own, *({**tower, "role": f"prompting {tower['role']}"} for tower in others)]
        return found | {"said": _sam_words.said(found | {"method": self.method})}


def _example_settings(
    options: Options, settings: AdapterSettings, question: Task, promptless: bool, tiny: bool
) -> ExampleSettings:
    given = settings.prompts
    per = "class" if given is None else _sam_options.prompt_options(given).per
    return ExampleSettings(
        kind=question.kind,
        objects=options.objects,
        crop_px=options.crop_px or (TINY_CROP_PX if tiny else None),
        exact=options.exact,
        jitter_share=options.jitter_share,
        jitter_px=options.jitter_px,
        points=options.points,
        per=per,
        classes=len(question.classes) if promptless else 0,
    )


def _of_one_size(examples: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Examples whose pictures can be stacked, in order of first appearance."""
    groups: dict[tuple[int, ...], list[Mapping[str, Any]]] = {}
    for example in examples:
        groups.setdefault(example["picture"].shape[-2:], []).append(example)
    return list(groups.values())


def _prompts_of(examples: Sequence[Mapping[str, Any]]) -> Prompts:
    """Prompts of the objects of several pictures."""
    picture = np.repeat(np.arange(len(examples)), [len(e["masks"]) for e in examples])
    points = torch.from_numpy(np.concatenate([e["points"] for e in examples]))
    boxes = torch.from_numpy(np.concatenate([e["boxes"] for e in examples]))
    labels = points[:, :, 2].long()
    return Prompts(
        torch.from_numpy(picture),
        boxes if bool(torch.isfinite(boxes).any()) else None,
        points[:, :, :2] if bool((labels != prompts.NO_POINT).any()) else None,
        labels if bool((labels != prompts.NO_POINT).any()) else None,
    )


def refuse(settings: AdapterSettings, methods: Sequence[str], prepare: Prepare, task: Task) -> None:
    """What this adapter cannot do, said before data are read or weights are loaded."""
    if settings.weights is None and set(methods) - {"zero_shot"}:
        settings = settings.model_copy(update={"weights": DEFAULT_WEIGHTS})
    _sam_options.refuse(settings, methods, task)
    _sam_options.refuse_size(settings, prepare)
    given = settings.prompts
    if given is not None and given.origin == "adapter" and given.adapter is not None and given.adapter.name == "clip":
        _sam_text_to_mask.refuse(given.adapter, _sam_options.prompt_options(given).size, prepare, task)


def build(
    settings: AdapterSettings,
    task: Task,
    method: str,
    prepare: Prepare,
    *,
    windows: Mapping[str, tuple[float, float]],
    read: Mapping[Any, Any],
    train: Train,
    seed: int,
) -> SamAdapter:
    """Load the weights and make the adapter; the device is chosen later, by moving `module`."""
    options = _sam_options.options(settings)
    segmenter = segmenters.load_segmenter(
        settings.weights or DEFAULT_WEIGHTS, contract=options.contract, seed=seed, size_px=_sam_options.size_px(prepare)
    )
    return SamAdapter(segmenter, task, method, prepare, settings, windows=windows, read=read, seed=seed)


def training(method: str, weights: str | None, given: Train, task: str = "segmentation") -> dict[str, Any]:
    """The settings of the training loop: the recipe's, over the method's own."""
    scratch = FROM_SCRATCH if weights == "tiny" else {}
    return {**TRAINING[method], **scratch, **given.given()}


def load(weights: str | None, prepare: Prepare) -> SamAdapter:
    """A segmenter answers nothing without prompts."""
    raise RecipeError("sam gives no features of images", where="load_adapter", remedy="use dinov2, or a recipe")
