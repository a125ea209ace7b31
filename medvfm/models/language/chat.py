"""Conversations about images as tokens: what stands where an image is, and which tokens are an answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from medvfm.core.errors import DataError, WeightsError

IMAGE = "<image>"  # in a question: an image stands here
IMAGE_ID = -1  # in ids: a vector of an image stands here
Style = Literal["chat", "plain"]


@dataclass(frozen=True)
class Turn:
    """A question, which may hold IMAGE, and its answer; None is what the model is to say."""

    question: str
    answer: str | None = None


@dataclass(frozen=True)
class ChatTokens:
    """ids      of tokens, IMAGE_ID where vectors of images go
    answered  true for the tokens of answers, their ends included: the only ones that a loss counts
    segments  of several conversations in one, see models.language.packing; empty for one
    """

    ids: tuple[int, ...]
    answered: tuple[bool, ...]
    segments: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)


class ChatFormat:
    """From conversations to tokens, by the tokenizer's own chat template or, `plain`, by question, line break, answer.

    system  replaces the template's default system prompt; None leaves it
    """

    def __init__(self, tokenizer: Any, source: str, style: Style = "chat", system: str | None = None) -> None:
        self.tokenizer, self.source, self.style, self.system = tokenizer, source, style, system
        if style == "chat" and not tokenizer.chat_template:
            raise WeightsError(
                "its tokenizer has no chat template", where=source, remedy="take adapter.options.template: plain"
            )
        if tokenizer.eos_token_id is None:
            raise WeightsError("its tokenizer has no token that ends a text", where=source)
        self._marker = tokenizer.get_added_vocab().get(IMAGE)
        first = list(tokenizer("a")["input_ids"][:1])
        self._begin = first if first == [tokenizer.bos_token_id] else []
        self._of = lru_cache(1 << 14)(self._tokens)
        self.end, self.stops = self._ends()

    def tokens(self, turns: Sequence[Turn], images: Sequence[int | str] = ()) -> ChatTokens:
        """Of a conversation whose images are `images[0]`, `images[1]`, ... vectors long, in their order; a text is what
        stands for an image of a model that has a processor.

        Where no question says IMAGE, the images stand before the first; otherwise one stands for each. Raises DataError
        where they are not as many as the images.
        """
        return self._of(tuple(turns), tuple(images))

    def record(self) -> dict[str, Any]:
        """For run.json. `begins`: what the template says before the first question, its default system prompt too."""
        begins = "" if self.style == "plain" else self._rendered([*self._system(), _user("?")], True).partition("?")[0]
        stops = [str(self.tokenizer.convert_ids_to_tokens(i)) for i in sorted(self.stops)]
        return {"template": self.style, "system": self.system, "begins": begins, "stops": stops}

    # text

    def _system(self) -> list[dict[str, str]]:
        return [] if self.system is None else [{"role": "system", "content": self.system}]

    def _rendered(self, messages: Sequence[Mapping[str, str]], prompt: bool) -> str:
        try:
            found: str = self.tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=prompt
            )
        except Exception as error:  # templates refuse roles and orders by exceptions of their own
            raise WeightsError(f"its chat template refuses this conversation: {error}", where=self.source) from error
        return found

    def _pieces(self, turns: Sequence[Turn]) -> list[tuple[str, bool]]:
        """Text by text, and whether it is an answer with its end."""
        if self.style == "plain":
            return [piece for turn in turns for piece in self._plain(turn)]
        pieces: list[tuple[str, bool]] = []
        messages, done = self._system(), ""
        for turn in turns:
            messages = [*messages, _user(turn.question)]
            asked = self._rendered(messages, prompt=True)
            pieces.append((self._after(asked, done), False))
            if turn.answer is None:
                break
            messages = [*messages, _assistant(turn.answer)]
            done = self._rendered(messages, prompt=False)
            said = self._after(done, asked)
            body = said.rstrip()
            whole = body if body.endswith(self.end) else said
            pieces += [(whole, True), (said[len(whole) :], False)]
        return [(text, answer) for text, answer in pieces if text]

    def _plain(self, turn: Turn) -> list[tuple[str, bool]]:
        asked = [(f"{turn.question}\n", False)]
        return asked if turn.answer is None else [*asked, (f"{turn.answer}{self.end}", True)]

    def _after(self, whole: str, begins: str) -> str:
        if not whole.startswith(begins):
            raise WeightsError(
                "its chat template changes what was said before when more is said",
                where=self.source,
                remedy="take adapter.options.template: plain",
            )
        return whole[len(begins) :]

    def _ends(self) -> tuple[str, frozenset[int]]:
        """How an answer ends, and the tokens at which a model stops."""
        eos, ends = str(self.tokenizer.eos_token), {int(self.tokenizer.eos_token_id)}
        if self.style == "plain":
            return eos, frozenset(ends)
        messages = [*self._system(), _user("a")]
        asked = self._rendered(messages, prompt=True)
        said = self._after(self._rendered([*messages, _assistant("b")], prompt=False), asked)
        end = said.partition("b")[2].strip()
        ids = self.tokenizer(end, add_special_tokens=False)["input_ids"] if end else []
        return end, frozenset(ends | {int(i) for i in ids[:1]})

    # ids

    def _tokens(self, turns: tuple[Turn, ...], images: tuple[int | str, ...]) -> ChatTokens:
        """The whole text is cut into tokens at once, as a prompt is, wherever answers then begin and end between two of
        them; else piece by piece."""
        pieces = _joined(self._pieces(self._with_images(turns, len(images))))
        texts = ["".join(text for text, _ in pieces[:count]) for count in range(1, len(pieces) + 1)]
        cut = [self._ids(text, images) for text in texts]
        if all(cut[-1][: len(part)] == part for part in cut):
            lengths = [len(part) - len(before) for before, part in zip([[], *cut], cut, strict=False)]
            ids = cut[-1]
        else:
            left = iter(images)
            parts = [self._ids(text, left) for text, _ in pieces]
            ids, lengths = [i for part in parts for i in part], [len(part) for part in parts]
        answered = [answer for (_, answer), n in zip(pieces, lengths, strict=True) for _ in range(n)]
        begin = self._begin if self.style == "plain" else []
        return ChatTokens((*begin, *ids), (*[False] * len(begin), *answered))

    def _with_images(self, turns: tuple[Turn, ...], images: int) -> list[Turn]:
        said = sum(turn.question.count(IMAGE) for turn in turns)
        if any(IMAGE in (turn.answer or "") for turn in turns):
            raise DataError(f"an answer holds {IMAGE}", remedy="images are shown in questions")
        if not said:
            shown = f"{IMAGE}\n" * images
            return [Turn(shown + turns[0].question, turns[0].answer), *turns[1:]]
        if said != images:
            raise DataError(
                f"{said} times {IMAGE} in the questions of a conversation with {images} image{'s' * (images != 1)}",
                remedy=f"say {IMAGE} once for each image, or nowhere",
            )
        return list(turns)

    def _ids(self, text: str, images: Iterable[int | str]) -> list[int]:
        counts = (int(n) for n in images)
        if self._marker is not None:
            whole = self.tokenizer(text, add_special_tokens=False)["input_ids"]
            return [i for token in whole for i in ([IMAGE_ID] * next(counts) if token == self._marker else [token])]
        ids: list[int] = []
        for place, part in enumerate(text.split(IMAGE)):
            if place:
                ids += [IMAGE_ID] * next(counts)
            if part:
                ids += self.tokenizer(part, add_special_tokens=False)["input_ids"]
        return ids


def _user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def _assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _joined(pieces: Sequence[tuple[str, bool]]) -> list[tuple[str, bool]]:
    """Neighbours that are no answers as one text."""
    joined: list[tuple[str, bool]] = []
    for text, answer in pieces:
        if joined and not answer and not joined[-1][1]:
            joined[-1] = (joined[-1][0] + text, False)
        else:
            joined.append((text, answer))
    return joined
