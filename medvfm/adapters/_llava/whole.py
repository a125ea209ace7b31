"""`llava` for checkpoints of the common image-text interface: Qwen2-VL and its kin, MedGemma, LLaVA-NeXT, ..."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as pillow
from torch import Tensor, nn

from medvfm.adapters._llava import words
from medvfm.adapters._llava.adapter import Blindfold, Example, TalkSettings
from medvfm.adapters._llava.conversations import Conversations
from medvfm.core.case import Case
from medvfm.core.errors import RecipeError
from medvfm.core.item import Item
from medvfm.core.protocols import Augment, Batch, Preparer, Record
from medvfm.core.recipe_sections import Prepare
from medvfm.models.inputs.shown_pictures import ShownPictures, as_pillow, counts
from medvfm.models.language.chat import Turn
from medvfm.models.language.from_image_text import ImageTextModel
from medvfm.models.language.image_language import LANGUAGE, VISION
from medvfm.models.language.processor_chat import ProcessorChat
from medvfm.nn import state


class WholeAdapter:
    """See core.protocols.Adapter. What is trained is low-rank updates of the language model: vision encoder and
    projector stay as they were published."""

    oracle: str | None = None
    probabilities = True

    def __init__(
        self,
        model: ImageTextModel,
        chat: ProcessorChat,
        method: str,
        prepare: Prepare,
        settings: TalkSettings,
        *,
        windows: Mapping[str, tuple[float, float]],
        read: Mapping[Any, Any],
    ) -> None:
        self.module, self._chat, self._settings = model, chat, settings
        self._refuse(method)
        self.method, self.answers_at_once = method, settings.batch_answers
        self.preparer: Preparer = (
            Blindfold(prepare, windows, read)
            if settings.blind
            else ShownPictures(prepare, windows, read, settings.roles, apart=settings.apart)
        )
        self._conversations = Conversations(settings.instruction, settings.images_last)
        self._unended = 0
        self._set_trainable()

    def _refuse(self, method: str) -> None:
        family = self.module.family
        if method == "align":
            raise RecipeError(
                f"align trains a projector, and that of {family} is used as it was published",
                where="adapter.stages",
                remedy="leave the stage out",
            )
        if self._settings.pack:
            raise RecipeError(f"pack is not known for {family}", where="adapter.options.pack", remedy="leave it out")
        if method == "instruct" and self._settings.tune != "lora":
            raise RecipeError(f"{family} is tuned by LoRA alone", where="adapter.options.tune", remedy="say tune: lora")

    def _set_trainable(self) -> None:
        self.module.requires_grad_(False)
        if self.method != "instruct":
            return
        if not self.module.has_lora:
            self.module.add_lora(self._settings.rank, self._settings.alpha, self._settings.seed)
        for parameter in self.module.lora_parameters():
            parameter.requires_grad_(True)

    def start_stage(self, method: str, options: Mapping[str, Any]) -> None:
        """Go on with another method from the weights that the last stage left."""
        self._refuse(method)
        self.method = method
        if options:
            self._settings = replace(self._settings, **options)
        self._set_trainable()

    def parameter_groups(self) -> Mapping[str, Iterable[nn.Parameter]]:
        """The part that may learn at a rate of its own: `language_model`."""
        return {"language_model": self.module.lora_parameters()}

    # training

    def example(self, item: Item, rng: np.random.Generator, augment: Augment) -> Example:
        """A question with its answer."""
        return Example(item, tuple(self._conversations.answered(item.case, counts(item.arrays))))

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Inputs as the model's own processor makes them, and the tokens of each conversation."""
        return self._given([e.item for e in examples], [e.turns for e in examples])

    def _given(self, items: Sequence[Item], turns: Sequence[tuple[Turn, ...]]) -> Batch:
        pictures = [_pictures(item) for item in items]
        tokens = [self._chat.conversation(said, own) for said, own in zip(turns, pictures, strict=True)]
        self.module.refuse_long(tokens, [item.case_id for item in items])
        return {"inputs": self._chat.inputs(turns, pictures, tokens), "tokens": tokens}

    def loss(self, batch: Batch) -> Tensor:
        """Of the next token, over the tokens of answers alone."""
        return self.module.loss(batch["inputs"], batch["tokens"])

    def neighbours(self, case: Case) -> tuple[str, int] | None:
        """See core.capabilities.NeighbourlyAdapter."""
        if not self._settings.group_lengths:
            return None
        words = (case.question, case.answer, *(word for turn in case.turns for word in turn))
        return "", len(self._chat.tokenizer("\n".join(word for word in words if word))["input_ids"])

    # answers

    def answer(self, items: Sequence[Item], variant: str | None = None) -> list[Record]:
        """`text`, and `confidence`: the probability of its tokens, the end among them."""
        self.module.eval()
        turns = [tuple(self._conversations.asked(i.case, counts(i.arrays))) for i in items]
        given = self._given(items, turns)
        told = self.module.greedy(given["inputs"], self._stops(), self._settings.answer_tokens)
        self._unended += sum(not d.finished for d in told)
        texts = [self._chat.tokenizer.decode(d.ids, skip_special_tokens=True).strip() for d in told]
        return [{"text": text, "confidence": min(1.0, d.probability)} for text, d in zip(texts, told, strict=True)]

    def _stops(self) -> list[int]:
        return sorted(self._chat.stops | self.module.ends)

    def variants(self) -> list[str]:
        return []

    # what was trained, on disk

    def save(self, folder: Path) -> None:
        """Low-rank updates in peft's format."""
        if self.module.has_lora:
            self.module.save_lora(folder / "lora")

    def load(self, folder: Path) -> None:
        """Put back what `save` wrote."""
        if self.module.has_lora:
            self.module.load_lora(folder / "lora")

    def record(self) -> Record:
        model, s, tuned = self.module, self._settings, self.method == "instruct"
        known = {key: model.weights_record.get(key) for key in ("sha256", "revision", "licence")}
        towers = [
            {"role": r, "weights": model.name, "trained": tuned and r == LANGUAGE, **known} for r in (VISION, LANGUAGE)
        ]
        stops = [str(self._chat.tokenizer.convert_ids_to_tokens(i)) for i in self._stops()]
        processor = model.processor.image_processor
        found: Record = {
            "weights": model.name,
            "sha256": known["sha256"],
            "family": model.family,
            "towers": towers,
            "contract": {"processor": type(processor).__name__, "windows": self._windows()},
            "connector": {"name": "published", "grid": 0},
            "language": {"tune": s.tune if tuned else None, "bits": s.bits, "limit": model.limit},
            "chat": {
                **self._chat.record(),
                "instruction": s.instruction,
                "images": "last" if s.images_last else "first",
            },
            "decoding": {"how": "greedy", "most_tokens": s.answer_tokens, "stops": stops, "cut": self._unended},
            "blind": s.blind,
            "parameters": state.count(model),
        }
        own = {"method": self.method, "volume": self.preparer.prepare.slices.model_dump(mode="json")}
        return found | {"said": words.said(found | own)}

    def _windows(self) -> Any:
        return self.preparer.prepare.model_dump(mode="json")["windows"]


def _pictures(item: Item) -> list[pillow.Image]:
    return as_pillow(item.arrays)
