"""What decoders written in C print on standard error: kept from the screen, and read, since some say only there that
a frame is damaged."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_STDERR = 2
_LOCK = threading.Lock()
_TERMINAL = (b"\x1b", b"\r")  # of a progress bar that another thread draws meanwhile


@contextmanager
def held_back() -> Iterator[list[str]]:
    """The lines that C code prints within the block, in the list once the block has ended. Nested calls see nothing.

    Standard error belongs to the process: what a terminal's progress bar drew meanwhile is put back on the screen.
    """
    lines: list[str] = []
    if not _LOCK.acquire(blocking=False):
        yield lines
        return
    try:
        try:
            screen = os.dup(_STDERR)
        except OSError:  # a program without a standard error, as a service may be
            yield lines
            return
        with tempfile.TemporaryFile() as file:
            os.dup2(file.fileno(), _STDERR)
            try:
                yield lines
            finally:
                os.dup2(screen, _STDERR)
                file.seek(0)
                printed = file.read()
                if any(mark in printed for mark in _TERMINAL):
                    with suppress(OSError):
                        os.write(screen, printed)
                else:
                    lines += [line for line in printed.decode("utf-8", "replace").splitlines() if line.strip()]
                os.close(screen)
    finally:
        _LOCK.release()
