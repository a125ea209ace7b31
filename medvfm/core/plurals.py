"""Numbers with their nouns, and the first few of many names."""

from __future__ import annotations

from collections.abc import Sequence

NAMED = 5


def plural(amount: int, noun: str) -> str:
    """`1 patient`, `70 patients`, `2 studies`, `3 series`, `12,000 cases`."""
    return f"{amount:,} {in_number(amount, noun)}"


def in_number(amount: int, noun: str) -> str:
    """The noun as it stands behind an amount."""
    if amount == 1 or noun.endswith("series"):
        return noun
    return noun[:-1] + "ies" if noun.endswith("y") else noun + "s"


def have(amount: int, noun: str) -> str:
    """`1 case has`, `3 cases have`."""
    return f"{plural(amount, noun)} {'has' if amount == 1 else 'have'}"


def some(names: Sequence[object]) -> str:
    """`a, b, c`; of more than five the first, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(map(str, names[:NAMED])) + more
