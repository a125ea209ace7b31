"""A name in a recipe is a file name: adapters, tasks, recipes and data cards are found where they lie."""

from __future__ import annotations

import ast
import importlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import medvfm.adapters
import medvfm.tasks
from medvfm.core import yaml_source
from medvfm.core.data_card import DataCard, load_card
from medvfm.core.errors import DataCardError, DataError, MedvfmError, RecipeError, nearest
from medvfm.models import catalogue

PACKAGE = Path(__file__).parent
# A room is searched wherever its package lies: the house's folder, and others that a user appends to `__path__`.
_ROOMS = {"adapters": medvfm.adapters, "tasks": medvfm.tasks}
_IMPORT = {
    "adapters": lambda name: importlib.import_module(f"medvfm.adapters.{name}"),
    "tasks": lambda name: importlib.import_module(f"medvfm.tasks.{name}.task"),
}


def modules(room: str) -> list[str]:
    """Names of the files in `adapters`, or of the folders in `tasks`; nothing is imported."""
    return sorted(_files(room))


def _files(room: str) -> dict[str, Path]:
    """Name to the file that holds it: `adapters/NAME.py`, `tasks/NAME/task.py`."""
    folders = [Path(folder) for folder in _ROOMS[room].__path__]
    if room == "tasks":
        return {f.parent.name: f for folder in folders for f in folder.glob("*/task.py")}
    return {f.stem: f for folder in folders for f in folder.glob("*.py") if not f.stem.startswith("_")}


def shipped(what: str) -> dict[str, Path]:
    """Name to file of the shipped `recipes` or `data_cards`: inside an installed package, beside a checkout's."""
    folder = next((f for f in (PACKAGE / what, PACKAGE.parent / what) if f.is_dir()), PACKAGE.parent / what)
    return {f.stem: f for f in sorted(folder.glob("*.yaml"))}


def module(room: str, name: str, where: str) -> ModuleType:
    """The module of that name in `adapters` or `tasks`."""
    known = modules(room)
    if name not in known:
        raise RecipeError(f"no {room[:-1]} {name!r}; {nearest(name, known)}", where=where)
    return _IMPORT[room](name)


def card(name: str, where: str | None = None) -> DataCard:
    """A shipped card by its name, or any card by its path."""
    return load_card(_file(name, "data_cards", DataCardError, f"no data card {name!r}", where))


def beside(name: str) -> Path | None:
    """The folder of a card that is named by its path: its data may lie there too."""
    return Path(name).parent if name.endswith((".yaml", ".yml")) else None


def recipe(name: str) -> Path:
    """A recipe's path, or a shipped one by its name."""
    return _file(name, "recipes", RecipeError, f"no recipe {name!r}", None)


def model(name: str) -> list[str]:
    """What a model of the catalogue changes in a recipe, as overrides of its keys."""
    known = catalogue.models()
    if name not in known:
        raise RecipeError(f"no model {name!r}; {nearest(name, known)}", where="--model")
    if known[name].adapter is None:
        raise RecipeError(f"{name} ({known[name].hub}) has no adapter here: {known[name].loads_with}", where="--model")
    return [f"adapter.name={known[name].adapter}", f"adapter.weights={name}"]


def _file(name: str, what: str, error: type[MedvfmError], missing: str, where: str | None) -> Path:
    if name.endswith((".yaml", ".yml")):
        if Path(name).is_file():
            return Path(name)
        raise error(f"{missing}: no such file", where=where)
    known = shipped(what)
    if name not in known:
        raise error(f"{missing}; {nearest(name, known)}", where=where)
    return known[name]


def _documented(room: str) -> list[tuple[str, str]]:
    """Each file of a room and the first line of its docstring; nothing is imported."""
    texts = {name: file.read_text(encoding="utf-8") for name, file in sorted(_files(room).items())}
    return [(name, (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]) for name, text in texts.items()]


def _recipes() -> list[tuple[str, str]]:
    return [
        (name, str(yaml_source.read(path, RecipeError).data.get("title"))) for name, path in shipped("recipes").items()
    ]


def _cards() -> list[tuple[str, str]]:
    """Shipped cards, and whether their data are on this machine."""
    from medvfm.io.dataset import roots  # brings pandas, which nothing else here needs

    found = []
    for name, path in shipped("data_cards").items():
        card = load_card(path)
        folder = roots.here(card)
        there = f"here: {folder}" if folder is not None else "can be generated" if card.generator else ""
        found.append((name, f"{card.title} [{there or 'not here'}]"))
    return found


def runs(folders: Sequence[Path]) -> list[tuple[str, str]]:
    """Every run below the folders, with its status: those of `run`, `evaluate` and `data show` alike."""
    found = []
    for folder in folders:
        if not folder.is_dir():
            raise DataError("no such folder", where=folder, remedy="`medvfm list runs FOLDER` looks below FOLDER")
        for where, inner, files in os.walk(folder):
            inner[:] = [] if "run.json" in files else sorted(name for name in inner if not name.startswith("."))
            if "run.json" in files:
                found.append((where, _said_of_run(Path(where) / "run.json")))
    return found


def _said_of_run(path: Path) -> str:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return f"{record['status']}, {record['kind']}, {str(record.get('created'))[:10]}: {record.get('title')}"
    except (OSError, ValueError, KeyError, TypeError):
        return "run.json cannot be read"


LISTS = {
    "adapters": lambda: _documented("adapters"),
    "tasks": lambda: _documented("tasks"),
    "recipes": _recipes,
    "cards": _cards,
    "models": catalogue.listed,
}
