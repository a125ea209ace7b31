"""Numbers of groups of cases, and whether a group differs from the rest of the cases.

A group is held against the cases outside it, not against a whole that contains it. The p-values of all groups of a
number are adjusted together (Holm 1979).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from medvfm.core.array import Array
from medvfm.core.metric_spec import MetricSpec
from medvfm.core.protocols import Points, Predictions
from medvfm.core.result_row import ResultRow
from medvfm.engine.evaluate import Judging
from medvfm.statistics import multiplicity
from medvfm.statistics.difference import paired_test
from medvfm.statistics.estimand import Estimand
from medvfm.statistics.interval import Drawing, Interval
from medvfm.statistics.patients import Patients
from medvfm.statistics.seeds import paired
from medvfm.statistics.spread import Mixture, Spread

MISSING = "missing"
TOGETHER = "*"  # between the columns of an intersection
FEW_VALUES = 8  # distinct numbers up to which each is a group of its own
BANDS = 4
REST, GAP = "_against_rest", "_gap"
CHOSEN = "no interval: the largest and the smallest were chosen by their values"


def columns_of(wanted: Sequence[str]) -> list[str]:
    """The columns that groups and intersections are made from, each once."""
    return list(dict.fromkeys(part for column in wanted for part in column.split(TOGETHER)))


def labels(values: Array) -> Array:
    """(n,) the group of each case: the value; `missing` where there is none; of numbers that differ a band of them, in
    quarters of the cases."""
    texts = np.array([_text(value) for value in values], dtype=object)
    known = texts != MISSING
    numbers = np.array([_number(text) for text in texts[known]])
    if len(numbers) == 0 or np.isnan(numbers).any() or len(set(numbers)) <= FEW_VALUES:
        return texts
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, BANDS + 1)))
    band = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, len(edges) - 2)
    inside = [numbers[band == b] for b in range(len(edges) - 1)]
    named = [f"{part.min():g} to {part.max():g}" if len(part) else "" for part in inside]
    texts[known] = [named[b] for b in band]
    return texts


def _text(value: object) -> str:
    text = "" if value is None else str(value).strip()
    return MISSING if text.lower() in ("", "nan", "none", "<na>") else text


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def groups(predictions: Predictions, column: str, smallest: int) -> dict[str, Array]:
    """`sex=F` to (n,) which cases are in it; of an intersection `sex*site` those with so many patients at least."""
    parts = [labels(predictions.groups[name]) for name in column.split(TOGETHER)]
    joined = np.array([" ".join(values) for values in zip(*parts, strict=True)], dtype=object)
    found = {f"{column}={value}": joined == value for value in _in_order(joined)}
    if len(parts) == 1:
        return found
    return {name: mask for name, mask in found.items() if len(set(predictions.patients[mask].tolist())) >= smallest}


def _in_order(values: Array) -> list[str]:
    """By the number that they begin with, else by name."""
    first = {value: _number(str(value).partition(" ")[0]) for value in set(values)}
    return sorted(first, key=lambda v: (np.isnan(first[v]), 0.0 if np.isnan(first[v]) else first[v], v))


def rows(
    judging: Judging,
    predictions: Predictions,
    points: Points,
    columns: Sequence[str],
    *,
    smallest: int = 20,
    split: str = "test",
    note: str | None = None,
) -> list[ResultRow]:
    """Every metric of every group; each group less the rest of the cases, tested; and the gap between groups."""
    own: list[ResultRow] = []
    rest: list[tuple[ResultRow, float]] = []
    gaps: list[ResultRow] = []
    for column in columns:
        found = groups(predictions, column, smallest)
        estimates = {name: _estimands(judging, predictions, points, mask) for name, mask in found.items()}
        for name, mask in found.items():
            part = predictions.subset(mask)
            own += judging.as_rows(estimates[name], part, split=split, group=name, note=note)
            if len(found) > 1 and not mask.all():
                outside = _estimands(judging, predictions, points, ~mask)
                rest += _against(judging, predictions, estimates[name], outside, mask, split, name)
        if len(found) > 1:
            gaps += _gaps(judging, predictions, estimates, split, column)
    return [*own, *_adjusted(rest), *gaps]


def _estimands(judging: Judging, predictions: Predictions, points: Points, mask: Array) -> list[Estimand]:
    return judging.estimands(predictions.subset(mask), points)


@dataclass(frozen=True, eq=False)
class _Placed:
    """A number of some of the patients, with its influence among all of them."""

    part: Spread
    codes: Array
    count: int

    @property
    def value(self) -> float:
        return self.part.value

    @property
    def influence(self) -> Array:
        found, own = np.zeros(self.count), self.part.influence
        found[self.codes] = own
        return found

    def interval(self, drawing: Drawing) -> Interval:
        return self.part.interval(drawing)

    def minus(self, other: Spread) -> Spread | None:
        return None


def _against(
    judging: Judging,
    predictions: Predictions,
    inside: Sequence[Estimand],
    outside: Sequence[Estimand],
    mask: Array,
    split: str,
    group: str,
) -> list[tuple[ResultRow, float]]:
    """Group minus rest of every metric with an interval of its own, and the p-value of no difference."""
    made = []
    for mine, theirs in zip(inside, outside, strict=True):
        estimand = paired(partial(_apart, predictions, mask), mine, theirs)
        if estimand is None or estimand.spread is None:
            continue
        apart = estimand.spread
        (row,) = judging.as_rows([estimand], predictions, split=split, group=group)
        test = paired_test(apart, judging.drawing) if row.low is not None else None
        p = None if test is None or test.p is None else test.p
        better = row.better if row.better in ("higher", "lower") else ""
        made.append((replace(row, metric=f"{row.metric}{REST}", better=better, p=p), np.nan if p is None else p))
    return made


def _apart(predictions: Predictions, mask: Array, mine: Estimand, theirs: Estimand) -> Estimand | None:
    """Mine less theirs, of cases where mask (n,) is true and of the others; None where one has no interval."""
    if mine.value is None or theirs.value is None or mine.spread is None or theirs.spread is None:
        return None
    placed = _placed(predictions, mine.spread, theirs.spread, mask)
    low, high = mine.metric.metric.within
    within = (low - high, high - low) if np.isfinite(high - low) else (-np.inf, np.inf)
    apart = Mixture(placed, [1.0, -1.0], within)
    known = np.zeros(len(mask), dtype=bool)
    known[mask], known[~mask] = mine.known, theirs.known
    return Estimand(mine.metric, mine.target, apart.value, known, spread=apart)


def _placed(predictions: Predictions, inside: Spread, outside: Spread, mask: Array) -> list[_Placed]:
    """Both among all patients, so that cases of one patient on both sides count as such; apart from each other where
    influences are those of groups of patients."""
    whole = Patients.of(predictions.patients)
    codes = [np.unique(whole.codes[rows]) for rows in (mask, ~mask)]
    sizes = [len(part.influence) for part in (inside, outside)]
    if sizes != [len(c) for c in codes]:
        codes, count = [np.arange(sizes[0]), sizes[0] + np.arange(sizes[1])], sum(sizes)
        return [_Placed(part, c, count) for part, c in zip((inside, outside), codes, strict=True)]
    return [_Placed(part, c, whole.count) for part, c in zip((inside, outside), codes, strict=True)]


def _adjusted(found: Sequence[tuple[ResultRow, float]]) -> list[ResultRow]:
    """With p-values adjusted for all groups of the same number."""
    made: dict[int, float] = {}
    for key in dict.fromkeys((row.metric, row.target) for row, _ in found):
        places = [n for n, (row, _) in enumerate(found) if (row.metric, row.target) == key]
        adjusted = multiplicity.holm(np.array([found[n][1] for n in places]))
        made |= dict(zip(places, adjusted.tolist(), strict=True))
    return [replace(row, p_adjusted=None if np.isnan(made[n]) else float(made[n])) for n, (row, _) in enumerate(found)]


def _gaps(
    judging: Judging, predictions: Predictions, estimates: Mapping[str, Sequence[Estimand]], split: str, column: str
) -> list[ResultRow]:
    """The largest value of a group less the smallest, of every number that two groups have."""
    made = []
    for number in range(len(next(iter(estimates.values())))):
        found = {name: e[number] for name, e in estimates.items() if number < len(e)}
        values = {name: e.value for name, e in found.items() if e.value is not None}
        if len(values) < 2:
            continue
        most, least = max(values, key=lambda n: values[n]), min(values, key=lambda n: values[n])
        spec: MetricSpec = found[most].metric
        said = f"largest in {most.partition('=')[2]}, smallest in {least.partition('=')[2]}, of {len(values)} groups"
        everyone = np.ones(len(predictions.ids), dtype=bool)
        estimand = Estimand(
            spec, found[most].target, values[most] - values[least], everyone, notes=(said,), bare=CHOSEN
        )
        (row,) = judging.as_rows([estimand], predictions, split=split, group=f"gap={column}")
        made.append(replace(row, metric=f"{row.metric}{GAP}", better=""))
    return made
