"""`clip` for classification and retrieval: images and texts in one space, trained on pairs and asked in words."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from medvfm.adapters import _clip_towers as towers
from medvfm.adapters import _clip_words, dinov2
from medvfm.adapters._clip_classes import LEARNED, ClassScores, begin_context
from medvfm.adapters._clip_prompts import ClassPrompts
from medvfm.adapters._clip_texts import ReadTexts, has_text, parts_of
from medvfm.adapters._clip_towers import IMAGE, TEXT, SharedSpace
from medvfm.core.case import Case
from medvfm.core.errors import DataError
from medvfm.core.item import Item
from medvfm.core.protocols import Adapter, Augment, Record, Task
from medvfm.core.recipe_sections import Prepare
from medvfm.models.image_text.pair import ImageTextPair
from medvfm.models.inputs.given_images import in_parts
from medvfm.models.inputs.slice_stacks import SliceStackPreparer, as_batch
from medvfm.models.text.sentences import spelled
from medvfm.nn import contrastive, state

ENCODED_AT_ONCE = 16  # images of `encode`
CONTRASTIVE = ("contrastive", "lora", "full", "locked_image", "locked_text")


@dataclass(frozen=True)
class PairSettings:
    """How pairs are trained and asked; see adapters.clip.Options."""

    loss: str | None = None
    image_weight: float = 0.5
    temperature: float | None = None
    sentences: bool | None = None
    chunk: int = 32
    context: int = 16
    start: str | None = None
    rank: int = 8
    alpha: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class Example:
    """A case with the part of its text that is its caption this time, and where it stands among the parts."""

    item: Item
    caption: str
    place: int


class PairAdapter:
    """See core.protocols.Adapter."""

    oracle: str | None = None
    probabilities = True
    answers_at_once = 32

    def __init__(
        self,
        pair: ImageTextPair,
        question: Task | None,
        method: str,
        prepare: Prepare,
        settings: PairSettings,
        prompts: Callable[[Task], ClassPrompts | None],
        *,
        windows: Mapping[str, tuple[float, float]],
        read: Mapping[Any, Any],
        width: int | None,
    ) -> None:
        self._task, self.method, self._settings, self._prompts_of = question, method, settings, prompts
        self.preparer = SliceStackPreparer(pair.image.contract, prepare, windows, read)
        self._pool = prepare.slices.pool
        self.module = SharedSpace(pair, self._pool, width, settings.seed)
        self._texts = ReadTexts(pair.text, by_sentence=self._by_sentence)
        self._classes = None if question is None else self._classes_of(question)
        self._begin()

    def _classes_of(self, question: Task) -> ClassScores | None:
        prompts = self._prompts_of(question)
        return None if prompts is None else ClassScores(self.module, prompts, self._texts)

    @property
    def classes(self) -> ClassScores:
        """Of a task that asks for scores."""
        assert self._classes is not None
        return self._classes

    def _begin(self) -> None:
        """Stand ready for the method."""
        s = self._settings
        if self.method == LEARNED:
            begin_context(self.module, s.context, s.start, s.seed)
        self._set_trainable()

    @property
    def question(self) -> Task:
        """The task; an adapter without one (`load`) only encodes."""
        assert self._task is not None
        return self._task

    @property
    def pair(self) -> ImageTextPair:
        return self.module.pair

    @property
    def _by_sentence(self) -> bool:
        """Texts are trained and asked sentence by sentence; published models as they are take them whole."""
        given = self._settings.sentences
        return self.method != "zero_shot" if given is None else given

    def _set_trainable(self) -> None:
        s = self._settings
        towers.set_trainable(self.module, self.method, s.rank, s.alpha, s.seed)
        if s.temperature is not None:
            with torch.no_grad():
                self.module.logit_scale.fill_(math.log(1 / s.temperature))
            self.module.steepest = max(towers.STEEPEST, 1.001 / s.temperature)
            self.module.logit_scale.requires_grad_(False)
        if self._loss == "siglip" and self.module.logit_scale.requires_grad:
            self.module.logit_bias.requires_grad_(True)

    @property
    def _loss(self) -> str:
        return self._settings.loss or self.pair.loss

    def start_stage(self, method: str, options: Mapping[str, object]) -> None:
        """Go on with another method from the weights that the last stage left."""
        for tower in towers.TUNES.get(self.method, ()):
            (self.pair.image if tower == IMAGE else self.pair.text).staged = True
        self.method = method
        self._texts.by_sentence = self._by_sentence
        if self._classes is not None:
            self._classes.outputs.clear()
        self._begin()

    def redraw(self, rng: np.random.Generator) -> None:
        """See core.capabilities.RedrawnAdapter."""
        self.module.redraw(rng)

    def parameter_groups(self) -> Mapping[str, Iterable[nn.Parameter]]:
        """Parts that may learn at rates of their own: `image`, `text`, `heads`."""
        heads = [self.module.image_head, self.module.text_head, self.module.pool]
        return {
            "image": self.pair.image.parameters(),
            "text": self.pair.text.parameters(),
            "heads": [p for head in heads for p in head.parameters()],
        }

    # frozen towers

    def embed_tower(self, tower: str, items: Sequence[Item]) -> Mapping[str, Tensor]:
        """image: `slices` (B, 2, image_width), mean and maximum. text: `whole` (B, text_width), `parts`
        (B, most, text_width) padded, `count` (B,)."""
        self.module.eval()
        if tower == IMAGE:
            batch = as_batch([item.pixels for item in items])
            vectors = torch.cat([self.module.slice_vectors(p) for p in batch["pictures"].split(self._settings.chunk)])
            return {"slices": torch.stack([towers.pooled_stack(v) for v in vectors.split(batch["counts"].tolist())])}
        texts = [item.case.text or "" for item in items]
        parts = [parts_of(text, by_sentence=True) for text in texts]
        flat = self.module.text_outputs([*texts, *(part for each in parts for part in each)])
        whole, rest = flat[: len(texts)], flat[len(texts) :].split([len(each) for each in parts])
        padded = nn.utils.rnn.pad_sequence(list(rest), batch_first=True)
        return {"whole": whole, "parts": padded, "count": torch.tensor([[float(len(each))] for each in parts])}

    def tower_features(self, tower: str) -> tuple[str, str] | None:
        """Those of `linear_probe` and `knn`, where the encoder has no summary but the mean; see core.capabilities."""
        image = self.pair.image
        if tower != IMAGE or image.staged or not image.name.startswith(("embedded", "tiny")):
            return None
        return dinov2.features_key(image, self.preparer, "mean"), "slices"

    def tower_key(self, tower: str) -> str:
        return towers.tower_key(self.module, tower, {"version": 1})

    def tower_text(self, tower: str, case: Case) -> str | None:
        if tower == TEXT:
            self._texts.note(self._texts.parts(case))
            return case.text or ""
        return None

    # training

    def example(self, item: Item, rng: np.random.Generator, augment: Augment) -> Example:
        """A case with one of its sentences, drawn anew each time, or with its whole text."""
        if self.method == LEARNED:
            return Example(self._augmented(item, augment), "", 0)
        if not has_text(item.case):
            raise DataError(
                f"{item.case_id} has no text, and {self.method} trains on pairs of an image and a text",
                remedy="leave such cases out of the table, or take linear_probe",
            )
        parts = self._texts.parts(item.case)
        place = int(rng.integers(len(parts)))
        return Example(self._augmented(item, augment), parts[place], place)

    @staticmethod
    def _augmented(item: Item, augment: Augment) -> Item:
        if IMAGE in item.towers or "pixels" not in item.arrays:
            return item
        pixels, _ = augment(item.pixels, None)
        return replace(item, arrays={**item.arrays, "pixels": pixels})

    def collate(self, examples: Sequence[Example]) -> dict[str, Any]:
        """images (B, image_width), or pictures and counts of an encoder that is trained; texts likewise (B,
        text_width) or captions; `right` (B, B): the caption of column j stands in the text of case i."""
        items = [e.item for e in examples]
        batch: dict[str, Any] = self._images(items)
        if self.method == LEARNED:
            return batch | {"truth": torch.as_tensor(self.question.labels([i.case for i in items]))}
        said = [{spelled(part) for part in self._texts.parts(i.case)} for i in items]
        captions = [spelled(e.caption) for e in examples]
        batch["right"] = torch.tensor([[c in each for c in captions] for each in said])
        if all(TEXT in i.towers for i in items):
            given = [
                e.item.towers[TEXT]["parts"][e.place] if self._by_sentence else e.item.towers[TEXT]["whole"]
                for e in examples
            ]
            return batch | {"texts": torch.from_numpy(np.stack(given))}
        self._texts.note([e.caption for e in examples])
        return batch | {"captions": [e.caption for e in examples]}

    def _images(self, items: Sequence[Item]) -> dict[str, Any]:
        if items and all(IMAGE in item.towers for item in items):
            column = {"mean": 0, "max": 1}[self._pool]
            return {"images": torch.from_numpy(np.stack([i.towers[IMAGE]["slices"][column] for i in items]))}
        return dict(as_batch([item.pixels for item in items]))

    def _pooled(self, batch: Mapping[str, Any]) -> Tensor:
        """(B, image_width), with gradients where the image encoder is trained; see nn.contrastive.in_chunks."""
        if "images" in batch:
            return batch["images"]
        parts = list(batch["pictures"].split(self._settings.chunk))
        return self.module.pooled(contrastive.in_chunks(self.module.slice_vectors, parts), batch["counts"])

    def loss(self, batch: Mapping[str, Any]) -> Tensor:
        """Of pairs, or of labels where a context is learned."""
        images = self.module.of_images(self._pooled(batch))
        if self.method == LEARNED:
            return self.classes.loss(images, batch["truth"])
        chunk = self._settings.chunk
        outputs = batch["texts"] if "texts" in batch else self.module.text_outputs(batch["captions"], chunk)
        texts, right = self.module.of_texts(outputs), batch["right"].to(images.device)
        if self._loss == "siglip":
            return contrastive.siglip_loss(images, texts, self.module.scale, self.module.logit_bias, right)
        return contrastive.clip_loss(images, texts, self.module.scale, right, self._settings.image_weight)

    # answers

    @torch.inference_mode()
    def answer(self, items: Sequence[Item], variant: str | None = None) -> Any:
        """(B, T) scores of classes, or the vectors of image and text."""
        self.module.eval()
        images = self.module.of_images(self._pooled(self._images(items)))
        if self.question.answers == "embedding":
            texts = self._own_texts(items)
            return [
                {IMAGE: image, TEXT: text} for image, text in zip(images.double().cpu().numpy(), texts, strict=True)
            ]
        return self.classes.scores(images, self.method, variant).double().cpu().numpy()

    def image_vectors(self, items: Sequence[Item]) -> np.ndarray:
        """(n, D) unit vectors of the images of cases; see core.capabilities.SearchingAdapter."""
        self.module.eval()
        with torch.inference_mode():
            return self.module.of_images(self._pooled(self._images(items))).cpu().numpy()

    def text_vectors(self, texts: Sequence[str]) -> np.ndarray:
        """(n, D) unit vectors of texts, each the mean of its sentences where the model was trained so."""
        self.module.eval()
        with torch.inference_mode():
            parts = [self._texts.parts_of(text) for text in texts]
            outputs = self.module.text_outputs([part for each in parts for part in each])
            return np.stack([self._mean(self.module.of_texts(o)) for o in outputs.split(list(map(len, parts)))])

    def _own_texts(self, items: Sequence[Item]) -> list[np.ndarray | None]:
        found: list[np.ndarray | None] = []
        for item in items:
            if not has_text(item.case):
                found.append(None)
                continue
            parts = self._texts.parts(item.case)
            self._texts.note(parts)
            if TEXT in item.towers:
                stored = item.towers[TEXT]
                count = int(stored["count"][0])
                outputs = torch.tensor(stored["parts"][:count] if self._by_sentence else stored["whole"][None])
            else:
                outputs = self.module.text_outputs(parts)
            found.append(self._mean(self.module.of_texts(outputs)).astype(np.float64))
        return found

    @staticmethod
    def _mean(vectors: Tensor) -> np.ndarray:
        """One unit vector of several: the mean in the shared space."""
        return functional.normalize(vectors.mean(0), dim=0).cpu().numpy()

    def variants(self) -> list[str]:
        return [] if self._classes is None else self._classes.prompts.variants()

    def wordings(self) -> list[str]:
        """See core.capabilities.WordedAdapter; a learned context is no wording that a user chose."""
        return [] if self._classes is None or self.method == LEARNED else self._classes.prompts.wordings()

    def answering(self, task: Task) -> Adapter:
        """The same weights asked another question; see core.capabilities.ManyTaskAdapter."""
        other = copy.copy(self)
        other._task, other._classes = task, self._classes_of(task)
        return other

    def encode(self, images: Any, *, progress: bool | None = None) -> np.ndarray:
        """(n, image_width): the model's own image embeddings, slices pooled as `prepare` says, not normalised."""
        found = []
        for part in in_parts(images, ENCODED_AT_ONCE, progress):
            batch = as_batch([self.preparer.of_image(image) for image in part])
            with torch.inference_mode():
                self.module.eval()
                found.append(self._pooled(batch).float().cpu().numpy())
        return np.concatenate(found)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """(n, text_width): the model's own text embeddings, not normalised."""
        with torch.inference_mode():
            self.module.eval()
            return self.module.text_outputs(list(texts)).cpu().numpy()

    # what was trained, on disk

    def save(self, folder: Path) -> None:
        """`model.safetensors`: heads, learned context, and the weights of encoders that were trained."""
        state.write(folder / "model.safetensors", self._kept())

    def _kept(self) -> dict[str, Tensor]:
        own = self.module.state_dict()
        heads = {n: w for n, w in own.items() if not n.startswith("pair.") and w.numel()}
        tuned = {n: w for n, w in own.items() if ".lora_" in n}
        for tower, encoder in ((IMAGE, self.pair.image), (TEXT, self.pair.text)):
            changed = tower in towers.TUNES.get(self.method, ()) and self.method != "lora"
            if changed or encoder.staged:
                projection = "pair.projection." if tower == IMAGE else "pair.text.projection."
                tuned |= {n: w for n, w in own.items() if n.startswith((f"pair.{tower}.", projection))}
        return {n: w.detach().cpu().clone() for n, w in {**heads, **tuned}.items()}

    def load(self, folder: Path) -> None:
        """Put back what `save` wrote."""
        weights = state.read(folder / "model.safetensors")
        if "context" in weights and weights["context"].shape != self.module.context.shape:
            self.module.context = nn.Parameter(torch.zeros_like(weights["context"]))
            self._set_trainable()
        state.put_trained(self.module, weights)
        if self._classes is not None:
            self._classes.outputs.clear()

    def record(self) -> Record:
        pair = self.pair
        tuned = towers.TUNES.get(self.method, ())
        found: Record = {
            "weights": pair.name,
            "sha256": pair.towers()[0]["sha256"],
            "towers": [tower | {"trained": tower["role"] in tuned} for tower in pair.towers()],
            "contract": pair.image.contract.as_record(),
            "texts": self._texts.record(),
            "aligned": pair.aligned,
            "loss": self._loss if self.method in CONTRASTIVE else None,
            "scale": float(self.module.scale.detach()),
            "parameters": state.count(self.module),
        }
        if self._classes is not None:
            found["prompts"] = self._classes.record()
        own = {"method": self.method, "volume": self.preparer.prepare.slices.model_dump(mode="json")}
        return found | {"said": _clip_words.said(found | own)}
