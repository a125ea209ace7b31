"""A start for a projector in closed form: from image features to what is said about training images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

STRENGTH = 2.0  # of the penalty, for each training image
OF_ANSWERS = 4.0  # how long their directions are beside those of words: many words of a caption say one thing
Said = frozenset[tuple[str, str]]  # words of a caption ("", word), and (question, answer)


def said_about(captions: Sequence[str], answers: Sequence[tuple[str, str]]) -> Said:
    """What captions and answers say about an image: each word of a caption, each question with its answer."""
    words = " ".join(captions).lower().replace(".", " ").split()
    return frozenset(("", word) for word in words) | frozenset(answers)


def regressed(features: Tensor, said: Sequence[Said], width: int, seed: int) -> Tensor:
    """(width, D) weights from standardised features (n, D) to what is said about each image, by ridge regression
    (Hoerl and Kennard 1970).

    Each word and each answer has a direction of its own, drawn by the seed: the vector of an image is the sum of the
    directions of what is likely said about it. Their root mean square is 1.
    """
    known = sorted(frozenset().union(*said))
    told = torch.tensor([[float(one in own) for one in known] for own in said], dtype=torch.float64)
    told = told * torch.tensor([1.0 if question == "" else OF_ANSWERS for question, _ in known])
    told, values = told - told.mean(0), features.detach().cpu().double()
    penalty = STRENGTH * len(values) * torch.eye(len(values), dtype=torch.float64)
    found = values.T @ torch.linalg.solve(values @ values.T + penalty, told)  # (D, known), solved among images
    directions = torch.randn(len(known), width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    weights = (found @ directions).T
    return (weights / weights.square().mean().sqrt().clamp(min=1e-12)).float()
