"""Texts as words: what of an answer is compared, stated once for every protocol.

words      lower case, split at white space, marks at the ends of words taken away: `Left-sided, 3.5 mm.` is
           `left-sided`, `3.5` and `mm`. Marks within a word stay, so that 3.5 is not 35; articles stay.
plain      the words without articles, joined by spaces; a text of nothing but articles keeps them (the option `A`).
"""

from __future__ import annotations

import unicodedata

ARTICLES = frozenset({"a", "an", "the"})
MARKS = ".,;:!?\"'`()[]{}<>*_~|\\/“”‘’«»¿¡。，；：！？、（）《》【】…"


def words(text: str) -> list[str]:
    """Words of a text in order."""
    stripped = (part.strip(MARKS) for part in unicodedata.normalize("NFKC", text).lower().split())
    return [word for word in stripped if word]


def plain(text: str) -> str:
    """The text as exact match compares it."""
    found = words(text)
    return " ".join([word for word in found if word not in ARTICLES] or found)
