"""Sentences of a report."""

from __future__ import annotations

import re

# An end is followed by white space; not after single letters and what is commonly shortened, nor between digits.
_END = re.compile(r"(?<=[.!?。！？])\s+|(?<=[。！？])|\n+")
_SHORT = re.compile(r"(?:\b[A-Za-z]|\b(?:Dr|Mr|Mrs|Ms|Prof|vs|approx|resp|Fig|No|ca|cf|e\.g|i\.e|St))\.$")


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
        if found and (_SHORT.search(found[-1]) or re.fullmatch(r"\d{1,2}[.)]", found[-1])):
            found[-1] = f"{found[-1]} {part}"
        else:
            found.append(part)
    return [part for part in found if any(letter.isalnum() for letter in part)]
