"""Path containment: names from tables resolve only below the data root."""

from __future__ import annotations

import glob
import os
import posixpath
import re
from contextlib import suppress
from pathlib import Path, PurePosixPath

from medvfm.core.errors import DataError

_RELATIVE = "write paths relative to the root, or give the folder that holds the files as data.root"


class Inside:
    """A folder, out of which no name leads: not by `..`, not by an absolute path, not by a link, not by an address.

    An absolute path that lies in the folder is one of its files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._real = folder, folder.resolve()
        self._sound = {folder}  # folders whose links were looked at
        self._walked: dict[str, dict[str, list[Path]]] = {}

    def path(self, name: str) -> Path:
        """The path of that name; DataError for one that leads out. It need not exist."""
        if "://" in name:
            raise DataError(f"{name.split('://')[0][-8:]}:// in a table: only files under the root are read")
        if "\0" in name:
            raise DataError("a path in a table holds a zero character", where=self.folder)
        slashed = name.replace("\\", "/")
        if re.match(r"[A-Za-z]:", name) and not Path(name).is_absolute():
            raise DataError(f"the path {name!r} begins with a drive of Windows", where=self.folder, remedy=_RELATIVE)
        plain = PurePosixPath(slashed)
        if Path(name).is_absolute() or plain.is_absolute():
            return self.sound(self.folder / self._relative(Path(slashed), name))
        if ".." in plain.parts:
            plain = PurePosixPath(posixpath.normpath(plain))
            if ".." in plain.parts:
                raise DataError(f"the path {name!r} leads out of the data's root", where=self.folder)
        return self.sound(self.folder / plain)

    def _relative(self, path: Path, name: str) -> Path:
        """An absolute path below the folder, however that is reached, as a relative one."""
        path = Path(os.path.normpath(path))
        for base in (self.folder.absolute(), self._real):
            if path.is_relative_to(base):
                return path.relative_to(base)
        with suppress(OSError, RuntimeError):  # a link that leads in a circle
            real = path.parent.resolve() / path.name
            if real.is_relative_to(self._real):
                return real.relative_to(self._real)
        raise DataError(f"the path {name!r} leads out of the data's root", where=self.folder, remedy=_RELATIVE)

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
        below = self.path(pattern).relative_to(self.folder).as_posix()
        found = [p for p in self.folder.glob(below) if not p.name.startswith(".")]
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
