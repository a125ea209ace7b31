"""Language models by name: from a recipe's text to a model with its tokenizer."""

from __future__ import annotations

from pathlib import Path

from medvfm.core.errors import WeightsError
from medvfm.models.language.language_model import LanguageModel

# The libraries are imported where they are needed: transformers takes seconds.


def load_language_model(text: str, *, seed: int = 0, four_bit: bool = False) -> LanguageModel:
    """A causal language model in evaluation mode, in float32 on the CPU.

    `text` is one of

    tiny                        a small transformer from scratch over bytes, initialised from `seed`
    embedded, embedded:NAME     a chat model that needs no network
    owner/name, owner/name@REV  a hub repository in transformers' format
    a folder                    the same format on disk
    FILE.gguf                   a GGUF file on disk

    four_bit: the blocks of a hub repository or a folder in four bits.
    """
    if text == "tiny":
        from medvfm.models.language.tiny import load_tiny_language

        return load_tiny_language(seed)
    if text == "embedded" or text.startswith("embedded:"):
        from medvfm.models.language import embedded

        return embedded.load_embedded_language(text.partition(":")[2] or embedded.NAMES[0])
    if text.endswith(".gguf"):
        from medvfm.models.language.from_gguf import load_gguf

        file = Path(text).expanduser()
        if not file.is_file():
            raise WeightsError("no such file", where=text, remedy="give a GGUF file on this machine")
        return load_gguf(file, text)
    if not Path(text).expanduser().is_dir() and "/" not in text:
        raise WeightsError(
            "no such language model",
            where=text,
            remedy="give a folder, a GGUF file, a hub id owner/name, `embedded` or `tiny`",
        )
    from medvfm.models.language.from_transformers import load_causal

    return load_causal(text, four_bit=four_bit)
