"""From a case to the masks of its prompts, slice by slice: one prompt a mask, clicks that correct, or carried on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medvfm.adapters import _sam_text_to_mask
from medvfm.adapters._sam_options import PromptOptions, prompt_options
from medvfm.core.errors import DataError
from medvfm.core.item import Item
from medvfm.core.protocols import Record
from medvfm.core.recipe_sections import AdapterSettings, Prepare
from medvfm.io.dataset.prompt_masks import PromptMasks
from medvfm.models.sam.automatic_masks import PointGrid, automatic_masks
from medvfm.models.sam.model import ImageEmbeddings, SamModel
from medvfm.models.sam.prompt_sources import (
    FromDetector,
    FromMasks,
    FromTable,
    FromTruth,
    ObjectPrompt,
    PromptSource,
    as_prompts,
)
from medvfm.models.sam.segmenter_prompts import FromSegmenter
from medvfm.nn import prompts

Embed = Callable[..., ImageEmbeddings]  # (item, slice, remember) -> embeddings
Found = tuple[int, list[int], torch.Tensor]  # slice, values (M), logits (M, H, W)
BOX_JITTERS_PX = (0, 2, 5, 10, 20)
CLICKS = tuple(range(1, 11))
SMALLEST_PX = 4  # a mask with fewer pixels is not carried on
GROWN_PX = 2.0  # a structure may be this much larger in the next slice, on each side


@dataclass(frozen=True, eq=False)
class Prompting:
    """Where prompts come from (`source`; None for a grid of points) and what is done with them."""

    source: PromptSource | None
    options: PromptOptions
    truth: FromTruth | None = None
    memory: Any = None  # models.sam2_video.VideoMemory
    # Clicks so far of each case and slice, so that the next variant adds one click instead of starting over.
    _clicks: dict[tuple[str, int], list[np.ndarray]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        settings: AdapterSettings,
        question: Any,
        seed: int,
        *,
        prepare: Prepare,
        windows: Mapping[str, tuple[float, float]],
        read: Mapping[Any, Any],
    ) -> Prompting:
        given = settings.prompts
        if (
            given is not None
            and given.origin == "adapter"
            and given.adapter is not None
            and given.adapter.name == "clip"
        ):
            options = prompt_options(given)
            words = _sam_text_to_mask.source(
                given.adapter, options.size, prepare, question, given.kind or "box", options.per,
                windows=windows, read=read, seed=seed,
            )  # fmt: skip
            found = cls(words, options)
        else:
            found = cls._without_memory(settings, question, seed)
        if found.options.propagate != "memory":
            return found
        from medvfm.models.sam.video_memory import load_video_memory

        assert settings.weights is not None
        return replace(found, memory=load_video_memory(settings.weights))

    @classmethod
    def _without_memory(cls, settings: AdapterSettings, question: Any, seed: int) -> Prompting:
        given = settings.prompts
        assert given is not None
        options, kind = prompt_options(given), given.kind or "box"
        if given.origin == "truth":
            truth = FromTruth(
                kind, question.kind, options.per, options.extent, options.jitter_px,
                options.clicks if kind == "points" else 1, seed,
            )  # fmt: skip
            return cls(truth, options, truth)
        if given.origin == "grid":
            return cls(None, options)
        if given.origin == "file":
            assert given.file is not None
            place = Path(given.file).expanduser()
            if place.is_dir():
                names = {int(v): label.name for v, label in getattr(question, "labels_by_value", {}).items()}
                masks = PromptMasks(place, tuple(question.classes), question.kind, names)
                return cls(FromMasks(masks, kind, question.kind, options.per), options)
            return cls(FromTable.read(place, question.classes, question.kind), options)
        from medvfm.models.detectors import load_detector

        assert given.adapter is not None and given.adapter.weights is not None
        detector = load_detector(given.adapter.weights, options.threshold)
        numbered = question.kind == "instances"
        return cls(FromDetector(detector, _values(detector.names, options.names, question), numbered), options)

    @property
    def oracle(self) -> str | None:
        if self.truth is None:
            return None
        if self.options.propagate:
            what = "a click" if self.truth.prompt in ("point", "points") else "a box"
            return f"oracle prompt: {what} on one slice of each structure, carried on from slice to slice"
        return self.truth.oracle

    @property
    def given(self) -> FromTable | FromMasks | FromSegmenter | None:
        """The source, where it is a file, a folder or another model's masks."""
        return self.source if isinstance(self.source, FromTable | FromMasks | FromSegmenter) else None

    def record(self) -> Record | None:
        """What the model says of itself that prompts by its masks; None where none does."""
        return self.source.segmenter.record() if isinstance(self.source, FromSegmenter) else None

    def variants(self) -> list[str]:
        if not self.options.robustness:
            return []
        return [f"box_jitter_px={px}" for px in BOX_JITTERS_PX] + [f"clicks={n}" for n in CLICKS]

    def masks(self, item: Item, segmenter: SamModel, embed: Embed, variant: str | None) -> Iterator[Found]:
        """Every slice that has a prompt."""
        if self.source is None:
            yield from self._automatic(item, segmenter, embed)
            return
        if isinstance(self.source, FromSegmenter):
            self.source.to(segmenter.device)
        source, clicks = self._of_variant(variant)
        if self.options.propagate and item.pixels.shape[1] > 1 and variant is None:
            if self.memory is not None:
                yield from _remembered(item, source, self.memory, segmenter.device)
            else:
                yield from _carried(item, source, segmenter, embed)
            return
        for s in range(item.pixels.shape[1]):
            objects = source.objects(item, s)
            if not objects:
                continue
            embeddings = embed(item, s)
            if clicks > 1 or (variant is not None and variant.startswith("clicks")):
                logits = self._clicked(item.case_id, s, objects, clicks, segmenter, embeddings, variant is not None)
            else:
                logits = segmenter.decode(embeddings, as_prompts(objects, embeddings.original_size_px)).logits
            yield s, [a.value for a in objects], logits

    def _of_variant(self, variant: str | None) -> tuple[PromptSource, int]:
        """The source of prompts, and how many clicks there are."""
        assert self.source is not None
        if variant is None or self.truth is None:
            return self.source, self.truth.clicks if self.truth is not None else 1
        name, _, value = variant.partition("=")
        if name == "box_jitter_px":
            return replace(self.truth, prompt="box", jitter_px=float(value), clicks=1), 1
        if name == "clicks":
            return replace(self.truth, prompt="points", clicks=int(value)), int(value)
        raise ValueError(f"no variant {variant!r}")

    def _automatic(self, item: Item, segmenter: SamModel, embed: Embed) -> Iterator[Found]:
        o = self.options
        grid = PointGrid(points=o.points, iou=o.iou, stability=o.stability, nms=o.nms, largest=o.largest)
        count = 0
        for s in range(item.pixels.shape[1]):
            logits = automatic_masks(segmenter, embed(item, s), grid)
            yield s, list(range(count + 1, count + len(logits) + 1)), logits
            count += len(logits)

    def _clicked(
        self,
        case_id: str,
        s: int,
        objects: Sequence[ObjectPrompt],
        clicks: int,
        segmenter: SamModel,
        embeddings: ImageEmbeddings,
        keep: bool,
    ) -> torch.Tensor:
        """Logits after so many clicks: the first in the middle of the object, each next in the middle of the largest
        region that the last mask has wrong. All clicks are given each time, and no earlier mask."""
        started = self._clicks.get((case_id, s)) if keep else None
        points = list(started) if started and len(started[0]) <= clicks else [_points(a) for a in objects]
        for _ in range(clicks - max(map(len, points))):
            points = self._next(objects, points, segmenter, embeddings)
        if keep:
            self._clicks[case_id, s] = points
        return _decoded(objects, points, segmenter, embeddings)

    def _next(
        self,
        objects: Sequence[ObjectPrompt],
        points: Sequence[np.ndarray],
        segmenter: SamModel,
        embeddings: ImageEmbeddings,
    ) -> list[np.ndarray]:
        masks = (_decoded(objects, points, segmenter, embeddings) > 0).cpu().numpy()
        more = []
        for one, before, mask in zip(objects, points, masks, strict=True):
            assert one.truth is not None
            click = prompts.next_click(one.truth, mask)
            # Where nothing is wrong the last click is given again, so that all objects have as many.
            more.append(np.concatenate([before, before[-1:] if click is None else np.array([click], np.float32)]))
        return more


def _points(prompt: ObjectPrompt) -> np.ndarray:
    if prompt.points is None:
        raise DataError("clicks start from a point, and there is none")
    return prompt.points


def _decoded(
    objects: Sequence[ObjectPrompt], points: Sequence[np.ndarray], segmenter: SamModel, embeddings: ImageEmbeddings
) -> torch.Tensor:
    given = [replace(a, points=p, box_px=None, mask=None) for a, p in zip(objects, points, strict=True)]
    return segmenter.decode(embeddings, as_prompts(given, embeddings.original_size_px)).logits


def _values(found: Sequence[str], names: dict[str, str], question: Any) -> dict[str, int]:
    """The detector's name of each class to the class's value; for objects, every name that is not mapped away."""
    if question.kind == "instances":
        wanted = set(names.values()) or set(found)
        return {name: 1 for name in found if name in wanted}
    mapped = {names.get(c, c): value for value, c in enumerate(question.classes, 1)}
    missing = [name for name in mapped if name not in found]
    if missing:
        raise DataError(
            f"the detector finds no {missing[0]!r}; it finds {', '.join(found[:8])}",
            where="adapter.prompts.options.names",
            remedy="say what it calls each class: {class: its name}",
        )
    return mapped


def _remembered(item: Item, source: PromptSource, memory: Any, device: torch.device) -> Iterator[Found]:
    """The same with the memory of a video model: structures that are prompted on one slice go together."""
    together: dict[int, list[ObjectPrompt]] = {}
    for _, s, one in _seeds(item, source):
        together.setdefault(s, []).append(one)
    for seed, objects in together.items():
        original_size_px = (int(item.pixels.shape[-2]), int(item.pixels.shape[-1]))
        values = [one.value for one in objects]
        found = memory.propagate(
            lambda s: np.asarray(item.pixels[:, s]), item.pixels.shape[1], seed, objects, original_size_px, device
        )
        for s, logits in found:
            yield s, values, logits


def _carried(item: Item, source: PromptSource, segmenter: SamModel, embed: Embed) -> Iterator[Found]:
    """Each structure is prompted on one slice, and from there its mask is the prompt of the next slice, up and down,
    until there is nothing left of it."""
    for value, s, one in _seeds(item, source):
        embeddings = embed(item, s, True)
        first = segmenter.decode(embeddings, as_prompts([one], embeddings.original_size_px)).logits
        yield s, [value], first
        for step in (1, -1):
            logits, there = first, s + step
            while 0 <= there < item.pixels.shape[1]:
                carried = _from_mask(logits[0], value)
                if carried is None:
                    break
                embeddings = embed(item, there, True)
                given = as_prompts([carried], embeddings.original_size_px)
                logits = segmenter.decode(embeddings, replace(given, masks=logits)).logits
                yield there, [value], logits
                there += step


def _from_mask(logits: torch.Tensor, value: int) -> ObjectPrompt | None:
    """The box around the mask that logits (H, W) mean, with some room; None where too little is left."""
    mask = (logits > 0).cpu().numpy()
    box = prompts.box_of(mask)
    if box is None or mask.sum() < SMALLEST_PX:
        return None
    limit = np.array([mask.shape[1] - 1, mask.shape[0] - 1] * 2, np.float32)
    grown = box + np.array([-GROWN_PX, -GROWN_PX, GROWN_PX, GROWN_PX], np.float32)
    return ObjectPrompt(value, box_px=grown.clip(0, limit).astype(np.float32))


def _seeds(item: Item, source: PromptSource) -> list[tuple[int, int, ObjectPrompt]]:
    """(value, slice, prompt): of the truth the slice where a structure is largest, else the first that is prompted."""
    best: dict[int, tuple[int, int, ObjectPrompt]] = {}
    for s in range(item.pixels.shape[1]):
        for one in source.objects(item, s):
            size = int(one.truth.sum()) if one.truth is not None else 0
            if one.value not in best or size > best[one.value][0]:
                best[one.value] = (size, s, one)
    return [(value, s, one) for value, (_, s, one) in sorted(best.items())]
