"""Content hashes of files and folders, used as cache keys."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from medvfm.core.errors import UnreadableImage
from medvfm.io import cache

_KNOWN = cache.TextCache("hashes")  # by (path, size, time of change, inode): unchanged files are not read again


def content_keys(groups: Iterable[Sequence[Path]]) -> list[str | Exception]:
    """`content_key` of many, remembering the hashes once at the end; a file that cannot be read gives its error."""
    found: list[str | Exception] = []
    for files in groups:
        try:
            found.append(_key(files))
        except (UnreadableImage, OSError) as error:
            found.append(
                error if isinstance(error, UnreadableImage) else UnreadableImage(f"cannot be read: {error.strerror}")
            )
    _KNOWN.save()
    return found


def content_key(files: Sequence[Path]) -> str:
    """One hash over the content of files, or of everything in folders; names do not matter, the order of files does."""
    try:
        return _key(files)
    finally:
        _KNOWN.save()


def _key(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        try:
            if path.is_dir():
                parts = sorted(_hash(name, stat) for name, stat in _inside(str(path.absolute())))
                if not parts:
                    raise UnreadableImage("an empty folder", where=path.name)
            else:
                parts = [_hash(str(path.absolute()), path.stat())]
        except FileNotFoundError:
            raise UnreadableImage("no such file or folder", where=path.name) from None
        except OSError as failed:
            raise UnreadableImage(f"cannot be read: {failed.strerror}", where=path.name) from failed
        digest.update("".join(parts).encode())
    return digest.hexdigest()[:32]


def _hash(path: str, stat: os.stat_result) -> str:
    """sha256 of a file's content; `path` is absolute."""
    place = f"{path}|{stat.st_size}|{stat.st_mtime_ns}|{stat.st_ino}"
    key = hashlib.blake2b(place.encode(), digest_size=16).hexdigest()  # paths may name patients
    known = _KNOWN.get(key)
    if known is None:
        with open(path, "rb") as file:  # noqa: PTH123 - thousands of files: a Path each takes longer than the rest
            known = hashlib.file_digest(file, "sha256").hexdigest()
        _KNOWN.put(key, known)
    return known


def _inside(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    """Every file below a folder."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _inside(entry.path)
            else:
                yield entry.path, entry.stat()
