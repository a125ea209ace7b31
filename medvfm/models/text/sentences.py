"""Sentences of a report."""

from __future__ import annotations

import re

# An end is followed by white space; not after single letters and what is commonly shortened, nor between digits. A line
# that begins with a small letter goes on with the line before it, as reports of fixed width are broken.
_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n[^\S\n]*\n\s*|\n\s*(?![a-z\s])")
_SHORT = re.compile(r"(?:\b[A-Za-z]|\b(?:Dr|Mr|Mrs|Ms|Prof|vs|approx|resp|Fig|ca|cf|e\.g|i\.e|St))\.$")
_NUMBER = re.compile(r"\b[Nn]o\.$")  # number, where digits follow; otherwise a whole answer
_ITEM = re.compile(r"(?:^|[:;] )\d{1,2}[.)]$")


def spelled(text: str) -> str:
    """One spelling of texts that say the same: white space collapsed, case folded."""
    return " ".join(text.split()).casefold()


def sentences(text: str) -> list[str]:
    """The sentences of a text, in order, without empty ones and numbers of a list; [] for an empty text."""
    found: list[str] = []
    for piece in _END.split(text):
        part = " ".join(piece.split())
        if not part:
            continue
        if found and _goes_on(found[-1], part):
            found[-1] = f"{found[-1]} {part}"
        else:
            found.append(part)
    return [part for part in found if any(letter.isalnum() for letter in part)]


def _goes_on(before: str, part: str) -> bool:
    """What seemed to end a sentence does not: a shortened word, or the number of an item."""
    return bool(_SHORT.search(before) or _ITEM.search(before) or (_NUMBER.search(before) and part[0].isdigit()))
