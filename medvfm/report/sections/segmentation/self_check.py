"""How well the model's own doubts tell which masks are poor, which cases a human should see, and intervals of sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from medvfm.report import case_table, markup, per_case, text
from medvfm.report.charts import svg
from medvfm.report.run_view import EMPTY, Row, View

TITLE = "Quality without the truth"
PREDICTED, REVIEW = "predicted_dice", "for_human"  # columns of predictions.parquet
MOST = 30
SIZE_IN = (3.9, 3.4)
MARKS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*")


def build(view: View) -> Markup | None:
    rows = [EMPTY | row for row in view.part("self_check").get("rows") or []]
    table = expected(view)
    if not rows or table is None:
        return None
    structures = per_case.structures(view)
    drawn = _drawn(view, table, structures)
    kept, sent = _means(view, table, structures)
    flagged = table[table[REVIEW]].drop_duplicates("place")
    return markup.fragment(
        "self_check",
        figure=_figure(drawn) if drawn else None,
        legend=[(text.title(text.structure(name)), MARKS[n % len(MARKS)]) for n, (name, _) in enumerate(drawn)],
        lines=[_line(rows, target) for target in structures],
        level=text.level(rows[0]),
        promised=[_promise(name) for name in _coverages(rows)],
        unit=per_case.size_unit(view),
        scored=view.unit,
        cut=_cut(view),
        sent=len(flagged),
        total=int(table["place"].nunique()),
        mean_sent=text.number(sent),
        mean_kept=text.number(kept),
        list=_listed(view, table[table[REVIEW]]),
        more=max(0, len(flagged) - MOST),
        pooled=_pooled(view),
    )


def expected(view: View) -> pd.DataFrame | None:
    """Test rows of the model with what is expected of each mask; None of a run without."""
    table = view.predictions
    if table is None or PREDICTED not in table or REVIEW not in table:
        return None
    table = table[table["split"] == view.split]
    if table[PREDICTED].isna().all() and not len(view.part("self_check").get("rows") or []):
        return None
    order = {case_id: place for place, case_id in enumerate(dict.fromkeys(table["case_id"]), 1)}
    return table.assign(place=table["case_id"].map(order), **{REVIEW: table[REVIEW].map(lambda v: v is True or v == 1)})


def _dice(view: View, structure: str) -> dict[int, float]:
    """Place to the Dice of what was drawn: 0 where the truth holds nothing."""
    found = per_case.values(view, "dice", structure)
    values = {int(place): float(value) for place, value in zip(found.place, found.value, strict=True)}
    sizes = per_case.sizes(view, structure)
    if sizes is not None:
        values |= dict.fromkeys((int(p) for p in sizes.place[sizes.spurious]), 0.0)
    return values


def _drawn(view: View, table: pd.DataFrame, structures: list[str]) -> list[tuple[str, np.ndarray]]:
    """Structure to (n, 2) predicted and true Dice of the masks that have both."""
    found = []
    for name in structures:
        true = _dice(view, name)
        rows = table[(table["target"] == name) & table[PREDICTED].notna()]
        pairs = [(p, true[int(at)]) for p, at in zip(rows[PREDICTED], rows["place"], strict=True) if int(at) in true]
        if pairs:
            found.append((name, np.array(pairs, dtype=float)))
    return found


def _figure(drawn: list[tuple[str, np.ndarray]]) -> Markup:
    colours = (svg.BLUE, svg.VERMILION, svg.GREEN, svg.PURPLE, svg.ORANGE, svg.SKY)

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=svg.MUTED, lw=1, ls=(0, (1, 2)))
        for n, (_, pairs) in enumerate(drawn):
            axes.scatter(
                pairs[:, 0], pairs[:, 1], marker=MARKS[n % len(MARKS)], color=colours[n % len(colours)], s=20,
                edgecolor="white", lw=0.5, zorder=3,
            )  # fmt: skip
        svg.unit_square(axes, "Dice predicted without the truth", "Dice")

    everything = np.concatenate([pairs for _, pairs in drawn])
    off = text.number(float(np.abs(everything[:, 0] - everything[:, 1]).mean()))
    return svg.draw("self-check", f"Predicted against true Dice of {len(everything)} masks, {off} apart on average",
                    SIZE_IN, paint)  # fmt: skip


def _coverages(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(r["metric"] for r in rows if r["metric"].startswith("size_coverage@")))


def _promise(name: str) -> str:
    return f"{100 * float(name.rpartition('=')[2]):.0f}%"


def _line(rows: list[Row], target: str) -> dict[str, Any]:
    mine = [r for r in rows if r["target"] == target]
    error = [r for r in mine if r["metric"] == "predicted_dice_error"]
    return {
        "name": text.title(text.structure(target)),
        "error": next((r for r in error if r["baseline"] is None), None),
        "rival": next((r for r in error if r["baseline"] is not None), None),
        "reached": [next((r for r in mine if r["metric"] == name), None) for name in _coverages(rows)],
    }


def _means(view: View, table: pd.DataFrame, structures: list[str]) -> tuple[float | None, float | None]:
    """Mean Dice of the cases that are kept, and of those that go to a human, over the masks that were drawn."""
    parts: dict[bool, list[float]] = {True: [], False: []}
    for name in structures:
        true = _dice(view, name)
        for row in table[(table["target"] == name) & table[PREDICTED].notna()].to_dict("records"):
            if int(row["place"]) in true:
                parts[bool(row[REVIEW])].append(true[int(row["place"])])
    kept, given = (float(np.mean(parts[k])) if parts[k] else None for k in (False, True))
    return kept, given


def _listed(view: View, flagged: pd.DataFrame) -> list[dict[str, Any]]:
    """The cases for a human, the most doubtful first, with the structure that is doubted and its true Dice."""
    linked = set(case_table.anchors(view).values())
    found = []
    known = flagged[flagged[PREDICTED].notna()].sort_values(PREDICTED).drop_duplicates("place")
    truths: dict[str, Mapping[int, float]] = {}
    for row in known.head(MOST).to_dict("records"):
        place, target = int(row["place"]), str(row["target"])
        if target not in truths:
            truths[target] = _dice(view, target)
        anchor = f"{view.task.get('name')}-case-{place}"
        found.append({
            "place": place,
            "anchor": anchor if anchor in linked else None,
            "structure": text.structure(target),
            "predicted": text.number(float(row[PREDICTED])),
            "true": text.number(truths[target].get(place)) if place in truths[target] else "–",
        })  # fmt: skip
    return found


def _cut(view: View) -> str:
    cuts = {e["human_below"] for e in view.part("self_check").get("fitted") or [] if e.get("human_below") is not None}
    return text.number(cuts.pop()) if len(cuts) == 1 else ""


def _pooled(view: View) -> bool:
    return any((e.get("line") or {}).get("of_all_structures") for e in view.part("self_check").get("fitted") or [])
