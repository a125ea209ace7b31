"""A table as text, which the page and the terminal print alike."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PlainTable:
    """Cells without marks of any kind; the first column names what a row is of.

    notes  what explains each row, or an empty text
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
