"""A vision encoder, a connector and a language model as one: vectors of images stand between those of words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from medvfm.core.errors import DataError
from medvfm.models.encoders.base import Encoder
from medvfm.models.language.chat import IMAGE_ID, ChatTokens
from medvfm.models.language.connectors import Projector
from medvfm.models.language.language_model import LanguageModel
from medvfm.nn.token_loss import IGNORED, token_losses

WORTH = 0.75  # of the positions: from how few on the same beginnings are read once
VISION, PROJECTOR, LANGUAGE = "vision", "projector", "language"


@dataclass(frozen=True, eq=False)
class Spliced:
    """Conversations as the language model reads them, padded on the left.

    vectors (B, L, width); mask (B, L) true where there is a token; labels (B, L) ids of answers, IGNORED elsewhere;
    begins: ids of each that others may begin with as well, see `read`; segments (B, L) where rows hold several
    conversations, see models.language.packing
    """

    vectors: Tensor
    mask: Tensor
    labels: Tensor
    begins: tuple[tuple[int, ...], ...]
    segments: Tensor | None = None

    @property
    def rest(self) -> list[int]:
        """How many positions of each follow after what it begins with."""
        return [n - len(begin) for n, begin in zip(self.mask.sum(1).tolist(), self.begins, strict=True)]

    def of(self, rows: Sequence[int]) -> Spliced:
        """Some of the conversations, without padding that all of them have."""
        if len(rows) == len(self.begins):
            return self
        most = int(self.mask[rows].sum(1).max())
        begins = tuple(self.begins[row] for row in rows)
        segments = None if self.segments is None else self.segments[rows, -most:]
        return Spliced(self.vectors[rows, -most:], self.mask[rows, -most:], self.labels[rows, -most:], begins, segments)


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
        return self.patches_and_mean(pictures)[0]

    def patches_and_mean(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """(N, T, D), and (N, D): the encoder's own mean over all patches."""
        features = self.vision(self.vision.contract.normalise(pictures.to(self.device, non_blocking=True)))
        found = features.patches
        if self.grid:
            found = functional.adaptive_avg_pool2d(found, self.grid)
        return found.flatten(2).transpose(1, 2), features.pooled

    def spliced(self, tokens: Sequence[ChatTokens], images: Sequence[Sequence[Tensor]]) -> Spliced:
        """Words and images in their places; images: of each conversation its patches (T, D), one after the other.

        Raises DataError where the places for images are not as many as the vectors that fill them.
        """
        shown = self._projected([image for own in images for image in own])
        most = max(map(len, tokens))
        self._refuse_long(max(map(_longest, tokens)))
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
        begins = tuple(map(_begins, tokens))
        return Spliced(vectors, mask.to(self.device), labels, begins, self._segments(tokens, most))

    def _segments(self, tokens: Sequence[ChatTokens], most: int) -> Tensor | None:
        if not any(own.segments for own in tokens):
            return None
        found = torch.zeros(len(tokens), most, dtype=torch.long, device=self.device)
        for row, own in enumerate(tokens):
            if own.segments:
                found[row, most - len(own) :] = torch.tensor(own.segments)
        return found

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
        """Of the next token, over the tokens of answers alone; weights (B,): how often each conversation counts.

        The mean over all of them, as transformers takes it. Short conversations are read apart from long ones where
        that saves padding.
        """
        counts = torch.ones(len(given.begins)) if weights is None else weights.float()
        losses, heavy = [], []
        for rows in _read_together(given.rest):
            part = given.of(rows)
            labels = part.labels[:, 1:]
            counted = labels != IGNORED
            first = counted.any(0).float().argmax()
            counted, labels = counted[:, first:], labels[:, first:]
            segments = None if part.segments is None else part.segments[:, :-1]
            # nothing follows the last
            before = replace(part, vectors=part.vectors[:, :-1], mask=part.mask[:, :-1], segments=segments)
            told, _ = self.read(before, counted.shape[1], wanted=counted)
            losses.append(token_losses(told.logits[0], labels[counted]))
            heavy.append(counts[rows].to(counted.device)[:, None].expand(counted.shape)[counted])
        each, weight = torch.cat(losses), torch.cat(heavy)
        return (each * weight).sum() / weight.sum().clamp(min=1e-9)

    def read(self, given: Spliced, last: int, keep: bool = False, wanted: Tensor | None = None) -> tuple[Any, Tensor]:
        """See LanguageModel.forward; and the mask of all positions that were read.

        Where many conversations begin with the same words before their first image, or before their answer, these are
        read once for all of them: keys and values depend on nothing that follows. The result is the same.
        """
        whole: Any
        if given.segments is not None:
            told = self.language(given.vectors, given.mask, last, keep=keep, wanted=wanted, segments=given.segments)
            return told, given.mask
        starts = list(dict.fromkeys(given.begins))
        rest = given.rest
        most, long = max(rest), max(map(len, starts))
        shared = len(starts) * long + len(rest) * most
        if not all(starts) or shared > WORTH * given.mask.numel() or last > most or not self.language.keeps:
            return self.language(given.vectors, given.mask, last, keep=keep, wanted=wanted), given.mask
        ids = torch.tensor([[0] * (long - len(begin)) + list(begin) for begin in starts], device=self.device)
        there = torch.tensor([[False] * (long - len(b)) + [True] * len(b) for b in starts], device=self.device)
        cache = self.language.kept(self.language(self.language.vectors(ids), there, 1, keep=True))
        of = torch.tensor([starts.index(begin) for begin in given.begins], device=self.device)
        cache.batch_select_indices(of)
        own = torch.arange(most, device=self.device) >= most - torch.tensor(rest, device=self.device)[:, None]
        mask = torch.cat([there[of], own], 1)
        whole = self.language(given.vectors[:, -most:], mask, last, cache, keep=True, wanted=wanted)
        return whole, mask


def _begins(own: ChatTokens) -> tuple[int, ...]:
    """What others may begin with as well: the ids before the first image, or else before the token that the answer
    follows."""
    if IMAGE_ID in own.ids:
        return own.ids[: own.ids.index(IMAGE_ID)]
    asked = own.answered.index(True) if True in own.answered else len(own)
    return own.ids[: max(asked - 1, 0)]


def _read_together(lengths: Sequence[int]) -> list[list[int]]:
    """All rows at once, or in two parts, short ones and long ones, where that leaves out enough padding."""
    order = sorted(range(len(lengths)), key=lambda row: lengths[row])
    whole = len(order) * lengths[order[-1]]
    costs = {n: n * lengths[order[n - 1]] + (len(order) - n) * lengths[order[-1]] for n in range(1, len(order))}
    cut = min(costs, key=lambda n: costs[n], default=0)
    if not cut or costs[cut] > WORTH * whole:
        return [list(range(len(lengths)))]
    return [sorted(order[:cut]), sorted(order[cut:])]


def _longest(own: ChatTokens) -> int:
    """Tokens of the longest conversation in a row."""
    if not own.segments:
        return len(own)
    start = own.segments.count(0)
    return start + max(own.segments.count(number) for number in set(own.segments) - {0})
