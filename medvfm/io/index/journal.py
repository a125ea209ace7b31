"""Progress journal of an index on disk: an interrupted index resumes, and unchanged files are not read again.

It lies beside the table. Each block is a length and zlib-packed JSON, appended by a single write; a block that a kill
cut short is dropped. Paths are keyed hashes, and so is all that would name a patient, unless the table has it plain.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medvfm.core.errors import DataError

VERSION = 1  # to be raised when the facts of a file change, so that older journals are not used
_LENGTH = struct.Struct("<L")


class Journal:
    """Facts by file and state of the file; `key` hashes the paths."""

    def __init__(self, path: Path, key: bytes, kind: str) -> None:
        self.path, self._key = path, key
        check = hashlib.blake2b(kind.encode(), key=key[:64], digest_size=8).hexdigest()
        self._head = {"version": VERSION, "kind": kind, "key": check}
        self._known = self._load()

    def get(self, name: str, stat: os.stat_result) -> Mapping[str, Any] | None:
        """What was read of the file `name` (relative to the root) while it was as it is now; {} for no image."""
        return self._known.get(self.place(name, stat))

    def add(self, block: Mapping[str, Mapping[str, Any]], packed_block: bytes) -> None:
        """Keep what was read, by `place`, at once; packed where it was read, so that one process need not pack all."""
        self._known |= block
        new = b"" if self.path.exists() else packed(self._head)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as file:
                file.write(new + packed_block)
        except OSError as failed:
            raise DataError(f"progress cannot be written: {failed.strerror}", where=self.path) from failed

    def place(self, name: str, stat: os.stat_result) -> str:
        """Under which the facts of a file are kept while it is as it is now."""
        text = f"{name}|{stat.st_size}|{stat.st_mtime_ns}|{stat.st_ino}"
        return hashlib.blake2b(os.fsencode(text), key=self._key[:64], digest_size=16).hexdigest()

    def _load(self) -> dict[str, Mapping[str, Any]]:
        """The blocks that are whole; a journal of another version, key or kind is begun anew."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as failed:
            raise DataError(f"progress cannot be read: {failed.strerror}", where=self.path) from failed
        found: dict[str, Mapping[str, Any]] = {}
        at, first = 0, True
        while (block := _unpacked(data, at)) is not None:
            at += _LENGTH.size + _LENGTH.unpack_from(data, at)[0]
            if first and block != self._head:
                at = 0
                break
            found |= {} if first else block
            first = False
        if at == 0:
            self.path.unlink()
            return {}
        if at < len(data):
            os.truncate(self.path, at)
        return found


def packed(block: Mapping[str, Any]) -> bytes:
    """A block as it is appended."""
    data = zlib.compress(json.dumps(block, separators=(",", ":")).encode(), 1)
    return _LENGTH.pack(len(data)) + data


def _unpacked(data: bytes, at: int) -> dict[str, Any] | None:
    if at + _LENGTH.size > len(data):
        return None
    end = at + _LENGTH.size + _LENGTH.unpack_from(data, at)[0]
    try:
        return json.loads(zlib.decompress(data[at + _LENGTH.size : end])) if end <= len(data) else None
    except (zlib.error, ValueError):
        return None
