"""Any image encoder (DINOv2 and its kin, CNNs too) adapted to classification.

The encoder sees pictures; a volume is a stack of them. Patches are pooled to one vector a picture, pictures to one
vector a case, and a head turns that into scores. What is trained is the head alone on cached features (knn,
linear_probe), or head and encoder by the training loop (lora, last_blocks, full).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from medvfm.adapters import _dinov2_words
from medvfm.adapters._dinov2_dense import EncoderSegmenter
from medvfm.core.capabilities import Choose, Embedded
from medvfm.core.errors import RecipeError
from medvfm.core.image import Image
from medvfm.core.item import Item
from medvfm.core.options import checked
from medvfm.core.protocols import Adapter, Augment, Batch, Method, Record, Task
from medvfm.core.recipe_sections import AdapterSettings, Prepare, Train
from medvfm.models.encoders import load as encoders
from medvfm.models.encoders import tuning as trainable
from medvfm.models.encoders.base import Encoder, Features
from medvfm.models.inputs.given_images import in_parts
from medvfm.models.inputs.slice_stacks import SliceStackPreparer, as_batch
from medvfm.nn import heads, knn, losses, probe, state

_IMAGES = frozenset({"prepare.size", "prepare.windows", "prepare.invalid", "prepare.slices.axis"})
_SLICES = _IMAGES | {"prepare.slices.count", "prepare.slices.span", "prepare.slices.pool", "prepare.patches"}
_VOLUMES = _IMAGES | {"prepare.spacing"}
_LOOP = frozenset(f"train.{key}" for key in Train.model_fields) - {"train.rates"}
_BY_LOOP = {
    "classification": _SLICES | (_LOOP - {"train.loss"}) | {"adapter.stages.data"},
    "segmentation": _VOLUMES | (_LOOP - {"train.class_weights", "train.balanced_sampling"}) | {"adapter.stages.data"},
}


def _and(*keys: str) -> dict[str, frozenset[str]]:
    """What the loop uses of either task, and further keys."""
    return {task: uses | set(keys) for task, uses in _BY_LOOP.items()}


METHODS = {
    "knn": Method("nearest neighbours among frozen features", "features", {"classification": _SLICES}),
    "linear_probe": Method(
        "logistic regression on frozen features", "features", {"classification": _SLICES | {"train.class_weights"}}
    ),
    "dense_head": Method(
        "a decoder for every pixel on maps of a frozen encoder", "weights", {"segmentation": _BY_LOOP["segmentation"]}
    ),
    "lora": Method(
        "low-rank updates of attention or convolutions, and a head", "weights", _and("adapter.rank", "adapter.alpha")
    ),
    "last_blocks": Method("the last blocks of the encoder and a head", "weights", _and("adapter.blocks")),
    "full": Method("every weight of the encoder and a head", "weights", _and()),
}
DEFAULT_METHOD = "linear_probe"
HEAD_SWEEPS = {"knn": knn.SWEPT, "linear_probe": probe.SWEPT}  # what is chosen while a head is fitted
DEFAULT_WEIGHTS = "facebook/dinov2-base"
TRAINING = {
    "lora": {
        "epochs": 3,
        "batch_size": 2,
        "accumulate": 4,
        "learning_rate": 2e-3,
    },  # small batches: memory, not gradients
    "last_blocks": {"epochs": 8, "batch_size": 8, "learning_rate": 3e-4, "patience": 4},
    "full": {"epochs": 10, "batch_size": 8, "learning_rate": 1e-4, "patience": 5},
}
TRAINING_OF_PIXELS = {"epochs": 10, "batch_size": 16, "steps": 60, "learning_rate": 1e-3, "weight_decay": 1e-4}
FROM_SCRATCH = {"learning_rate": 1e-3, "weight_decay": 0.05}
CHUNK = 16  # pictures that go through the encoder at once


class Options(BaseModel):
    """What `adapter.options` may say.

    features    which map of a CNN: that before its classifier, or that of its last stage
    decoder     segmentation: conv reaches full resolution with the pixels' help, linear shows what the features hold
    neighbours  segmentation of gray volumes: slices on each side that are further channels (2.5D); 1 fills three
    roles       segmentation: which images of a case are the channels, in order; null takes all
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    features: Literal["final", "last_stage"] | None = None
    decoder: Literal["conv", "linear"] = "conv"
    neighbours: Literal[0, 1] = 1
    roles: tuple[str, ...] | None = None


class SliceClassifier(nn.Module):
    """Encoder, pooling over patches and slices, head."""

    def __init__(self, encoder: Encoder, patches: str, pool: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.patches, self.pool, self.head = encoder, patches, pool, head

    def vectors(self, pixels: torch.Tensor) -> torch.Tensor:
        """(N, D): each picture's patches as one vector."""
        return self.chosen(self.encoder(pixels))

    def chosen(self, features: Features) -> torch.Tensor:
        """The vector that `patches` names, of an encoder's features."""
        if self.patches == "cls":
            if features.cls is None:
                raise RecipeError("prepare.patches: cls, but this encoder has no class token", remedy="use mean or max")
            return features.cls
        return features.pooled if self.patches == "mean" else features.patches.flatten(2).amax(2)

    def forward(self, pixels: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """Logits (B, T) from pixels (sum of counts, C, h, w)."""
        vectors: torch.Tensor = self.pool(*padded(self.vectors(pixels), counts))
        return self.head(vectors)


def padded(vectors: torch.Tensor, counts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(sum of counts, D) as (B, S, D) with a mask (B, S) that is true where there is a slice."""
    parts = vectors.split(counts.tolist())
    mask = torch.arange(int(counts.max()), device=vectors.device) < counts.to(vectors.device)[:, None]
    return nn.utils.rnn.pad_sequence(list(parts), batch_first=True), mask


def features_key(encoder: Encoder, preparer: SliceStackPreparer, patches: str) -> str:
    """Names what features of pictures depend on: weights, input contract, preparation and pooling of patches."""
    parts = [
        encoder.weights_record["sha256"],
        encoder.weights_record.get("features"),
        encoder.contract.as_record(),
        preparer.key(),
        patches,
    ]
    return f"{encoder.name}-{hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]}"


class EncoderClassifier:
    """An encoder adapted to one question by one method. See core.protocols.Adapter."""

    oracle: str | None = None
    probabilities = True
    answers_at_once = 8

    def __init__(
        self,
        encoder: Encoder,
        question: Task | None,
        method: str,
        prepare: Prepare,
        settings: AdapterSettings,
        *,
        windows: Mapping[str, tuple[float, float]],
        read: Mapping[Any, Any],
        class_weights: bool = False,
        seed: int = 0,
    ) -> None:
        self._task, self.method, self.settings = question, method, settings
        self.slices_pool, self.class_weights = prepare.slices.pool, class_weights
        patches = prepare.patches or "mean"
        self.preparer = SliceStackPreparer(encoder.contract, prepare, windows, read)
        outputs = losses.outputs(question.kind, len(question.classes)) if question is not None else 1
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            width = encoder.summary_width if patches == "cls" else encoder.width
            pool = heads.SlicePool(self.slices_pool, width)
            head: nn.Module = nn.Linear(width, outputs)
        self.module = SliceClassifier(encoder, patches, pool, head)
        self._tuning = tuning(settings, seed)
        trainable.set_trainable(encoder, method, self._tuning, self._read)

    def start_stage(self, method: str, options: Mapping[str, object]) -> None:
        """Go on with another method from the weights that the last stage left; low-rank updates are merged in."""
        trainable.restage(self.module.encoder, self.method, method, self._tuning, self._read)
        self.method = method

    @property
    def question(self) -> Task:
        """The task; an adapter without one (`load`) only encodes."""
        assert self._task is not None
        return self._task

    def _read(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        return [self.module.vectors(pixels)]

    def example(self, item: Item, rng: np.random.Generator, augment: Augment) -> Item:
        pixels, _ = augment(item.pixels, None)
        return replace(item, arrays={**item.arrays, "pixels": pixels})

    def collate(self, examples: Sequence[Item]) -> dict[str, Any]:
        """pictures (sum of slices, C, h, w), counts (B,), truth (B, T) with NaN where it is unknown or hidden."""
        cases = [item.case for item in examples]
        batch: dict[str, Any] = {**as_batch([item.pixels for item in examples]), "cases": cases}
        return batch if self._task is None else batch | {"truth": torch.as_tensor(self.question.labels(cases))}

    def _pixels(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        device = next(self.module.parameters()).device
        return self.module.encoder.contract.normalise(batch["pictures"].to(device, non_blocking=True))

    # features of the frozen encoder

    def features_key(self) -> str:
        return features_key(self.module.encoder, self.preparer, self.module.patches)

    @torch.inference_mode()
    def embed(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(B, 2, D): the mean and the maximum over a case's slices, so that one pass serves both poolings."""
        self.module.eval()
        chunks = self._pixels(batch).split(CHUNK)
        vectors = torch.cat([self.module.vectors(chunk).float() for chunk in chunks]).split(batch["counts"].tolist())
        return torch.stack([torch.stack([v.mean(0), v.amax(0)]) for v in vectors])

    def encode(self, images: Any, *, progress: bool | None = None) -> np.ndarray:
        """(n, D) features of images, slices pooled as `prepare` says.

        images    one or a list of: paths (files or DICOM folders), images of `medvfm.read_image`, arrays
                  (rows, columns) or (rows, columns, 3), PIL pictures
        progress  whether to show how far it is; None: on a terminal
        """
        return np.concatenate([self._encoded(part) for part in in_parts(images, CHUNK, progress)])

    def _encoded(self, images: Sequence[Image]) -> np.ndarray:
        batch = as_batch([self.preparer.of_image(image) for image in images])
        vectors: np.ndarray = self.pooled(self.embed(batch).cpu()).numpy()
        return vectors

    def __repr__(self) -> str:
        encoder = self.module.encoder
        return f"{type(self).__name__}({encoder.name}, {self.method}, features of {encoder.width})"

    def pooled(self, features: np.ndarray | torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(features)[:, {"mean": 0, "max": 1}[self.slices_pool]].float()

    def fit_features(self, train: Embedded, val: Embedded, choose: Choose | None, seed: int) -> Record:
        fitted_on, chosen_on = (
            (self.pooled(part.values), torch.as_tensor(self.question.labels(part.cases))) for part in (train, val)
        )
        if self.method == "knn":
            self.module.head, record = knn.sweep(fitted_on, chosen_on, choose, kind=self.question.kind)
        else:
            weights = "balanced" if self.class_weights else None
            self.module.head, record = probe.sweep(
                fitted_on, chosen_on, choose, kind=self.question.kind, class_weight=weights
            )
        return record

    @torch.inference_mode()
    def answer_features(self, features: Embedded) -> np.ndarray:
        self.module.eval()
        return self._scores(self.module.head(self.pooled(features.values).to(next(self.module.parameters()).device)))

    def _scores(self, outputs: torch.Tensor) -> np.ndarray:
        kind = self.question.kind
        if self.method == "linear_probe":
            outputs = probe.probabilities(outputs, kind)
        elif self.method != "knn":
            outputs = losses.probabilities(outputs.float(), kind)
        return outputs.double().cpu().numpy()

    # training

    def loss(self, batch: Batch) -> torch.Tensor:
        logits = self.module(self._pixels(batch), batch["counts"])
        return losses.classification(logits, batch["truth"], self.question.kind, weights=batch.get("class_weights"))

    @torch.inference_mode()
    def answer(self, items: Sequence[Item], variant: str | None = None) -> np.ndarray:
        """(B, T) scores."""
        self.module.eval()
        batch = self.collate(items)
        if self.method in ("knn", "linear_probe"):
            return self.answer_features(Embedded(self.embed(batch).cpu().numpy(), batch["cases"]))
        return self._scores(self.module(self._pixels(batch), batch["counts"]))

    def variants(self) -> list[str]:
        return []

    # what was trained, on disk

    def save(self, folder: Path) -> None:
        """`model.safetensors` holds head and trained blocks; `lora/` is peft's own format, for the plain model."""
        if self.method in ("knn", "linear_probe"):
            head = {f"head.{n}": w.detach().cpu() for n, w in self.module.head.state_dict().items()}
            state.write(folder / "model.safetensors", head)
        else:
            trainable.save(self.module, self.module.encoder, self.method, folder)

    def load(self, folder: Path) -> None:
        """Put back what `save` wrote."""
        if self.method not in ("knn", "linear_probe"):
            trainable.load(self.module, self.module.encoder, self.method, folder)
            return
        own = state.read(folder / "model.safetensors")
        head = knn.Neighbours if self.method == "knn" else probe.Probe
        self.module.head = head.from_state({n.removeprefix("head."): w for n, w in own.items()})

    def record(self) -> Record:
        encoder = self.module.encoder
        found = {
            "weights": encoder.name,
            **encoder.weights_record,
            "contract": encoder.contract.as_record(),
            "patches": self.module.patches,
            "slices": self.slices_pool,
            "parameters": state.count(self.module),
        }
        own = {"method": self.method, "volume": self.preparer.prepare.slices.model_dump(mode="json")}
        return found | {"said": _dinov2_words.said(found | own)}


def refuse(settings: AdapterSettings, methods: Sequence[str], prepare: Prepare, task: Task) -> None:
    """What this adapter cannot do, said before data are read or weights are loaded."""
    checked(Options, settings.options, "dinov2")
    frozen = [m for m in methods if METHODS[m].fits == "features"]
    if prepare.slices.pool == "attention" and frozen:
        raise RecipeError(
            f"attention pooling is trained, and {frozen[0]} trains only a head on features",
            where="prepare.slices.pool",
            remedy="take adapter.method lora, last_blocks or full, or pool mean or max",
        )
    side_px(prepare)


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
    weights, options = settings.weights or DEFAULT_WEIGHTS, checked(Options, settings.options, "dinov2")
    features = options.features
    if features is None:  # of a CNN made for classification, the stage before its last, class-like layer is better
        features = "last_stage" if weights.startswith("embedded") else "final"
    encoder = encoders.load_encoder(weights, size_px=side_px(prepare), seed=seed, features=features)
    if task is not None and task.answers == "mask":
        return EncoderSegmenter(
            encoder,
            task,
            method,
            prepare,
            windows=windows,
            read=read,
            roles=options.roles,
            reach=options.neighbours,
            decoder=options.decoder,
            loss=train.loss or "dice_ce",
            tuning=tuning(settings, seed),
            seed=seed,
        )
    return EncoderClassifier(
        encoder,
        task,
        method,
        prepare,
        settings,
        windows=windows,
        read=read,
        class_weights=train.class_weights == "balanced",
        seed=seed,
    )


def tuning(settings: AdapterSettings, seed: int) -> trainable.Tuning:
    return trainable.Tuning(settings.rank or 8, settings.alpha, settings.blocks or 2, seed)


def side_px(prepare: Prepare) -> int | None:
    if prepare.size is None or isinstance(prepare.size, int):
        return prepare.size
    if len(set(prepare.size)) != 1:
        raise RecipeError("encoders take square pictures", where="prepare.size", remedy="give one number, as in 224")
    return prepare.size[0]


def training(method: str, weights: str | None, given: Train, task: str = "classification") -> Record:
    """The settings of the training loop: the recipe's, over the method's own."""
    if task == "segmentation":
        return {**TRAINING_OF_PIXELS, **{k: v for k, v in given.given().items() if k != "loss"}}
    scratch = FROM_SCRATCH if weights == "tiny" and method == "full" else {}
    return {**TRAINING[method], **scratch, **given.given()}


def load(weights: str | None, prepare: Prepare) -> Adapter:
    """The encoder without a task, for `encode`."""
    settings = AdapterSettings(name="dinov2", weights=weights)
    return build(settings, None, "linear_probe", prepare, windows={}, read={}, train=Train(), seed=0)
