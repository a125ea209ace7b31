"""Every test case with the overlap of each structure, and what was missed or drawn where there is none."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup

from medvfm.report import case_table, per_case, text
from medvfm.report.case_table import CaseRow, Cell, Column
from medvfm.report.run_view import View
from medvfm.report.sections.segmentation import self_check

TITLE = case_table.TITLE
MOST_STRUCTURES = 6


def build(view: View) -> Markup | None:
    primary, structures = view.primary, per_case.structures(view)
    metric = primary["metric"] if primary is not None else ""
    count = per_case.count(view)
    if not structures or not count or metric not in per_case.metrics(view):
        return None
    values = {s: _by_case(per_case.values(view, metric, s), count) for s in structures}
    table = np.stack(list(values.values()), axis=1)
    known = np.isfinite(table)
    mean = np.where(known, table, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    mean[~known.any(axis=1)] = np.nan
    missed, drawn = (_listed(view, structures, which, count) for which in ("missed", "spurious"))
    several = len(structures) > 1
    shown = structures[:MOST_STRUCTURES] if several else []
    sign = 1 if primary is not None and primary.get("better") == "lower" else -1
    doubts, doubted = _doubts(view, count)
    rows = []
    for case in range(count):
        cells = [_number(mean[case]), *(_number(values[s][case]) for s in shown)]
        cells += [Cell(text.listed(missed[case])), Cell(text.listed(drawn[case]))]
        cells += [_number(doubts[case])] if doubts is not None else []
        tags = ({"missed"} if missed[case] else set()) | ({"drawn"} if drawn[case] else set())
        tags |= {"human"} if doubted[case] else set()
        error = sign * mean[case] if np.isfinite(mean[case]) else -np.inf
        rows.append(CaseRow(case + 1, cells, float(error), tags))
    named = text.title(text.metric(metric))
    columns = [
        Column(f"Mean {text.metric(metric)}" if several else named, numeric=True),
        *(Column(text.title(text.structure(s)), numeric=True) for s in shown),
        Column("Missed"),
        Column("False positive"),
        *([Column("Predicted Dice", numeric=True)] if doubts is not None else []),
    ]
    presets = {"missed": "Missed", "drawn": "False positives", "human": "For a human"}
    said = f"Every test {view.unit}, with {named} of each structure; a click on a column's name sorts."
    return case_table.build(view, columns, rows, presets, said)


def _doubts(view: View, count: int) -> tuple[np.ndarray | None, np.ndarray]:
    """(count,) the lowest Dice that is predicted of a case without its truth, NaN or None where there is none; and
    whether it is for a human."""
    table = self_check.expected(view)
    if table is None:
        return None, np.zeros(count, dtype=bool)
    by_case = table.groupby("place", sort=True)
    lowest = by_case[self_check.PREDICTED].min().reindex(range(1, count + 1))
    flagged = by_case[self_check.REVIEW].any().reindex(range(1, count + 1), fill_value=False)
    return lowest.to_numpy(float), flagged.to_numpy(bool)


def _by_case(found: per_case.Values, count: int) -> np.ndarray:
    """(count,) NaN where the number does not exist."""
    values = np.full(count, np.nan)
    values[found.place - 1] = found.value
    return values


def _listed(view: View, structures: list[str], which: str, count: int) -> list[list[str]]:
    """Names of the structures that were missed, or drawn where there are none, of each case."""
    found: list[list[str]] = [[] for _ in range(count)]
    for structure in structures:
        sizes = per_case.sizes(view, structure)
        if sizes is not None:
            for place in sizes.place[getattr(sizes, which)]:
                found[int(place) - 1].append(text.structure(structure))
    return found


def _number(value: float) -> Cell:
    return Cell(text.number(float(value)), round(float(value), 6)) if np.isfinite(value) else Cell("–")
