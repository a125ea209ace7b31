"""Pairs that nobody trained together: their projections are random, and what they answer before training is luck."""

from __future__ import annotations

from medvfm.core.errors import RecipeError
from medvfm.models.image_text.pair import ImageTextPair


def refuse_unaligned(pair: ImageTextPair, method: str) -> None:
    """An untuned pair with random projections gives scores that are luck."""
    if not pair.aligned and method in ASKED:
        raise RecipeError(unaligned(pair.name, method), where="adapter.method", remedy=ALIGN[method])


ALIGN = {  # by method
    "zero_shot": "align it first: adapter.method contrastive, or a stage of it before",
    "prompt_learning": "align it first: adapter.method contrastive, or a stage of it before",
    "dense": "take a pair that was trained together, such as BiomedCLIP",
}
ASKED = tuple(ALIGN)  # methods whose answers rest on the space of images and texts as it was loaded


def unaligned(name: str, method: str) -> str:
    return (
        f"{method} with {name}: the projections of this pair are random, and its answers would be luck (a draw reached "
        "an AUROC of 0.88)"
    )
