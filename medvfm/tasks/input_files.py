"""Files and series folders that `medvfm predict` was given, as cases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medvfm.core.case import Case
from medvfm.core.errors import DataError


def cases_of(inputs: Sequence[Path]) -> list[Case]:
    """A case for each file or series folder; a name that stands twice gets a number."""
    seen: dict[str, int] = {}
    found = []
    for path in inputs:
        if not path.exists():
            raise DataError("no such file or folder", where=path)
        name = path.name.removesuffix(".gz").rsplit(".", 1)[0] if path.is_file() else path.name
        seen[name] = seen.get(name, 0) + 1
        number = f"-{seen[name]}" if seen[name] > 1 else ""
        found.append(Case(name + number, None, {"image": (path,)}))
    return found
