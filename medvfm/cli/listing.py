"""Names and what they are, in two columns that fit the terminal."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from shutil import get_terminal_size

NAME_WIDTH = 34


def show(found: Sequence[tuple[str, str]], *, none: str = "nothing") -> None:
    """A line each where the output is no terminal, so that it can be searched; on one, words are not broken."""
    if not found:
        print(none)
    width = get_terminal_size().columns if sys.stdout.isatty() else 0
    for name, summary in found:
        if not width or len(name) >= NAME_WIDTH:
            print(f"{name:<{NAME_WIDTH}} {summary}".rstrip())
            continue
        hanging = " " * (NAME_WIDTH + 1)
        lines = textwrap.wrap(summary, max(30, width - NAME_WIDTH - 1), break_long_words=False) or [""]
        print(f"{name:<{NAME_WIDTH}} {lines[0]}".rstrip(), *(hanging + line for line in lines[1:]), sep="\n")
