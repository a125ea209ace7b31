"""A name in a recipe is a file name: adapters, tasks, recipes and data cards are found where they lie."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from medvfm.core.data_card import DataCard, load_card
from medvfm.core.errors import DataCardError, MedvfmError, RecipeError, nearest

PACKAGE = Path(__file__).parent


def modules(room: str) -> list[str]:
    """Names of the files in `adapters` or `tasks`; nothing is imported."""
    return sorted(f.stem for f in (PACKAGE / room).glob("*.py") if not f.stem.startswith("_"))


def shipped(what: str) -> dict[str, Path]:
    """Name to file of the shipped `recipes` or `data_cards`: inside an installed package, beside a checkout's."""
    folder = next((f for f in (PACKAGE / what, PACKAGE.parent / what) if f.is_dir()), PACKAGE.parent / what)
    return {f.stem: f for f in sorted(folder.glob("*.yaml"))}


def module(room: str, name: str, where: str) -> ModuleType:
    """The file of that name in `adapters` or `tasks`."""
    known = modules(room)
    if name not in known:
        raise RecipeError(f"no {room[:-1]} {name!r}; {nearest(name, known)}", where=where)
    return importlib.import_module(f"medvfm.{room}.{name}")


def card(name: str, where: str | None = None) -> DataCard:
    """A shipped card by its name, or any card by its path."""
    return load_card(_file(name, "data_cards", DataCardError, f"no data card {name!r}", where))


def recipe(name: str) -> Path:
    """A recipe's path, or a shipped one by its name."""
    return _file(name, "recipes", RecipeError, f"no recipe {name!r}", None)


def _file(name: str, what: str, error: type[MedvfmError], missing: str, where: str | None) -> Path:
    if name.endswith((".yaml", ".yml")):
        if Path(name).is_file():
            return Path(name)
        raise error(f"{missing}: no such file", where=where)
    known = shipped(what)
    if name not in known:
        raise error(f"{missing}; {nearest(name, known)}", where=where)
    return known[name]
