"""Progress of long work: progress bars on a terminal, plain lines otherwise. Never patient data."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

Item = TypeVar("Item")
EVERY_S = 10.0


class Console:
    """Lines and progress on standard error, so that standard output stays for results."""

    def __init__(self, stream: TextIO | None = None, quiet: bool = False) -> None:
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._bars = None if quiet or not self._stream.isatty() else self._stream

    def say(self, line: str) -> None:
        """One line, at once."""
        if not self._quiet:
            print(line, file=self._stream, flush=True)

    def track(self, items: Iterable[Item], total: int, label: str) -> Iterator[Item]:
        """Pass the items on and show how far it is."""
        if self._bars is not None:
            yield from self._bar(items, total, label)
            return
        start = shown = time.monotonic()
        for done, item in enumerate(items, 1):
            yield item
            if time.monotonic() - shown > EVERY_S and done < total:
                shown = time.monotonic()
                self.say(f"  {label}: {done}/{total}")
        self.say(f"  {label}: {total}/{total} in {time.monotonic() - start:.0f} s")

    def _bar(self, items: Iterable[Item], total: int, label: str) -> Iterator[Item]:
        from rich.console import Console as Terminal
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Terminal(file=self._bars)) as progress:
            yield from progress.track(items, total=total, description=label)


SILENT = Console(quiet=True)
