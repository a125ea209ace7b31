"""Progress of long work: progress bars on a terminal, plain lines otherwise. Never patient data."""

from __future__ import annotations

import atexit
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO, TypeVar

if TYPE_CHECKING:  # rich is imported where a bar is drawn
    from rich.progress import Progress, TaskID

Item = TypeVar("Item")
EVERY_S = 5.0  # between plain lines
CLOCK_S = 2.0  # from which on a step shows how long it has been at work


class Console:
    """Lines and progress on standard error, so that standard output stays for results.

    On a terminal nothing is silent: whatever runs inside `working` or `track` has a line that moves. Steps within steps
    share one display, an inner one below the outer.
    """

    def __init__(self, stream: TextIO | None = None, quiet: bool = False) -> None:
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._on_terminal = not quiet and self._stream.isatty()
        self._display: Progress | None = None
        self._shown = 0  # steps on the display

    def say(self, line: str) -> None:
        """One line, at once."""
        if self._quiet:
            return
        if self._display is not None:  # above what moves
            self._display.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=self._stream, flush=True)

    @contextmanager
    def working(self, label: str) -> Iterator[None]:
        """A step that cannot count how far it is: on a terminal a line with the time that it takes."""
        if not self._on_terminal:
            self.say(f"  {label}")
            yield
            return
        display, task = self._add(label, None)
        try:
            yield
        finally:
            self._remove(display, task)

    def track(self, items: Iterable[Item], total: int, label: str, *, done: bool = True) -> Iterator[Item]:
        """Pass the items on and show how far it is; `done` says a line at the end."""
        if self._on_terminal:
            yield from self._bar(items, total, label, done)
            return
        start = shown = time.monotonic()
        for number, item in enumerate(items, 1):
            yield item
            if time.monotonic() - shown > EVERY_S and number < total:
                shown = time.monotonic()
                left = (shown - start) * (total - number) / number
                told = f", about {_time(left)} left" if number > 1 else ""  # the first may be one of many made at once
                self.say(f"  {label}: {number}/{total}{told}")
        if done:
            self.say(f"  {label}: {total}/{total} in {_time(time.monotonic() - start)}")

    def _bar(self, items: Iterable[Item], total: int, label: str, done: bool) -> Iterator[Item]:
        start, (display, task) = time.monotonic(), self._add(label, total)
        try:
            for item in items:
                yield item
                display.advance(task)
        finally:
            self._remove(display, task)
        if done:
            self.say(f"  {label}: {total}/{total} in {_time(time.monotonic() - start)}")

    def _add(self, label: str, total: int | None) -> tuple[Progress, TaskID]:
        if self._display is None:
            self._display = _progress(self._stream)
            self._display.start()
            atexit.register(self._display.stop)  # an error passes by here: the cursor comes back all the same
        self._shown += 1
        return self._display, self._display.add_task(label, total=total)

    def _remove(self, display: Progress, task: TaskID) -> None:
        display.remove_task(task)
        self._shown -= 1
        if self._shown == 0 and self._display is not None:
            self._display.stop()
            atexit.unregister(self._display.stop)
            self._display = None


def _progress(stream: TextIO) -> Progress:
    """Spinner, label, and for what can be counted a bar, the count and the time left; else the time taken."""
    from rich.console import Console as Terminal
    from rich.progress import BarColumn, Progress, SpinnerColumn, Task, TextColumn
    from rich.text import Text

    class Amount(TextColumn):
        def render(self, task: Task) -> Text:
            if task.total is None:
                return Text(_time(task.elapsed) if (task.elapsed or 0) >= CLOCK_S else "", style="dim")
            left = task.time_remaining
            count = f"{task.completed:.0f}/{task.total:.0f}"
            return Text(count if left is None else f"{count}, {_time(left)} left")

    class Bar(BarColumn):
        def render(self, task: Task):
            return Text("") if task.total is None else super().render(task)

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), Bar(bar_width=24), Amount(""))
    return Progress(*columns, console=Terminal(file=stream, force_terminal=True), transient=True)


def _time(seconds: float | None) -> str:
    """`48 s`, `5 min 31 s`, `2 h 4 min`."""
    whole = max(0, round(seconds or 0))
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


SILENT = Console(quiet=True)
