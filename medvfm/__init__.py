"""Adapt foundation models to clinical imaging tasks, and report honestly how well they do.

The public names are resolved when they are first used, so that `import medvfm` imports no torch.
"""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "Case": "core.case",
    "Image": "core.image",
    "Recipe": "core.recipe",
    "MedvfmError": "core.errors",
    "RecipeError": "core.errors",
    "DataCardError": "core.errors",
    "DataError": "core.errors",
    "UnreadableImage": "core.errors",
    "WeightsError": "core.errors",
    "PredictionError": "core.errors",
    "RunError": "core.errors",
    "read_image": "io.read",
    "load_recipe": "core.recipe",
    "run": "pipeline",
    "predict": "pipeline.predicting",
    "search": "pipeline.searching",
    "evaluate": "pipeline",
    "compare": "pipeline.comparing",
    "reconcile": "pipeline.reconciling",
    "power": "pipeline.study",
    "test": "pipeline.external",
    "cases": "pipeline.card_cases",
    "FoundationEncoder": "pipeline.foundation_encoder",
    "load_adapter": "pipeline",
}
_CALLED = {"load_recipe": "load"}
__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("medvfm")
    if name not in _PUBLIC:
        raise AttributeError(f"module 'medvfm' has no attribute {name!r}")
    return getattr(importlib.import_module(f"medvfm.{_PUBLIC[name]}"), _CALLED.get(name, name))


def __dir__() -> list[str]:
    return sorted([*_PUBLIC, "__version__"])
