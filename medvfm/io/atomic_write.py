"""Atomic file writes: a file is written under a temporary name in the same folder, then renamed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: Path, *, sync: bool = False) -> Iterator[Path]:
    """A temporary file to write to, which replaces `path` when the block ends, and is removed when the block fails.

    So another process, or the next one after a kill, finds the whole file or none. Errors are the caller's to explain.

    sync  wait until the bytes are on the disk (fsync) before the rename, so that a power failure leaves no empty file
    """
    part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))  # never another's file, nor through a link
    try:
        yield part
        if sync:
            with part.open("r+b") as file:
                os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
