"""On-disk cache of prepared arrays and features, keyed by content hash and transform.

Everything lies below the user's cache folder (MEDVFM_CACHE, else XDG_CACHE_HOME/medvfm). Files are written beside
their name and moved into place, so that several processes can share it and a kill leaves no half of a file. What is
damaged is computed again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from medvfm.core.errors import DataError
from medvfm.io import user_folders
from medvfm.io.atomic_write import atomic_write

LIMIT_GIB = float(os.environ.get("MEDVFM_CACHE_GIB", "50"))


def folder(kind: str) -> Path:
    """Folder of one kind of cached files."""
    base = user_folders.cache()
    return base / kind if kind else base


def usage() -> list[tuple[str, int, int]]:
    """Kind, number of files, bytes."""
    base = folder("")
    found = []
    for place in sorted(p for p in base.glob("*") if p.is_dir()):
        sizes = [f.stat().st_size for f in place.rglob("*") if f.is_file()]
        found.append((place.name, len(sizes), sum(sizes)))
    return found


def clear(kind: str) -> None:
    """Delete everything of a kind."""
    shutil.rmtree(folder(kind), ignore_errors=True)


@contextmanager
def _cached_file(path: Path, where: Path) -> Iterator[Path]:
    """A temporary file that becomes `path`; `where` is the folder that an error names."""
    user_folders.made(path.parent)
    try:
        with atomic_write(path) as part:
            yield part
    except OSError as failed:
        raise DataError(f"the cache cannot be written: {failed.strerror}", where=where) from failed


class TextCache:
    """Short texts by key in one JSON file, to which several processes add."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._known: dict[str, str] = {}
        self._new: dict[str, str] = {}
        self._loaded_from: Path | None = None

    def get(self, key: str) -> str | None:
        place = folder(self._kind) / "table.json"
        if self._loaded_from != place:
            self._loaded_from, self._known = place, _read_texts(place)
        return self._new.get(key) or self._known.get(key)

    def put(self, key: str, text: str) -> None:
        """Remember for this process; `save` writes."""
        self._new[key] = text

    def save(self) -> None:
        if not self._new:
            return
        place = folder(self._kind) / "table.json"
        user_folders.made(place.parent)
        with FileLock(place.with_suffix(".lock")):
            self._known = {**_read_texts(place), **self._new}
            with _cached_file(place, place.parent) as part:
                part.write_text(json.dumps(self._known))
        self._loaded_from, self._new = place, {}


def _read_texts(place: Path) -> dict[str, str]:
    try:
        return dict(json.loads(place.read_text()))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}


class ArrayCache:
    """Arrays as .npy files that are memory-mapped when read."""

    def __init__(self, kind: str, limit_gib: float = LIMIT_GIB) -> None:
        self._folder, self._limit = folder(kind), int(limit_gib * 2**30)
        self._written = 0

    def _path(self, key: str) -> Path:
        name = hashlib.sha256(key.encode()).hexdigest()[:40]
        return self._folder / name[:2] / f"{name[2:]}.npy"

    def has(self, key: str) -> bool:
        return self._path(key).is_file()

    def put(self, key: str, array: np.ndarray) -> None:
        """Keep an array; the oldest ones make room where the limit is reached."""
        path = self._path(key)
        with _cached_file(path, self._folder) as part, part.open("wb") as file:
            np.save(file, array, allow_pickle=False)
        self._written += array.nbytes
        if self._written > self._limit // 20:
            self._written = 0
            self.trim()

    def get(self, key: str) -> np.ndarray | None:
        """The array, read only and memory-mapped; None where it is not, or is damaged."""
        path = self._path(key)
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (FileNotFoundError, ValueError, EOFError, OSError):
            return None
        os.utime(path)
        return array

    def get_or_make(self, key: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        found = self.get(key)
        if found is not None:
            return found
        made = make()
        self.put(key, made)
        return made

    def trim(self) -> None:
        """Remove what was used longest ago until the limit holds."""
        files = [(f.stat().st_mtime, f.stat().st_size, f) for f in self._folder.rglob("*.npy")]
        total = sum(size for _, size, _ in files)
        for _, size, file in sorted(files, key=lambda entry: entry[0]):
            if total <= self._limit:
                break
            file.unlink(missing_ok=True)
            total -= size


class FeatureStore:
    """Feature rows of images, for one model and one way of preparing: a few safetensors files, each with many rows."""

    def __init__(self, key: str) -> None:
        self._folder = folder("features") / key

    def get(self, keys: Sequence[str]) -> dict[str, np.ndarray]:
        """The rows that are stored."""
        wanted = set(keys)
        found: dict[str, np.ndarray] = {}
        for shard in sorted(self._folder.glob("*.safetensors")):
            if not wanted:
                break
            try:
                index = json.loads(shard.with_suffix(".json").read_text())
                here = [(row, k) for row, k in enumerate(index) if k in wanted]
                if here:
                    values = load_file(shard)["values"]
                    found |= {k: values[row] for row, k in here}
            except (FileNotFoundError, ValueError, SafetensorError, KeyError, IndexError):
                shard.unlink(missing_ok=True)
                continue
            wanted -= found.keys()
        return found

    def put(self, rows: Mapping[str, np.ndarray]) -> None:
        """Add rows as a file of their own."""
        if not rows:
            return
        names = list(rows)
        values = np.stack([rows[n] for n in names]).astype(np.float32)
        stem = hashlib.sha256("".join(names).encode()).hexdigest()[:16]
        with _cached_file(self._folder / f"{stem}.json", self._folder) as part:
            part.write_text(json.dumps(names))
        with _cached_file(self._folder / f"{stem}.safetensors", self._folder) as part:
            save_file({"values": values}, part)
