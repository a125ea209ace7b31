"""Numbers with their nouns."""

from __future__ import annotations


def plural(amount: int, noun: str) -> str:
    """`1 patient`, `70 patients`, `2 studies`, `3 series`, `12,000 cases`."""
    return f"{amount:,} {in_number(amount, noun)}"


def in_number(amount: int, noun: str) -> str:
    """The noun as it stands behind an amount."""
    if amount == 1 or noun.endswith("series"):
        return noun
    return noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
