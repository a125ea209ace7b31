"""Conversations for models that come with a processor: its own template, and its own text in place of an image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from PIL import Image as pillow

from medvfm.core.errors import DataError, WeightsError
from medvfm.models.language.chat import IMAGE, ChatFormat, ChatTokens, Style, Turn

Inputs = dict[str, torch.Tensor]
_OF_QUESTIONS = "qformer_"  # inputs that must see questions alone: InstructBLIP looks at an image with them


class ProcessorChat(ChatFormat):
    """See ChatFormat. A template takes contents in parts, words and images; for each image the processor puts a text of
    its own in place of its placeholder, and which one depends on the image's size alone.

    Tokens are cut here, so that those of answers are known; `inputs` takes what the processor makes of the same
    conversations, and stops where the two differ.
    """

    def __init__(self, processor: Any, source: str, style: Style = "chat", system: str | None = None) -> None:
        self.processor = processor
        self._in_text = bool(processor.chat_template)  # otherwise images stand before every text, as in BLIP-2
        self._placeholder = str(getattr(processor, "image_token", IMAGE))
        self._texts: dict[tuple[int, int], str] = {}
        if not processor.tokenizer.chat_template:
            processor.tokenizer.chat_template = processor.chat_template
        super().__init__(processor.tokenizer, source, style, system)

    def conversation(self, turns: Sequence[Turn], pictures: Sequence[pillow.Image]) -> ChatTokens:
        """Tokens of a conversation that shows these pictures in their order, all that stands for images among them."""
        return self.tokens(turns, [self._text_of(picture) for picture in pictures])

    def inputs(
        self,
        conversations: Sequence[Sequence[Turn]],
        pictures: Sequence[Sequence[pillow.Image]],
        tokens: Sequence[ChatTokens],
    ) -> Inputs:
        """What the model takes, as its processor makes it, padded on the left; `tokens` as `conversation` gave them."""
        shown = [list(own) for own in pictures]
        texts = [self._whole(turns, len(own)) for turns, own in zip(conversations, shown, strict=True)]
        found = self._processed(texts, shown, self.style == "plain")
        for row, own in enumerate(tokens):
            ids = found["input_ids"][row][found["attention_mask"][row].bool()].tolist()
            if ids != list(own.ids):
                raise WeightsError(
                    f"its processor makes {len(ids)} tokens of a conversation that has {len(own)}",
                    where=self.source,
                    remedy="take adapter.options.template: plain",
                )
        if any(name.startswith(_OF_QUESTIONS) for name in found):
            first = [[replace(turns[0], answer=None)] for turns in conversations]
            asked = [self._whole(turns, len(own)) for turns, own in zip(first, shown, strict=True)]
            alone = self._processed(asked, shown, self.style == "plain")
            found |= {name: value for name, value in alone.items() if name.startswith(_OF_QUESTIONS)}
        return found

    # text

    def _rendered(self, messages: Sequence[Mapping[str, str]], prompt: bool) -> str:
        parts = [{"role": m["role"], "content": _parts(m["content"])} for m in messages]
        try:
            found: str = self.processor.apply_chat_template(parts, tokenize=False, add_generation_prompt=prompt)
        except Exception as error:  # templates refuse roles and orders by exceptions of their own
            raise WeightsError(f"its chat template refuses this conversation: {error}", where=self.source) from error
        return found

    def _pieces(self, turns: Sequence[Turn]) -> list[tuple[str, bool]]:
        instead = self._placeholder if self._in_text else ""
        return [(text.replace(IMAGE, instead), answer) for text, answer in super()._pieces(turns)]

    def _with_images(self, turns: tuple[Turn, ...], images: int) -> list[Turn]:
        told = super()._with_images(turns, images)
        line = "" if self.style == "chat" or not self._in_text else "\n"  # a template parts images from words itself
        return [Turn(turn.question.replace(f"{IMAGE}\n", IMAGE + line), turn.answer) for turn in told]

    def _whole(self, turns: Sequence[Turn], images: int) -> str:
        return "".join(text for text, _ in self._pieces(self._with_images(tuple(turns), images)))

    # ids

    def _tokens(self, turns: tuple[Turn, ...], images: tuple[int | str, ...]) -> ChatTokens:
        found = super()._tokens(turns, images)
        if self._in_text:
            return found
        front = tuple(i for text in images for i in self._cut(str(text)))
        return ChatTokens((*front, *found.ids), (*[False] * len(front), *found.answered))

    def _ids(self, text: str, images: Iterable[int | str]) -> list[int]:
        if not self._in_text:
            return self._cut(text)
        pieces, each = text.split(self._placeholder), iter(images)
        return self._cut("".join([pieces[0], *(str(next(each)) + piece for piece in pieces[1:])]))

    def _cut(self, text: str) -> list[int]:
        found: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    def _text_of(self, picture: pillow.Image) -> str:
        """What the processor puts in place of the placeholder of a picture of this size."""
        if picture.size not in self._texts:
            found = self._processed([self._placeholder if self._in_text else ""], [[picture]], False)
            ids = found["input_ids"][0].tolist()
            self._texts[picture.size] = self.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        return self._texts[picture.size]

    def _processed(self, texts: list[str], pictures: list[list[pillow.Image]], special: bool) -> Inputs:
        shown = pictures if any(pictures) else None
        try:
            found = self.processor(
                text=texts, images=shown, return_tensors="pt", padding=True, add_special_tokens=special
            )
        except (ValueError, TypeError, IndexError) as error:  # processors refuse numbers and shapes of images
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(f"the processor of {self.source} refuses this conversation: {first}") from error
        return dict(found)


def _parts(content: str) -> list[dict[str, str]]:
    """Words and images in their order."""
    found: list[dict[str, str]] = []
    for place, text in enumerate(content.split(IMAGE)):
        found += [{"type": "image"}] * (place > 0)
        found += [{"type": "text", "text": text}] if text else []
    return found
