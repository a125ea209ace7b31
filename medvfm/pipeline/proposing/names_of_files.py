"""Which files the cells of a column name, as a template of a card: by path, by name, by name without ending, or by the
name of a folder that holds one image."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from medvfm.io.dataset.file_endings import IMAGES, without_ending
from medvfm.pipeline.proposing.found import Column, Files

LEAST = 0.5  # share of the cells that must name files, and of the files of DICOM folders that a table must name


@dataclass(frozen=True)
class Named:
    """A column whose cells name files: the template, the files, and how many cells name none."""

    column: str
    template: str
    files: tuple[str, ...]
    missing: int

    @property
    def share(self) -> float:
        return len(self.files) / max(1, len(self.files) + self.missing)


class Index:
    """The images of a folder, found by what a table may call them."""

    def __init__(self, files: Files) -> None:
        self.all = {*files.images, *files.series}
        self._within = set(files.within)
        self._known = self.all | self._within
        self._by_name: dict[str, list[str]] = defaultdict(list)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        for path in sorted(self._known):
            name = PurePosixPath(path).name
            self._by_name[name].append(path)
            stem = without_ending(name, IMAGES)
            if stem is not None:
                self._by_stem[stem].append(path)
        self._below: dict[str, list[tuple[str, str, str]]] = defaultdict(list)  # folder: (before it, after it, image)
        for path in sorted(self.all):
            parts = path.split("/")
            for place, folder in enumerate(parts[:-1]):
                before = "".join(f"{part}/" for part in parts[:place])
                self._below[folder].append((before, "/".join(parts[place + 1 :]), path))

    def named_by(self, column: Column, table: str) -> Named | None:
        """The files that a column of a table names, if most of its cells do."""
        if not column.usable or not column.counts:
            return None
        cells = [cell.replace("\\", "/") for cell in column.counts]
        folder = PurePosixPath(table).parent.as_posix()
        before = "" if folder == "." else f"{folder}/"
        ways = [
            Named(column.name, f"{start}{{{column.name}}}", *_counted(cells, [start + c for c in cells], self._known))
            for start in dict.fromkeys(("", before))
        ]
        ways += self._elsewhere(column.name, cells, self._by_name, "")
        ways += self._elsewhere(column.name, cells, self._by_stem, None)
        ways += self._in_folders(column.name, cells)
        best = max((way for way in ways if self._whole(way)), key=lambda way: len(way.files), default=None)
        return best if best is not None and best.share >= LEAST else None

    def _in_folders(self, column: str, cells: list[str]) -> Iterable[Named]:
        """Images in folders that bear the cell's name, one in each, and all of one name."""
        found: dict[tuple[str, str], list[str]] = defaultdict(list)
        for cell in cells:
            inside = self._below.get(cell, ())
            if len(inside) == 1:
                before, after, path = inside[0]
                found[before, after].append(path)
        for (before, after), paths in found.items():
            if not set(before + after) & set("*?[{}"):
                yield Named(column, f"{before}{{{column}}}/{after}", tuple(paths), len(cells) - len(paths))

    def _whole(self, way: Named) -> bool:
        """Files of a DICOM folder are images of their own where a table names most of them; one slice of a series
        stands for no image."""
        folders = {PurePosixPath(path).parent for path in way.files if path in self._within}
        if not folders:
            return True
        beside = sum(PurePosixPath(path).parent in folders for path in self._within)
        return len(way.files) >= LEAST * beside

    def _elsewhere(
        self, column: str, cells: list[str], index: dict[str, list[str]], ending: str | None
    ) -> Iterable[Named]:
        """Files in other folders than the table says; `ending` None: that which most of them have."""
        found = [index[cell][0] for cell in cells if len(index.get(cell, ())) == 1]
        if not found:
            return
        if ending is None:
            endings = Counter(path[len(path) - _ending_length(path) :] for path in found)
            ending = endings.most_common(1)[0][0]
            found = [path for path in found if path.endswith(ending)]
        folders = {PurePosixPath(path).parent.as_posix() for path in found}
        start = "**/" if len(folders) > 1 else f"{folders.pop()}/".removeprefix("./")
        if not set(start) & set("?[{}") and (start == "**/" or "*" not in start):
            yield Named(column, f"{start}{{{column}}}{ending}", tuple(found), len(cells) - len(found))


def _ending_length(path: str) -> int:
    name = PurePosixPath(path).name
    return len(name) - len(without_ending(name, IMAGES) or "")


def _counted(cells: list[str], paths: list[str], known: set[str]) -> tuple[tuple[str, ...], int]:
    found = tuple(path for path in paths if path in known)
    return found, len(cells) - len(found)
