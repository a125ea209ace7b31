"""The table of all test cases: sortable, with ready-made filters. Cases go by their place, never by a name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from markupsafe import Markup

from medvfm.report import data_uris, markup
from medvfm.report.run_view import View

TITLE = "Cases"
MOST = 1000  # rows on a page
WORST, RANDOM = 10, 6
SEED = 0


@dataclass(frozen=True)
class Cell:
    """What stands in a cell, and what the column is sorted by where that is another."""

    shown: str
    value: float | None = None


@dataclass
class CaseRow:
    """A case: its place among the test cases from 1, its cells, the filters that keep it, and how wrong it is.

    error  greater is worse; what is ranked by it
    """

    place: int
    cells: Sequence[Cell]
    error: float
    tags: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Column:
    name: str
    numeric: bool = False
    choices: bool = False  # a choice of its values stands above the table


def build(view: View, columns: Sequence[Column], rows: Sequence[CaseRow], presets: dict[str, str], said: str) -> Markup:
    """The table with its filters; `presets` is tag to name, to which worst and random are added.

    Of more than MOST cases it shows the worst, those that a tag marks first, and chance's.
    """
    presets = {"": "All", **presets, "worst": f"Worst {WORST}", "random": f"Random {RANDOM}"}
    ranked = sorted(rows, key=lambda row: -row.error)
    for row in ranked[:WORST]:
        row.tags.add("worst")
    for n in np.random.default_rng(SEED).permutation(len(rows))[:RANDOM]:
        rows[n].tags.add("random")
    shown = list(rows)
    if len(rows) > MOST:
        others = np.random.default_rng(SEED).permutation(len(ranked) - MOST // 2)[: MOST // 2]
        kept = ranked[: MOST // 2] + [ranked[MOST // 2 + n] for n in others]
        shown = sorted({id(r): r for r in [*kept, *(r for r in rows if "random" in r.tags)]}.values(),
                       key=lambda row: row.place)  # fmt: skip
    tags = set().union(*(row.tags for row in shown)) if shown else set()
    linked = set(anchors(view).values())
    return markup.fragment(
        "cases",
        id=f"{view.task.get('name')}-cases",
        said=said,
        columns=[(n, c, _choices(shown, n) if c.choices else []) for n, c in enumerate(columns)],
        rows=shown,
        total=len(rows),
        links={row.place: a for row in shown if (a := _anchor(view, row.place)) in linked},
        presets=[(tag, name) for tag, name in presets.items() if not tag or tag in tags],
        unit=view.unit,
    )


def anchors(view: View) -> dict[str, str]:
    """File of a picture to its id on the page, for the first picture of each case that has one."""
    listed = [*(view.record.get("previews") or []), *(view.record.get("examples") or [])]
    firsts: dict[int, str] = {}
    for entry in listed:
        place = entry.get("place")
        if isinstance(place, int) and place not in firsts and data_uris.inside(view.directory, str(entry.get("file"))):
            firsts[place] = str(entry["file"])
    return {file: _anchor(view, place) for place, file in firsts.items()}


def _anchor(view: View, place: int) -> str:
    return f"{view.task.get('name')}-case-{place}"


def _choices(rows: Sequence[CaseRow], column: int) -> list[str]:
    return sorted({row.cells[column].shown for row in rows if row.cells[column].shown})
