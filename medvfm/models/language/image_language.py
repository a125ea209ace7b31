"""A vision encoder, a connector and a language model as one: vectors of images stand between those of words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from medvfm.core.errors import DataError
from medvfm.models.encoders.base import Encoder
from medvfm.models.language.chat import IMAGE_ID, ChatTokens
from medvfm.models.language.connectors import Projector
from medvfm.models.language.language_model import LanguageModel
from medvfm.nn.token_loss import IGNORED, next_token_loss

WORTH = 0.75  # of the positions: from how few on the same beginnings are read once
VISION, PROJECTOR, LANGUAGE = "vision", "projector", "language"


@dataclass(frozen=True, eq=False)
class Spliced:
    """Conversations as the language model reads them, padded on the left.

    vectors (B, L, width); mask (B, L) true where there is a token; labels (B, L) ids of answers, IGNORED elsewhere;
    begins: ids of each before its first image, or nothing where there is none
    """

    vectors: Tensor
    mask: Tensor
    labels: Tensor
    begins: tuple[tuple[int, ...], ...]


class ImageLanguageModel(nn.Module):
    """`grid`: the patches of a picture are averaged to so many by so many; 0 takes them as they are."""

    def __init__(self, vision: Encoder, projector: Projector, language: LanguageModel, grid: int) -> None:
        super().__init__()
        self.vision, self.projector, self.language, self.grid = vision, projector, language, grid

    @property
    def device(self) -> torch.device:
        return self.language.device

    def patches(self, pictures: Tensor) -> Tensor:
        """(N, T, D) of pictures (N, C, h, w) in [0, 1]."""
        pixels = self.vision.contract.normalise(pictures.to(self.device, non_blocking=True))
        found = self.vision(pixels).patches
        if self.grid:
            found = functional.adaptive_avg_pool2d(found, self.grid)
        return found.flatten(2).transpose(1, 2)

    def spliced(self, tokens: Sequence[ChatTokens], images: Sequence[Sequence[Tensor]]) -> Spliced:
        """Words and images in their places; images: of each conversation its patches (T, D), one after the other.

        Raises DataError where the places for images are not as many as the vectors that fill them.
        """
        shown = self._projected([image for own in images for image in own])
        most = max(map(len, tokens))
        self._refuse_long(most)
        ids = torch.zeros(len(tokens), most, dtype=torch.long)
        mask, answered = torch.zeros_like(ids, dtype=torch.bool), torch.zeros_like(ids, dtype=torch.bool)
        for row, own in enumerate(tokens):
            ids[row, most - len(own) :] = torch.tensor(own.ids)
            mask[row, most - len(own) :] = True
            answered[row, most - len(own) :] = torch.tensor(own.answered)
        places = ids == IMAGE_ID
        labels = torch.where(answered & ~places, ids, IGNORED).to(self.device)
        vectors = self.language.vectors(ids.clamp(min=0).to(self.device))
        filling = torch.cat(shown) if shown else vectors.new_zeros(0, self.language.width)
        wanted, given = places.sum(1).tolist(), self._given(images, shown)
        if wanted != given:
            row = next(n for n, (a, b) in enumerate(zip(wanted, given, strict=True)) if a != b)
            raise DataError(f"{wanted[row]} places for vectors of images in a conversation, and {given[row]} vectors")
        vectors = vectors.masked_scatter(places.to(self.device)[..., None], filling.to(vectors.dtype))
        return Spliced(vectors, mask.to(self.device), labels, tuple(_before_images(own.ids) for own in tokens))

    def _projected(self, images: Sequence[Tensor]) -> list[Tensor]:
        """(K, width) of each image; images of one number of patches go through the projector together."""
        found: list[Tensor | None] = [None] * len(images)
        for size in dict.fromkeys(len(image) for image in images):
            rows = [n for n, image in enumerate(images) if len(image) == size]
            vectors = self.projector(torch.stack([images[n] for n in rows]).to(self.device))
            for row, vector in zip(rows, vectors, strict=True):
                found[row] = vector
        return [vectors for vectors in found if vectors is not None]

    @staticmethod
    def _given(images: Sequence[Sequence[Tensor]], shown: Sequence[Tensor]) -> list[int]:
        each = iter(shown)
        return [sum(len(next(each)) for _ in own) for own in images]

    def _refuse_long(self, tokens: int) -> None:
        if tokens > self.language.limit:
            raise DataError(
                f"a conversation of {tokens} tokens, and {self.language.name} reads {self.language.limit}",
                remedy="shorten questions or answers, or take fewer slices or a smaller adapter.options.grid",
            )

    def loss(self, given: Spliced, weights: Tensor | None = None) -> Tensor:
        """Of the next token, over the tokens of answers alone; weights (B,): how often each conversation counts."""
        counted = (given.labels != IGNORED).any(0)
        last = given.labels.shape[1] - int(counted.float().argmax()) + 1  # the position before the first answer, too
        last = min(last, given.labels.shape[1])
        told, _ = self.read(given, last)
        return next_token_loss(told.logits[:, -last:], given.labels[:, -last:], weights)

    def read(self, given: Spliced, last: int, keep: bool = False) -> tuple[Any, Tensor]:
        """See LanguageModel.forward; and the mask of all positions that were read.

        Where many conversations begin with the same words before their first image, these are read once for all of
        them: keys and values depend on nothing that follows. The result is the same.
        """
        whole: Any
        starts = list(dict.fromkeys(given.begins))
        lengths = given.mask.sum(1).tolist()
        rest = [length - len(begin) for length, begin in zip(lengths, given.begins, strict=True)]
        most, long = max(rest), max(map(len, starts))
        shared = len(starts) * long + len(rest) * most
        if not all(starts) or shared > WORTH * given.mask.numel() or last > most or not self.language.keeps:
            return self.language(given.vectors, given.mask, last, keep=keep), given.mask
        ids = torch.tensor([[0] * (long - len(begin)) + list(begin) for begin in starts], device=self.device)
        there = torch.tensor([[False] * (long - len(b)) + [True] * len(b) for b in starts], device=self.device)
        cache = self.language.kept(self.language(self.language.vectors(ids), there, 1, keep=True))
        of = torch.tensor([starts.index(begin) for begin in given.begins], device=self.device)
        cache.batch_select_indices(of)
        own = torch.arange(most, device=self.device) >= most - torch.tensor(rest, device=self.device)[:, None]
        mask = torch.cat([there[of], own], 1)
        whole = self.language(given.vectors[:, -most:], mask, last, cache, keep=True)
        return whole, mask


def _before_images(ids: Sequence[int]) -> tuple[int, ...]:
    return tuple(ids[: ids.index(IMAGE_ID)]) if IMAGE_ID in ids else ()
