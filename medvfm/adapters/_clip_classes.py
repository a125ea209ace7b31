"""Scores of classes that are asked in words: by prompts as they stand, or with a learned context before their names."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medvfm.adapters import _clip_towers as towers
from medvfm.adapters._clip_prompts import Asked, ClassPrompts
from medvfm.adapters._clip_texts import ReadTexts
from medvfm.adapters._clip_towers import TEXT, SharedSpace
from medvfm.core.protocols import Record
from medvfm.nn import losses

LEARNED = "prompt_learning"


class ClassScores:
    """Images of a space against the prompts of classes.

    outputs  of prompts, by a text encoder that stays as it is
    """

    def __init__(self, space: SharedSpace, prompts: ClassPrompts, texts: ReadTexts) -> None:
        self.space, self.prompts, self._texts = space, prompts, texts
        self.outputs: dict[str, Tensor] = {}

    def scores(self, images: Tensor, method: str, variant: str | None) -> Tensor:
        """(B, T) in [0, 1] of unit vectors (B, D)."""
        logits = self._learned(images, variant) if method == LEARNED else self._asked(images, method, variant)
        return logits.softmax(1) if self.prompts.exclusive else logits.softmax(2)[..., 1]

    def loss(self, images: Tensor, truth: Tensor) -> Tensor:
        """Of labels (B, T), with the learned context."""
        logits = self._learned(images, None)
        if self.prompts.exclusive:
            return losses.classification(logits, truth, "multi_class")
        return losses.classification(logits[..., 1] - logits[..., 0], truth, "multi_label")

    def _asked(self, images: Tensor, method: str, variant: str | None) -> Tensor:
        """(B, T), or (B, T, 2) against and for each class where classes do not exclude each other."""
        asked, exclusive = self.prompts.asked(variant), self.prompts.exclusive
        rows = [v for a in asked.values() for v in ([a.positive] if exclusive else [a.negative, a.positive])]
        return self._compared(images, torch.stack([self._class_vector(prompts, method) for prompts in rows]))

    def _learned(self, images: Tensor, variant: str | None) -> Tensor:
        """The same with the learned context before the names of the classes; Zhou et al. 2022, eq. 3."""
        names = list(self.prompts.names(variant).values())
        asked = names if self.prompts.exclusive else [said for name in names for said in (f"no {name}", name)]
        return self._compared(images, self.space.of_texts(self.space.pair.text.with_context(self.space.context, asked)))

    def _compared(self, images: Tensor, texts: Tensor) -> Tensor:
        logits = self.space.scale * images @ texts.T
        return logits if self.prompts.exclusive else logits.unflatten(1, (-1, 2))

    def _class_vector(self, prompts: Sequence[str], method: str) -> Tensor:
        """(D,): the mean of the prompts' unit vectors, as a unit vector."""
        tuned = TEXT in towers.TUNES.get(method, ()) or self.space.pair.text.staged
        new = [p for p in prompts if tuned or p not in self.outputs]
        if new:
            self._texts.note(new)
            self.outputs |= dict(zip(new, self.space.text_outputs(new), strict=True))
        return self.space.of_prompts(torch.stack([self.outputs[p] for p in prompts]))

    def record(self) -> Record:
        return {name: as_record(asked) for name, asked in self.prompts.asked().items()}


def begin_context(space: SharedSpace, count: int, start: str | None, seed: int) -> None:
    """A context of `count` tokens, from the words that a user gives, else at random (Zhou et al. 2022, section 3.2)."""
    text = space.pair.text
    if start is not None:
        vectors = text.token_vectors(start)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            vectors = torch.randn(count, text.token_width) * 0.02
    space.context = nn.Parameter(vectors.to(space.device).float())


def as_record(asked: Asked) -> Record:
    return {"positive": list(asked.positive), "negative": list(asked.negative)}
