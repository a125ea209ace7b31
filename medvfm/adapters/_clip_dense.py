"""`clip` for segmentation: each patch of a slice is compared with what the structures are called. Nothing is trained.

Zhou et al. 2022 (MaskCLIP), section 3.2: a patch in the space of the texts is classified by the vectors
of the words. Maps are as coarse as the patches; a larger `prepare.size` gives more of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medvfm.adapters import _clip_classes, _clip_words
from medvfm.adapters._clip_prompts import ClassPrompts, Sentences, Words
from medvfm.adapters._clip_towers import SharedSpace
from medvfm.core.errors import RecipeError
from medvfm.core.item import Item
from medvfm.core.protocols import Augment, Batch, Record, Task
from medvfm.core.recipe_sections import Prepare
from medvfm.models.encoders import dense
from medvfm.models.image_text.pair import ImageTextPair
from medvfm.models.inputs.padded_maps import unpadded
from medvfm.models.inputs.volumes import VolumePreparer
from medvfm.nn import state

BACKGROUND = "background"  # what no structure is, beside the classes
NO_STRUCTURE: Words = ("background", "normal tissue")
THRESHOLD = 0.5


@dataclass(frozen=True)
class DenseSettings:
    """How structures are asked for; see adapters.clip.Options."""

    templates: str | tuple[str, ...] | None = None
    prompts: Mapping[str, Words] = field(default_factory=dict)
    paraphrases: Mapping[str, Words] = field(default_factory=dict)
    background: Words | None = None
    threshold: float | None = None
    temperature: float | None = None
    roles: tuple[str, ...] | None = None
    chunk: int = 32
    seed: int = 0


def prompts_of(settings: DenseSettings, task: Task) -> ClassPrompts:
    """Semantic: the classes and `background` against each other. Multi-label: each class against its absence.

    Raises RecipeError for what the kind of the task has no use for.
    """
    words = {**getattr(task, "synonyms", {}), **settings.prompts}
    if task.kind == "instances":
        raise RecipeError(
            "words tell structures from each other, and not one object of a structure from the next",
            where="task.kind",
            remedy="ask for semantic or multi_label",
        )
    if task.kind == "multi_label":
        if settings.background is not None:
            raise RecipeError(
                "structures that may overlap are asked against their own absence, not against a background",
                where="adapter.options.background",
                remedy="leave it out, or give adapter.options.prompts.CLASS.negative",
            )
        return ClassPrompts.of(task.classes, settings.templates, words, settings.paraphrases, exclusive=False)
    if settings.threshold is not None:
        raise RecipeError(
            "a voxel of a semantic map belongs to the likeliest structure or to the background, without a threshold",
            where="adapter.options.threshold",
            remedy="leave it out, or take task.kind multi_label",
        )
    if BACKGROUND in (*task.classes, *words):
        raise RecipeError(
            f"{BACKGROUND} is what the structures are compared with, and no structure", where="adapter.options.prompts",
            remedy="its words stand under adapter.options.background",
        )  # fmt: skip
    background = NO_STRUCTURE if settings.background is None else settings.background
    for name, said in {**words, BACKGROUND: background}.items():
        if isinstance(said, Sentences) and said.negative:
            raise RecipeError(
                f"structures of a semantic map are asked against each other and the background, so {name} takes no "
                "negative sentences",
                where="adapter.options",
                remedy="put them under adapter.options.background",
            )
    return ClassPrompts.of(
        (BACKGROUND, *task.classes),
        settings.templates,
        {**words, BACKGROUND: background},
        settings.paraphrases,
        exclusive=True,
    )


class PatchSegmenter:
    """A segmenter of slices that is asked in words. See core.protocols.Adapter."""

    oracle: str | None = None
    probabilities = False
    answers_at_once = 1
    method = "dense"

    def __init__(
        self,
        pair: ImageTextPair,
        question: Task,
        prepare: Prepare,
        settings: DenseSettings,
        *,
        windows: Mapping[str, tuple[float, float]],
        read: Mapping[Any, Any],
    ) -> None:
        self.question, self._settings = question, settings
        self._prompts = prompts_of(settings, question)
        self.preparer = VolumePreparer(prepare, windows, read, settings.roles)
        self.contract = pair.image.contract.with_resize("pad")
        with torch.inference_mode():  # a pair without embeddings of patches says so
            pair.dense(torch.zeros(1, self.contract.channels, *self.contract.size_px))
        self.module = SharedSpace(pair, "mean", pair.image_width, settings.seed).requires_grad_(False)
        if settings.temperature is not None:
            with torch.no_grad():
                self.module.logit_scale.fill_(math.log(1 / settings.temperature))
        self._vectors: dict[str | None, Tensor] = {}  # of the words, by variant

    @property
    def pair(self) -> ImageTextPair:
        return self.module.pair

    @property
    def threshold(self) -> float:
        return THRESHOLD if self._settings.threshold is None else self._settings.threshold

    # maps

    @torch.inference_mode()
    def scores(self, slices: Tensor, variant: str | None = None) -> Tensor:
        """Slices (n, C, H, W) in [0, 1] to (n, 1 + T, H, W): shares of the background and each class, that sum to 1.
        Multi-label: (n, T, H, W), each class's share against its absence.

        Slices are fitted into the model's size with borders, so that nothing is cut away and the aspect ratio stays.
        """
        self.module.eval()
        if slices.shape[1] not in (1, self.contract.channels):
            raise RecipeError(
                f"the images give {slices.shape[1]} channels, and the model takes {self.contract.channels}",
                where="adapter.options.roles",
                remedy=f"name {self.contract.channels} roles, or one",
            )
        fitted = self.contract.fit(slices.float()).to(self.module.device)
        maps = self.pair.dense(self.contract.normalise(fitted))
        patches = self.module.of_images(maps.permute(0, 2, 3, 1))
        logits = self.module.scale * patches @ self._of_words(variant).T
        if self._prompts.exclusive:
            shares = logits.softmax(-1)
        else:
            shares = logits.unflatten(-1, (-1, 2)).softmax(-1)[..., 1]
        return unpadded(shares.permute(0, 3, 1, 2), self.contract, (slices.shape[-2], slices.shape[-1]))

    def _of_words(self, variant: str | None) -> Tensor:
        """(1 + T, D) unit vectors of background and classes; multi-label (2 T, D), against and for each class."""
        if variant not in self._vectors:
            asked = self._prompts.asked(variant).values()
            exclusive = self._prompts.exclusive
            rows = [said for a in asked for said in ([a.positive] if exclusive else [a.negative, a.positive])]
            self._vectors[variant] = torch.stack([self.module.of_prompts(self.module.text_outputs(r)) for r in rows])
        return self._vectors[variant].to(self.module.device)

    # answers

    def answer(self, items: Sequence[Item], variant: str | None = None) -> list[np.ndarray]:
        return [self._mask(item, variant) for item in items]

    def _mask(self, item: Item, variant: str | None) -> np.ndarray:
        """(i, j, k) on the grid of the image, or (i, j, k, T) of bool."""
        resampled, exclusive = item.grid.is_resampled, self._prompts.exclusive
        parts = []
        for part in dense.chunks(item.pixels.shape[1], self._settings.chunk):
            slices = torch.from_numpy(np.stack([item.pixels[:, s] for s in part]))
            scores = self.scores(slices, variant).transpose(0, 1)
            parts.append((self._settled(scores) if exclusive and not resampled else scores).cpu().numpy())
        found = np.concatenate(parts, axis=-3)
        if not exclusive:
            return item.grid.above(found, self.threshold)
        return item.grid.labels_from(found) if resampled else item.grid.to_source(found)

    @staticmethod
    def _settled(scores: Tensor) -> Tensor:
        """(1 + T, ...) shares as (...) values, 0 for the background."""
        return scores.argmax(0).to(torch.uint8 if len(scores) <= 256 else torch.int32)

    def slice_labels(self, item: Item, s: int) -> np.ndarray:
        """The answer to one slice, on the model's grid: (H, W) values, or (T, H, W) of bool."""
        scores = self.scores(torch.from_numpy(np.asarray(item.pixels[:, s])[None]))[0]
        settled = self._settled(scores) if self._prompts.exclusive else scores > self.threshold
        return settled.cpu().numpy()

    def variants(self) -> list[str]:
        return self._prompts.variants()

    def wordings(self) -> list[str]:
        """Templates one by one; see core.capabilities.WordedAdapter."""
        whole = any(isinstance(said, Sentences) for said in self._prompts.words.values())
        return [] if whole else self._prompts.wordings()

    # what a method that fits nothing has no answer to

    def example(self, item: Item, rng: np.random.Generator, augment: Augment) -> Any:
        raise _untrained()

    def collate(self, examples: Sequence[Any]) -> Batch:
        raise _untrained()

    def loss(self, batch: Batch) -> Tensor:
        raise _untrained()

    def start_stage(self, method: str, options: Mapping[str, object]) -> None:
        raise _untrained()

    # on disk

    def save(self, folder: Path) -> None:
        """`model.safetensors` without a tensor: nothing was trained."""
        state.write(folder / "model.safetensors", {})

    def load(self, folder: Path) -> None:
        """Nothing was trained."""

    def record(self) -> Record:
        pair, asked = self.pair, self._prompts.asked()
        sentences = list(dict.fromkeys(p for a in asked.values() for p in (*a.positive, *a.negative)))
        found: Record = {
            "weights": pair.name,
            "sha256": pair.towers()[0]["sha256"],
            "towers": [tower | {"trained": False} for tower in pair.towers()],
            "contract": self.contract.as_record(),
            "texts": {
                "limit": pair.text.limit,
                "read": len(sentences),
                "cut": pair.text.cut(sentences),
                "by": "whole text",
            },
            "aligned": pair.aligned,
            "scale": float(self.module.scale),
            "threshold": None if self._prompts.exclusive else self.threshold,
            "slices": self.preparer.prepare.slices.axis or "native",
            "neighbours": 0,
            "prompts": {name: _clip_classes.as_record(a) for name, a in asked.items()},
            "parameters": state.count(self.module),
        }
        return found | {"said": _clip_words.said(found | {"method": self.method})}


def _untrained() -> RecipeError:
    return RecipeError("dense fits nothing", where="adapter.method", remedy="take it alone, and not as a stage")
