"""Class labels and group values of a case, from the fields of its rows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from medvfm.core.errors import DataCardError, DataError, nearest
from medvfm.core.layout import Class, Group
from medvfm.io.dataset.layout_rows import LayoutRow, as_text, is_unknown, spellings

POLICY = {"ignore": np.nan, "zero": 0.0, "one": 1.0, "soft": 0.5}


class Labels:
    """The classes of a layout, looked up in rows: 1, 0, what the policy makes of uncertain ones, or NaN for unknown."""

    def __init__(self, classes: Mapping[str, str | Class], policy: str) -> None:
        self._policy = policy
        entries = {n: Class(column=e) if isinstance(e, str) else e for n, e in classes.items()}
        self._classes = [(name, entry, _meanings(entry, policy)) for name, entry in entries.items()]

    def of(self, rows: Sequence[LayoutRow], repeated: Literal["refuse", "any", "majority"]) -> dict[str, float]:
        """The labels of a case from its rows."""
        found = [{name: _target(name, entry, known, row) for name, entry, known in self._classes} for row in rows]
        return found[0] if len(found) == 1 else self._combined(found, repeated)

    def _combined(self, rows: list[dict[str, float]], repeated: str) -> dict[str, float]:
        table = np.array([list(row.values()) for row in rows], dtype=float).reshape(len(rows), -1)
        found = {}
        for name, column in zip(rows[0], table.T, strict=True):
            known = column[~np.isnan(column)]
            if not len(known):
                found[name] = float(np.nan)
            elif repeated == "any":
                found[name] = float(known.max())
            else:
                share = float(known.mean())
                found[name] = POLICY[self._policy] if share == 0.5 else float(share > 0.5)
        return found


def _plain(value: object) -> str:
    """A cell as text, whole numbers without their decimals: CheXpert writes 1.0 for 1."""
    return re.sub(r"^(-?[0-9]+)\.0+$", r"\1", as_text(value))


def _meanings(entry: Class, policy: str) -> dict[str, float]:
    """Value as text to 1, 0, or what the policy makes of uncertain ones. Lists are not looked up by value."""
    if entry.contains is not None:
        return {"": 0.0} if "" in entry.negative else {}
    found: dict[str, float] = {}
    given = ((entry.uncertain, float(POLICY[policy])), (entry.negative, 0.0), (entry.positive, 1.0))
    for values, meaning in given:
        found |= dict.fromkeys((_plain(text) for value in values for text in spellings(value)), meaning)
    return found


def _target(name: str, entry: Class, known: Mapping[str, float], row: LayoutRow) -> float:
    if entry.column not in row.fields:
        choices = nearest(entry.column, {*row.fields, *row.columns})
        raise DataCardError(f"no column {entry.column!r} for a class; {choices}", where=row.place)
    value = _plain(row[entry.column])
    if value in known:
        return known[value]
    if is_unknown(value):
        return float(np.nan)
    if entry.contains is not None:
        wanted = {entry.contains} if isinstance(entry.contains, str) else {*entry.contains}
        return float(bool(wanted & {part.strip() for part in value.split(entry.separator)}))
    if entry.other == "refuse":
        named = f"class {name} has the value {value!r}, and the card names {', '.join(map(repr, known))}"
        raise DataError(named, where=row.place, remedy=_remedy(value, known))
    return {"positive": 1.0, "negative": 0.0}.get(entry.other, float(np.nan))


def _remedy(value: str, known: Mapping[str, float]) -> str:
    """What to change in the card: quotes, where YAML has read a code as a number."""
    if value[:1] == "0" and value.lstrip("0") in known:
        return f"write {value!r} in quotes in the card, since YAML reads it as the number {value.lstrip('0')}"
    return "name it under positive, negative or uncertain of the class, or say what `other` values are"


def group(name: str, entry: str | Group, row: LayoutRow) -> str | float | None:
    """The value of a group column: a name, a number or a band of numbers; None where it is unknown."""
    entry = Group(value=entry) if isinstance(entry, str) else entry
    value = row.filled(entry.value)
    if is_unknown(value):
        return None
    if not entry.number and not entry.bands:
        return entry.map.get(value, value)
    try:
        number = float(entry.map.get(value, value))
    except ValueError:
        raise DataError(f"column {name} holds {value!r}, and the card says a number", where=row.place) from None
    if not entry.bands:
        return number
    band = _band(number, entry.bands)
    return entry.map.get(band, band)


def _band(number: float, cuts: tuple[float, ...]) -> str:
    below = [c for c in cuts if c <= number]
    above = [c for c in cuts if c > number]
    if not below:
        return f"under {cuts[0]:g}"
    return f"{below[-1]:g} and over" if not above else f"{below[-1]:g} to {above[0]:g}"
