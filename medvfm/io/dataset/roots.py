"""Where a card's data are: as given, from the user's roots.yaml, downloaded, or generated in the cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from medvfm.core.data_card import DataCard
from medvfm.core.errors import DataCardError, DataError
from medvfm.core.layout import OptionValue
from medvfm.io import cache, run_directory, user_folders
from medvfm.io.console import Console
from medvfm.io.dataset import cases, download
from medvfm.io.virtual_brain import options as virtual_brain_options


def _file() -> Path:
    return user_folders.config() / "roots.yaml"


def known() -> dict[str, str]:
    """Card to folder, as `medvfm data root` wrote them."""
    try:
        found = yaml.safe_load(_file().read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except yaml.YAMLError as broken:
        raise DataError("broken YAML", where=_file()) from broken
    return {str(k): str(v) for k, v in (found or {}).items()}


def remember(card: DataCard, folder: Path) -> str:
    """Save the data root of a card in roots.yaml; returns in words which of its layouts is found there, if any."""
    if not folder.is_dir():
        raise DataError("no such folder", where=folder)
    user_folders.made(_file().parent)
    run_directory.write_yaml(_file(), {**known(), card.name: str(folder.resolve())})
    try:
        return f"layout {cases.find_layout(card, folder).name}"
    except DataCardError as none:
        return f"but {none}"


def locate(
    card: DataCard,
    given: str | None,
    options: Mapping[str, Any],
    console: Console,
    *,
    layout: str | None = None,
    beside: Path | None = None,
) -> Path:
    """The folder that holds the data of a card; `beside` is that of the card's own file, if its data may lie there.

    A generated data set is made where it is not there yet, and one with a download is fetched: what `layout` needs.
    """
    if given is not None:
        folder = Path(given).expanduser()
        if not folder.is_dir():
            raise DataError("no such folder", where=f"data.root {given}")
        return folder
    if card.name in known() and not options:
        return Path(known()[card.name])
    if beside is not None and _holds(beside, card):
        return beside
    if card.generator is not None:
        return generated(card, options_of(card, options), console)
    downloaded = cache.folder("downloads") / card.name
    if card.download:
        return download.fetch(card, downloaded, console, layout=layout)
    if downloaded.is_dir():
        return downloaded
    how = card.instructions or (f"get it from {', '.join(card.links)}" if card.links else "")
    where = f" or beside the card (wanted is {cases.needed(card)})" if beside is not None else ""
    named = f"`medvfm data root {card.name} DIR`, or --root DIR, or data.root=DIR in a recipe"
    raise DataError(
        f"the data of {card.name} are not here{where}",
        remedy=f"{how.rstrip('.')}; then {named}" if how else f"say where they lie: {named}",
    )


def here(card: DataCard) -> Path | None:
    """The folder of the data of a card if they are on this machine; nothing is downloaded or generated."""
    if card.name in known():
        folder = Path(known()[card.name])
        return folder if folder.is_dir() else None
    if card.generator is not None:
        made = sorted(cache.folder("generated").glob(f"{card.name}-*/cases.csv"))
        return made[0].parent if made else None
    downloaded = cache.folder("downloads") / card.name
    return downloaded if downloaded.is_dir() and any(downloaded.iterdir()) else None


def _holds(folder: Path, card: DataCard) -> bool:
    try:
        cases.find_layout(card, folder)
    except DataCardError:
        return False
    return True


def generated(card: DataCard, options: Mapping[str, Any], console: Console) -> Path:
    """The cached copy of a generated data set, generated now if need be."""
    assert card.generator is not None
    key = hashlib.sha256(json.dumps([card.version, dict(options)], sort_keys=True).encode()).hexdigest()[:12]
    folder = user_folders.made(cache.folder("generated")) / f"{card.name}-{key}"
    if not (folder / "cases.csv").is_file():
        make(card, folder, options, console)
    return folder


def make(card: DataCard, folder: Path, options: Mapping[str, Any], console: Console) -> Path:
    """Write a generated data set to a folder."""
    if card.generator is None:
        raise DataError(f"{card.name} is not a generated data set", remedy="only those can be generated")
    console.say(f"generating {card.title} (once)")
    _generator(card.generator.name)(folder, progress=_progress(console), **options)
    return folder


def options_of(card: DataCard, given: Mapping[str, OptionValue], where: str | None = None) -> dict[str, OptionValue]:
    """The options of a generated data set, with the card's defaults; MedvfmError for what its generator cannot take.

    where  the file and key that they stand in
    """
    options = card.options_with(given, where)
    if card.generator is not None and card.generator.name == "virtual_brain":
        virtual_brain_options.refuse(options, given, where)
    return options


def _generator(name: str) -> Callable[..., Path]:
    """A generator by its name; they are few, and slow to import."""
    if name == "virtual_brain":
        from medvfm.io.virtual_brain import make as virtual_brain

        return virtual_brain.make
    raise DataCardError(f"no generator {name!r}; there is: virtual_brain")


def _progress(console: Console) -> Callable[[int, int], None]:
    shown = {"tenths": 0}

    def progress(done: int, total: int) -> None:
        if done * 10 // total > shown["tenths"]:
            shown["tenths"] = done * 10 // total
            console.say(f"  patients generated: {done}/{total}")

    return progress
