"""Runs beside each other on the same cases: paired differences, their tests, and who may stand above whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd

from medvfm.core.array import Array
from medvfm.core.errors import RunError
from medvfm.core.plurals import plural, some
from medvfm.core.protocols import Points, Predictions, Record
from medvfm.engine.evaluate import Judging
from medvfm.statistics import multiplicity
from medvfm.statistics.difference import Kind, PairedTest, paired_test, same
from medvfm.statistics.estimand import Estimand
from medvfm.statistics.seeds import difference

Adjust = Literal["holm", "benjamini_hochberg"]
ADJUST = {"holm": multiplicity.holm, "benjamini_hochberg": multiplicity.benjamini_hochberg}
SAME_NOTE = "no case tells the two apart"
SHOWN = 5


@dataclass(frozen=True, eq=False)
class ComparedRun:
    """One run of a comparison: what it is called, its answers to the test cases, and what was fixed for it.

    ids  (n) the case_id behind each name in its tables, where the run can tell; else the names
    """

    name: str
    predictions: Predictions
    points: Points
    ids: tuple[str, ...]


def aligned(entries: Sequence[ComparedRun]) -> list[ComparedRun]:
    """The runs with their cases in the order of the first; refuses other cases, other truths, patients or folds."""
    first = entries[0]
    found = [first]
    for other in entries[1:]:
        _refuse_other_cases(first, other)
        if other.ids != first.ids:
            place = {case_id: row for row, case_id in enumerate(other.ids)}
            if len(place) != len(other.ids) or len(set(first.ids)) != len(first.ids):
                raise RunError("a case has several answers, and they stand in another order", where=other.name)
            rows = np.array([place[case_id] for case_id in first.ids], dtype=int)
            other = replace(other, predictions=other.predictions.subset(rows), ids=first.ids)
        _refuse_other_truth(first, other)
        for what, ours, theirs in (
            ("patients", first.predictions.patients, other.predictions.patients),
            ("folds", first.predictions.fold, other.predictions.fold),
        ):
            apart = _parted_otherwise(ours, theirs)
            if len(apart):
                raise RunError(
                    f"the {what} of {plural(len(apart), 'case')} differ from those of {first.name}: "
                    f"{some([first.ids[r] for r in apart])}",
                    where=other.name,
                    remedy=f"runs are compared on the same cases in the same {what}",
                )
        found.append(other)
    return found


def _refuse_other_cases(first: ComparedRun, other: ComparedRun) -> None:
    only_first = [i for i in dict.fromkeys(first.ids) if i not in set(other.ids)]
    only_other = [i for i in dict.fromkeys(other.ids) if i not in set(first.ids)]
    said = [
        f"{plural(len(ids), 'case')} of {whose.name} are not in {lacks.name}: {some(ids)}"
        for ids, whose, lacks in ((only_first, first, other), (only_other, other, first))
        if ids
    ]
    if said or len(first.ids) != len(other.ids):
        raise RunError(
            "; ".join(said) or f"{len(first.ids)} answers of {first.name}, {len(other.ids)} of {other.name}",
            remedy="runs are compared on the same test cases",
        )


def _refuse_other_truth(first: ComparedRun, other: ComparedRun) -> None:
    ours, theirs = (_truth(entry.predictions) for entry in (first, other))
    if ours is None or theirs is None:
        return
    if len(ours) != len(theirs) or list(ours["target"]) != list(theirs["target"]):
        named = [list(dict.fromkeys(part["target"])) for part in (ours, theirs)]
        raise RunError(f"other targets ({some(named[1])}) than {first.name} ({some(named[0])})", where=other.name)
    per_case = len(ours) // len(first.ids)
    apart = [r for r, (a, b) in enumerate(zip(ours["truth"], theirs["truth"], strict=True)) if not _alike(a, b)]
    if apart:
        cases = list(dict.fromkeys(first.ids[r // per_case] for r in apart))
        raise RunError(
            f"the truth of {plural(len(cases), 'case')} differs from that of {first.name}: {some(cases)}",
            where=other.name,
            remedy="runs are compared on the same truth",
        )


def _truth(predictions: Predictions) -> pd.DataFrame | None:
    """Target and truth of every row; None for a task that states none."""
    table = predictions.as_frame("test", {str(p): str(p) for p in predictions.patients}, None)
    return table if "truth" in table and len(table) else None


def _alike(one: object, other: object) -> bool:
    if isinstance(one, float | int) and isinstance(other, float | int):
        return bool(np.isclose(one, other, rtol=1e-6, atol=1e-9, equal_nan=True))
    return one == other or (one is None and other is None)


def _parted_otherwise(ours: Array, theirs: Array) -> Array:
    """Rows of the cases that are together in one and apart in the other, whatever the parts are called."""
    a, b = (np.unique(side.astype(str), return_inverse=True)[1] for side in (ours, theirs))
    pairs = np.unique(np.stack([a, b], axis=1), axis=0)
    of_a, of_b = np.bincount(pairs[:, 0]), np.bincount(pairs[:, 1])
    return np.flatnonzero((of_a[a] > 1) | (of_b[b] > 1))


@dataclass(frozen=True)
class Asked:
    """How p-values are adjusted, which kind of test is taken where there is a choice, and metric to the margin within
    which runs count as good as each other."""

    adjust: Adjust = "holm"
    test: Kind = "auto"
    margins: Mapping[str, float] | None = None


@dataclass(frozen=True, eq=False)
class Comparison:
    """Rows of run.json, the leaderboard, and differences of single cases where the task has values of them."""

    rows: list[Record]
    leaderboard: list[Record]
    primary: Record
    cases: pd.DataFrame | None


def compared(judging: Judging, entries: Sequence[ComparedRun], asked: Asked) -> Comparison:
    """Every number of every run, every difference of two, and the places that tests support."""
    estimands = {e.name: judging.estimands(e.predictions, e.points) for e in entries}
    values = [
        asdict(row) | {"model": e.name} for e in entries for row in judging.as_rows(estimands[e.name], e.predictions)
    ]
    pairs: list[tuple[ComparedRun, ComparedRun, Estimand, PairedTest]] = []
    for one, other in combinations(entries, 2):
        for mine, theirs in zip(estimands[one.name], estimands[other.name], strict=True):
            apart = difference(mine, theirs)
            if apart is not None:
                pairs.append((one, other, apart, _tested(apart, judging, asked.test)))
    if not pairs:
        raise RunError(f"numbers of {judging.task.name} have no paired differences")
    adjusted = ADJUST[asked.adjust](np.array([np.nan if t.p is None else t.p for *_, t in pairs]))
    differences = [
        _difference(judging, one, other, apart, test, p, asked.margins or {})
        for (one, other, apart, test), p in zip(pairs, adjusted.tolist(), strict=True)
    ]
    primary = _primary(values, judging.task.classes)
    board = _leaderboard([e.name for e in entries], values, differences, primary)
    rows = [{k: v for k, v in row.items() if k != "task"} for row in differences]
    rows += [{k: v for k, v in row.items() if k not in ("task", "p", "p_adjusted")} for row in values]
    return Comparison(rows, board, primary, _of_cases(pairs))


def _tested(apart: Estimand, judging: Judging, kind: Kind) -> PairedTest:
    if apart.value is None:
        return PairedTest(None, "", apart.reason)
    if apart.spread is None:
        return PairedTest(None, "", apart.bare or "the difference has no test")
    return paired_test(apart.spread, judging.drawing, kind)


def _difference(
    judging: Judging,
    one: ComparedRun,
    other: ComparedRun,
    apart: Estimand,
    test: PairedTest,
    adjusted: float,
    margins: Mapping[str, float],
) -> Record:
    """`auroc_difference`: model minus baseline, which are the names of two runs."""
    (row,) = judging.as_rows([apart], one.predictions, baseline=other.name)
    if apart.spread is not None and same(apart.spread):
        row = replace(row, value=0.0, low=0.0, high=0.0, method=None, note=SAME_NOTE)
    known = not np.isnan(adjusted)
    separated = known and adjusted < 1 - judging.confidence.level
    margin = margins.get(row.metric)
    better = row.better if row.better in ("higher", "lower") else ""
    found = asdict(replace(row, metric=f"{row.metric}_difference", better=better))
    return found | {
        "model": one.name,
        "p": test.p,
        "p_adjusted": adjusted if known else None,
        "test": test.test or None,
        "test_note": test.note,
        "separated": bool(separated),
        "margin": margin,
        "within_margin": None if margin is None else _within(found, margin),
    }


def _within(row: Record, margin: float) -> str:
    """What the interval says of a margin: equivalent, not_worse (the model than the baseline), not_better (the baseline
    is not worse than the model), open."""
    if row["low"] is None or row["high"] is None:
        return "open"
    low, high = (-row["high"], -row["low"]) if row["better"] == "lower" else (row["low"], row["high"])
    if low > -margin and high < margin:
        return "equivalent"
    if row["better"] and low > -margin:
        return "not_worse"
    return "not_better" if row["better"] and high < margin else "open"


def _primary(values: Sequence[Record], classes: Sequence[str]) -> Record:
    """The number that runs are ranked by: the first metric, over all targets where there are several."""
    first = [r for r in values if r["metric"] == values[0]["metric"] and r["model"] == values[0]["model"]]
    whole = [r for r in first if r["target"] not in classes]
    row = (whole or first)[0]
    return {"metric": row["metric"], "target": row["target"], "better": row["better"]}


def _leaderboard(
    names: Sequence[str], values: Sequence[Record], differences: Sequence[Record], primary: Record
) -> list[Record]:
    """A run's rank is 1 and one more for every run that a test puts above it: what is not separated shares a place."""
    if primary["better"] not in ("higher", "lower"):
        return []
    sign = 1 if primary["better"] == "higher" else -1
    own = {r["model"]: r for r in values if (r["metric"], r["target"]) == (primary["metric"], primary["target"])}
    above: dict[str, set[str]] = {name: set() for name in names}
    for row in differences:
        named = (row["metric"], row["target"]) == (f"{primary['metric']}_difference", primary["target"])
        if named and row["separated"] and row["value"]:
            winner, loser = row["model"], row["baseline"]
            if sign * row["value"] < 0:
                winner, loser = loser, winner
            above[loser].add(winner)
    ranked = sorted(
        (n for n in names if own[n]["value"] is not None), key=lambda n: (len(above[n]), -sign * own[n]["value"])
    )
    keep = ("value", "low", "high", "level", "unit", "cases", "patients")
    return [
        {"rank": 1 + len(above[n]), "model": n, "below": sorted(above[n])} | {k: own[n][k] for k in keep}
        for n in ranked
    ]


def _of_cases(pairs: Sequence[tuple[ComparedRun, ComparedRun, Estimand, PairedTest]]) -> pd.DataFrame | None:
    """Differences of single cases, of metrics that are means of values of cases: long, as measures.parquet."""
    parts = []
    for one, other, apart, _ in pairs:
        whose = {str(p): str(p) for p in one.predictions.patients}
        if apart.value is None or apart.values is None or one.predictions.measures("test", whose, None) is None:
            continue
        each = np.asarray(apart.values, dtype=np.float64).reshape(len(one.predictions.ids), -1)
        if each.shape[1] != 1:
            continue
        frame = pd.DataFrame({"case_id": one.predictions.ids, "patient": one.predictions.patients})
        parts.append(
            frame.assign(
                split="test",
                target=apart.target,
                model=one.name,
                baseline=other.name,
                metric=f"{apart.metric.name}_difference",
                value=each[:, 0],
            )
        )
    return pd.concat(parts, ignore_index=True) if parts else None
