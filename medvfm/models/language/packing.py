"""Several questions on one image as one row of tokens, none of which sees another."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from medvfm.models.language.chat import IMAGE_ID, ChatTokens


def packed(conversations: Sequence[ChatTokens]) -> ChatTokens | None:
    """What the conversations begin with up to their last image, once, and then what each goes on with: `segments` is 0
    in the beginning, and 1, 2, ... in the rest of each. None where they do not begin alike, or show no image."""
    starts = {own.ids[: _after_images(own.ids)] for own in conversations}
    (start, *others) = starts
    if others or not start:
        return None
    first, length = conversations[0], len(start)
    ids, answered, segments = list(start), list(first.answered[:length]), [0] * length
    for number, own in enumerate(conversations, 1):
        ids += own.ids[length:]
        answered += own.answered[length:]
        segments += [number] * (len(own) - length)
    return ChatTokens(tuple(ids), tuple(answered), tuple(segments))


def sees(segments: Tensor, mask: Tensor) -> Tensor:
    """(B, L, L) true where a position reads another: one before it, in the common beginning or in its own segment.

    segments (B, L) as `packed` numbers them; mask (B, L) true where there is a token. Padding reads itself.
    """
    length = segments.shape[1]
    before = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    own = (segments[:, None, :] == 0) | (segments[:, None, :] == segments[:, :, None])
    itself = torch.eye(length, dtype=torch.bool, device=segments.device)
    return (before & own & mask[:, None, :]) | itself


def _after_images(ids: Sequence[int]) -> int:
    return max((place for place, token in enumerate(ids) if token == IMAGE_ID), default=-1) + 1
