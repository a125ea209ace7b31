"""`llava` for question answering: patches of a frozen encoder, a projector and a language model that answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medvfm.adapters._llava import parts, words
from medvfm.adapters._llava.closed_probe import features_key
from medvfm.adapters._llava.conversations import Conversations, counted_once
from medvfm.core.case import Case
from medvfm.core.errors import DataError
from medvfm.core.image import Image
from medvfm.core.item import Item
from medvfm.core.protocols import Augment, Batch, Preparer, Record
from medvfm.core.recipe_sections import Prepare
from medvfm.core.slice_grid import SliceGrid
from medvfm.models.inputs.role_stacks import RoleStackPreparer, counts, files_of
from medvfm.models.inputs.slice_stacks import SliceStackPreparer, as_batch
from medvfm.models.language.chat import ChatFormat, ChatTokens, Turn
from medvfm.models.language.connectors import Connector
from medvfm.models.language.greedy import greedy
from medvfm.models.language.image_language import LANGUAGE, PROJECTOR, VISION, ImageLanguageModel
from medvfm.models.language.packing import packed
from medvfm.models.language.said_start import said_about
from medvfm.nn import state

VERSION = 2  # of what the vision tower stores
CHUNK = 32  # pictures that go through the vision encoder at once


@dataclass(frozen=True)
class TalkSettings:
    """How conversations are trained and answered; see adapters.llava.Options."""

    tune: str = "lora"
    blind: bool = False
    instruction: str | None = None
    images_last: bool = False
    answer_tokens: int = 32
    batch_answers: int = 32
    rank: int = 8
    alpha: float | None = None
    seed: int = 0
    pack: bool = False
    group_lengths: bool = False
    roles: tuple[str, ...] = ("image",)
    from_said: bool = False
    apart: bool = False  # three windows as pictures of their own
    bits: int | None = None  # of the frozen weights of the language model; None: as they are in the files


@dataclass(frozen=True)
class Blindfold:
    """A preparer that reads nothing, for a model that answers without images."""

    prepare: Prepare
    windows: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    read: Mapping[Any, Any] = field(default_factory=dict)

    def key(self) -> str:
        return "blind"

    def files(self, case: Case) -> Sequence[Path]:
        return ()

    def images(self, case: Case) -> list[Image]:
        return []

    def arrays(self, images: Sequence[Image], case: Case) -> Mapping[str, np.ndarray]:
        return {}

    def grid(self, arrays: Mapping[str, np.ndarray]) -> SliceGrid | None:
        return None


@dataclass(frozen=True, eq=False)
class Example:
    """A conversation about the images of an item."""

    item: Item
    turns: tuple[Turn, ...]


class TalkingAdapter:
    """See core.protocols.Adapter."""

    oracle: str | None = None
    probabilities = True

    def __init__(
        self,
        model: ImageLanguageModel,
        chat: ChatFormat,
        method: str,
        prepare: Prepare,
        settings: TalkSettings,
        *,
        windows: Mapping[str, tuple[float, float]],
        read: Mapping[Any, Any],
    ) -> None:
        self.module, self._chat, self.method, self._settings = model, chat, method, settings
        self.answers_at_once = settings.batch_answers
        contract, one_role = model.vision.contract, settings.roles == ("image",)
        self._stack: SliceStackPreparer = (
            SliceStackPreparer(contract, prepare, windows, read, apart=settings.apart)
            if one_role
            else RoleStackPreparer(contract, prepare, windows, read, roles=settings.roles, apart=settings.apart)
        )
        self.preparer: Preparer = Blindfold(prepare, windows, read) if settings.blind else self._stack
        self._conversations = Conversations(settings.instruction, settings.images_last)
        self._unended = 0
        self._set_trainable()

    def _set_trainable(self) -> None:
        s = self._settings
        parts.set_trainable(
            self.module, self.method, tune=s.tune, blind=s.blind, rank=s.rank, alpha=s.alpha, seed=s.seed
        )

    def start_stage(self, method: str, options: Mapping[str, Any]) -> None:
        """Go on with another method from the weights that the last stage left."""
        self.method = method
        if options:
            self._settings = replace(self._settings, **options)
        self._set_trainable()

    def parameter_groups(self) -> Mapping[str, Iterable[nn.Parameter]]:
        """Parts that may learn at rates of their own: `projector`, `language_model`."""
        return {PROJECTOR: self.module.projector.parameters(), "language_model": self.module.language.parameters()}

    # the frozen vision tower

    def embed_tower(self, tower: str, items: Sequence[Item]) -> Mapping[str, Tensor]:
        """`patches` (B, S, T, D) of the slices of each case, padded; `count` (B, R): how many slices each of its images
        has; `pooled` (B, D): the mean over slices of the mean over all patches, for `probe`."""
        if self._settings.blind:
            return {"patches": torch.zeros(len(items), 0, 0, 0), "count": torch.zeros(len(items), 1)}
        self.module.eval()
        batch = as_batch([item.pixels for item in items])
        slices = batch["counts"].tolist()
        found = [self.module.patches_and_mean(part) for part in batch["pictures"].split(CHUNK)]
        each = torch.cat([patches for patches, _ in found]).split(slices)
        means = torch.cat([mean for _, mean in found]).split(slices)
        shown = [torch.tensor(counts(item.arrays)) for item in items]
        padded = nn.utils.rnn.pad_sequence
        return {
            "patches": padded(list(each), batch_first=True),
            "count": padded(shown, batch_first=True),
            "pooled": torch.stack([of_slices.mean(0) for of_slices in means]),
        }

    def tower_gives(self, tower: str) -> tuple[str, str] | None:
        """`pooled` is what `probe` stores."""
        return None if self._settings.blind else (features_key(self.module.vision, self._stack), "pooled")

    def tower_key(self, tower: str) -> str:
        vision = self.module.vision
        known = [VERSION, vision.weights_record["sha256"], vision.contract.as_record(), self.module.grid]
        text = json.dumps(known, sort_keys=True, default=str)
        return f"llava-{tower}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"

    def tower_text(self, tower: str, case: Case) -> str | None:
        return None

    def _patches(self, items: Sequence[Item]) -> list[list[Tensor]]:
        """The images of each item as the projector takes them: all slices of one together, (S * T, D)."""
        if self._settings.blind:
            return [[] for _ in items]
        stored = [item.towers.get(VISION) for item in items]
        bare = [item for item, known in zip(items, stored, strict=True) if known is None]
        fresh: Iterator[Mapping[str, np.ndarray]] = iter(())
        if bare:
            computed = {name: values.float().cpu() for name, values in self.embed_tower(VISION, bare).items()}
            fresh = iter([{name: values[n].numpy() for name, values in computed.items()} for n in range(len(bare))])
        found = []
        for known in stored:
            tower = next(fresh) if known is None else known
            each = [int(n) for n in tower["count"] if n]
            slices = torch.tensor(tower["patches"][: sum(each)]).split(each)
            found.append([stack.flatten(0, 1) for stack in slices])
        return found

    @property
    def starts_from_towers(self) -> bool:
        """Whether the projector begins with what is said about training images."""
        return self._settings.from_said and not self._settings.blind

    def start_from_towers(self, items: Iterable[Item]) -> None:
        """Regress what captions and answers say about each image on its features, all its pictures together."""
        by_image: dict[object, list[Item]] = {}
        for item in items:
            by_image.setdefault(item.case.files, []).append(item)
        shown = [torch.cat(own) for own in self._patches([same[0] for same in by_image.values()])]
        cases = [[item.case for item in same] for same in by_image.values()]
        said = [
            said_about(
                [case.text for case in same if case.text],
                [(case.question, case.answer) for case in same if case.question and case.answer],
            )
            for same in cases
        ]
        if not any(said):
            raise DataError(
                "start: said, and no training case has a caption, or a question with its answer",
                remedy="leave adapter.options.start out",
            )
        assert isinstance(self.module.projector, Connector)
        self.module.projector.start_from(shown, said, self._settings.seed)

    # training

    def example(self, item: Item, rng: np.random.Generator, augment: Augment) -> Example:
        """A caption for `align`, a question with its answer for `instruct`."""
        said = self._conversations
        images = [] if self._settings.blind else [1] * len(files_of(item.case, self._settings.roles))
        turns = said.caption(item.case, rng, images) if self.method == "align" else said.answered(item.case, images)
        return Example(item, tuple(turns))

    def collate(self, examples: Sequence[Example]) -> dict[str, Any]:
        """tokens and images of conversations; `weights` (B,): how often each occurs, where there are no images to tell
        them apart."""
        images = self._patches([e.item for e in examples])
        tokens = [self._tokens(e.turns, own) for e, own in zip(examples, images, strict=True)]
        self._refuse_long(tokens, [e.item for e in examples])
        if self._settings.pack and not self._settings.blind:
            return self._packed(examples, tokens, images)
        rows, places = counted_once([(t.ids, n if images[n] else 0) for n, t in enumerate(tokens)])
        weights = torch.bincount(torch.tensor(places), minlength=len(rows)).float()
        return {"tokens": [tokens[n] for n in rows], "images": [images[n] for n in rows], "weights": weights}

    def _packed(
        self, examples: Sequence[Example], tokens: Sequence[ChatTokens], images: Sequence[list[Tensor]]
    ) -> dict[str, Any]:
        """Questions on one image in one row, where they begin alike."""
        by_image: dict[object, list[int]] = {}
        for row, example in enumerate(examples):
            by_image.setdefault(example.item.case.files, []).append(row)
        told, shown = [], []
        for rows in by_image.values():
            together = packed([tokens[row] for row in rows]) if len(rows) > 1 else None
            told += [tokens[row] for row in rows] if together is None else [together]
            shown += [images[row] for row in (rows if together is None else rows[:1])]
        return {"tokens": told, "images": shown, "weights": torch.ones(len(told))}

    def neighbours(self, case: Case) -> tuple[str, int] | None:
        """See core.capabilities.NeighbourlyAdapter: questions on one image for `pack`, like lengths for
        `group_lengths`."""
        s = self._settings
        if not (s.pack or s.group_lengths):
            return None
        asked = self.method != "align" and case.question is not None
        said = [case.question, case.answer, *(word for turn in case.turns for word in turn)] if asked else [case.text]
        length = len(self._chat.tokenizer("\n".join(word for word in said if word))["input_ids"])
        return "|".join(map(str, case.files)) if s.pack else "", length if s.group_lengths else 0

    def _refuse_long(self, tokens: Sequence[ChatTokens], items: Sequence[Item]) -> None:
        limit, name = self.module.language.limit, self.module.language.name
        for own, item in zip(tokens, items, strict=True):
            if len(own) > limit:
                raise DataError(
                    f"the conversation of {item.case_id} has {len(own)} tokens, and {name} reads {limit}",
                    remedy="shorten questions or answers, or take fewer slices or a smaller adapter.options.grid",
                )

    def _tokens(self, turns: Sequence[Turn], images: Sequence[Tensor]) -> ChatTokens:
        return self._chat.tokens(turns, [self.module.projector.count(len(image)) for image in images])

    def loss(self, batch: Batch) -> Tensor:
        """Of the next token, over the tokens of answers alone."""
        given = self.module.spliced(batch["tokens"], batch["images"])
        return self.module.loss(given, batch["weights"])

    # answers

    def answer(self, items: Sequence[Item], variant: str | None = None) -> list[Record]:
        """`text`, and `confidence`: the probability of its tokens, the end among them."""
        images = self._patches(items)
        asked = [
            self._tokens(self._conversations.asked(i.case, [1] * len(own)), own)
            for i, own in zip(items, images, strict=True)
        ]
        self._refuse_long(asked, items)
        rows, places = counted_once([(t.ids, n if images[n] else 0) for n, t in enumerate(asked)])
        given = self.module.spliced([asked[n] for n in rows], [images[n] for n in rows])
        begun, mask = self.module.read(given, 1, keep=True)
        told = greedy(self.module.language, begun, mask, self._chat.stops, self._settings.answer_tokens)
        texts = [self._chat.tokenizer.decode(d.ids, skip_special_tokens=True).strip() for d in told]
        self._unended += sum(not told[place].finished for place in places)
        return [{"text": texts[place], "confidence": min(1.0, told[place].probability)} for place in places]

    def variants(self) -> list[str]:
        return []

    # what was trained, on disk

    def save(self, folder: Path) -> None:
        """The projector, and beside it the language model: its low-rank updates in peft's format, or all of it."""
        parts.save(self.module, folder, method=self.method, tune=self._settings.tune)

    def load(self, folder: Path) -> None:
        """Put back what `save` wrote."""
        parts.load(self.module, folder)

    def record(self) -> Record:
        model, s = self.module, self._settings
        trained = {VISION: False, LANGUAGE: self.method == "instruct"}
        towers = [
            {"role": role, "weights": part.name, "trained": trained[role]}
            | {key: part.weights_record.get(key) for key in ("sha256", "revision", "licence")}
            for role, part in ((VISION, model.vision), (LANGUAGE, model.language))
        ]
        found: Record = {
            "weights": f"{model.vision.name} and {model.language.name}",
            "sha256": towers[1]["sha256"],
            "towers": towers,
            "contract": model.vision.contract.as_record(),
            "connector": {"name": model.projector.name, "grid": model.grid},
            "language": {
                "tune": s.tune if self.method == "instruct" else None,
                "bits": s.bits,
                "limit": model.language.limit,
            },
            "chat": self._chat.record()
            | {"instruction": s.instruction, "images": "last" if s.images_last else "first"},
            "decoding": {
                "how": "greedy",
                "most_tokens": s.answer_tokens,
                "stops": self._chat.record()["stops"],
                "cut": self._unended,
            },
            "blind": s.blind,
            "parameters": state.count(model),
        }
        own = {"method": self.method, "volume": self._stack.prepare.slices.model_dump(mode="json")}
        return found | {"said": words.said(found | own)}
