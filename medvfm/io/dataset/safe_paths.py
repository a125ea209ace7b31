"""Path containment: names from tables resolve only below the data root."""

from __future__ import annotations

import glob
import re
from pathlib import Path, PurePosixPath

from medvfm.core.errors import DataError


class Inside:
    """A folder, out of which no name leads: not by `..`, not by an absolute path, not by a link, not by an address."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._real = folder, folder.resolve()
        self._sound = {folder}  # folders whose links were looked at
        self._walked: dict[str, dict[str, list[Path]]] = {}

    def path(self, name: str) -> Path:
        """The path of that name; DataError for one that leads out. It need not exist."""
        if "://" in name:
            raise DataError(f"{name.split('://')[0][-8:]}:// in a table: only files under the root are read")
        plain = PurePosixPath(name.replace("\\", "/"))
        if plain.is_absolute() or ".." in plain.parts or re.match(r"[A-Za-z]:", name) or "\0" in name:
            raise DataError(f"the path {name!r} leads out of the data's root", where=self.folder)
        return self.sound(self.folder / plain)

    def sound(self, path: Path) -> Path:
        """The same path, if no link on the way to it leads out."""
        if path.parent not in self._sound:
            self._refuse_outside(path.parent)
            self._sound.add(path.parent)
        if path.is_symlink():
            self._refuse_outside(path)
        return path

    def _refuse_outside(self, path: Path) -> None:
        try:
            resolved = path.resolve()
        except (OSError, RuntimeError) as loop:
            raise DataError(f"the link {path.name!r} leads nowhere", where=self.folder) from loop
        if not resolved.is_relative_to(self._real):
            raise DataError(f"the link {path.relative_to(self.folder)} leads out of the data's root", where=self.folder)

    def matches(self, pattern: str) -> list[Path]:
        """Paths that a glob finds, in order, hidden ones left out."""
        self.path(pattern)
        found = [p for p in self.folder.glob(pattern) if not p.name.startswith(".")]
        return sorted(self.sound(p) for p in found)

    def named(self, whole: str, name: str) -> list[Path]:
        """What the glob `whole` finds under that name; the tree is walked once for all names."""
        if whole not in self._walked:
            self._walked[whole] = {}
            for path in self.matches(whole):
                self._walked[whole].setdefault(path.name, []).append(path)
        return self._walked[whole].get(name, [])


def escaped(value: str) -> str:
    """A value escaped for a glob, so that it matches itself."""
    return glob.escape(value)


def exists(path: Path) -> bool:
    """As Path.exists, and False for a name that no file can have."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
