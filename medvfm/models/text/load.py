"""Text encoders by name: from a recipe's text to a model with its tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from medvfm.core.errors import WeightsError
from medvfm.models.text.encoder import TextEncoder

# The libraries are imported where they are needed: transformers takes seconds.


def load_text_encoder(text: str, *, pooling: Literal["mean", "cls"] | None = None, seed: int = 0) -> TextEncoder:
    """A text encoder in evaluation mode, in float32 on the CPU.

    `text` is one of

    tiny                        a small transformer from scratch, initialised from `seed`
    embedded, embedded:NAME     a sentence encoder that needs no network
    owner/name, owner/name@REV  a hub repository with a BERT-like model
    a folder                    the same format on disk

    `pooling` says how tokens become one vector; None leaves it to the model. See text.from_transformers.
    """
    if text == "tiny":
        from medvfm.models.text.tiny import load_tiny_text

        return load_tiny_text(seed).eval()
    if text == "embedded" or text.startswith("embedded:"):
        from medvfm.models.text import embedded

        return embedded.load_embedded_text(text.partition(":")[2] or embedded.NAMES[0]).eval()
    if not Path(text).expanduser().is_dir() and "/" not in text:
        raise WeightsError(
            "no such text encoder", where=text, remedy="give a folder, a hub id owner/name, `embedded` or `tiny`"
        )
    from medvfm.models.text.from_transformers import load_transformers_text

    return load_transformers_text(text, pooling).eval()
