"""Pairs of an image encoder and a text encoder that each load on their own: nothing aligns them before training."""

from __future__ import annotations

from medvfm.models.encoders.load import load_encoder
from medvfm.models.image_text.pair import ImageTextPair
from medvfm.models.text.load import load_text_encoder


def load_assembled(image: str, text: str, *, size_px: int | None = None, seed: int = 0) -> ImageTextPair:
    """`image` as encoders.load takes it, `text` as text.load does.

    The embedded image encoder gives the map of its last stage, as adapters do, so that stored features are shared.
    """
    embedded = image.startswith("embedded")
    encoder = load_encoder(image, size_px=size_px, seed=seed, features="last_stage" if embedded else "final")
    return ImageTextPair(
        encoder,
        load_text_encoder(text, seed=seed),
        name=image if image == text else f"{image} and {text}",
        image_width=encoder.width,
        aligned=False,
    )
