"""Conditions that no training case has together, so that a generator must put them together itself (composition)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medvfm.core.array import Array
from medvfm.core.case import Case
from medvfm.core.errors import RecipeError, nearest

Value = bool | int | float | str


@dataclass(frozen=True)
class Combination:
    """conditions: name and value, of a class true or false, of a column of the cases table what stands there."""

    conditions: tuple[tuple[str, Value], ...]

    @property
    def name(self) -> str:
        """`lesion+no ventricles+sex F`."""
        return "+".join(_named(name, value) for name, value in self.conditions)

    def met(self, case: Case) -> list[float]:
        """For each condition 1 where the case has it, 0 where it has not, NaN where that is unknown."""
        return [_met(case, name, value) for name, value in self.conditions]

    def possible(self, case: Case) -> bool:
        """No condition is known to differ."""
        return 0.0 not in self.met(case)


def combinations(given: Sequence[Mapping[str, Value]]) -> tuple[Combination, ...]:
    return tuple(Combination(tuple(conditions.items())) for conditions in given)


def refuse(
    given: Sequence[Mapping[str, Value]], classes: Sequence[str], columns: Sequence[str], where: Callable[[int], str]
) -> None:
    """RecipeError where one has fewer than two conditions, or names what is neither a class of the task, true or false,
    nor a column."""
    for number, conditions in enumerate(given):
        if len(conditions) < 2:
            raise RecipeError("two conditions or more are held out together", where=where(number))
        for name, value in conditions.items():
            if name in classes:
                if value not in (0, 1):
                    raise RecipeError(f"{name} is a class, and true or false; not {value!r}", where=where(number))
            elif name not in columns:
                known = nearest(name, [*classes, *columns])
                raise RecipeError(f"no class of this task and no column {name!r}; {known}", where=where(number))


def met(cases: Sequence[Case], held_out: Sequence[Combination]) -> Array | None:
    """(n, L) of `Combination.met` for the L conditions of all combinations, one combination after the other."""
    if not held_out:
        return None
    rows = [[value for combination in held_out for value in combination.met(case)] for case in cases]
    return np.array(rows, float).reshape(len(cases), sum(len(c.conditions) for c in held_out))


def _met(case: Case, name: str, value: Value) -> float:
    if name in case.targets:
        own = case.target(name)
        return own if np.isnan(own) else float((own >= 0.5) == bool(value))
    given = case.groups.get(name)
    if given is None or given == "" or (isinstance(given, float) and np.isnan(given)):
        return float("nan")
    return float(_text(given) == _text(value))


def _text(value: Value) -> str:
    """`63` of 63, 63.0 and `63`."""
    try:
        return f"{float(value):g}"
    except ValueError:
        return str(value).strip()


def _named(name: str, value: Value) -> str:
    if isinstance(value, bool) or value in (0, 1):
        return name if value else f"no {name}"
    return f"{name} {_text(value)}"
