"""What subgroups show side by side at the threshold of decisions, and how far predicted and observed risk lie apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from markupsafe import Markup

from medvfm.report import markup, proportions, text
from medvfm.report.run_view import Row, Scores, View
from medvfm.report.sections.classification.decision_curve import are_probabilities
from medvfm.report.sections.classification.operating import EXCLUSIVE

GROUP = "group_"  # columns of predictions.parquet
TITLE = "Subgroups side by side"
RATES = ("Sensitivity", "Specificity")
FEW = 15  # positives or negatives below which a share says little

Cells = Mapping[str, Any]


def build(view: View) -> Markup | None:
    """The primary number and what the threshold of decisions reaches in each group."""
    row = view.primary
    names, cells = columns(view)
    found = [] if row is None else view.subgroups(metric=row["metric"], target=row.get("target"))
    found = [r for r in found if r["group"] in cells]
    if row is None or not names or not found:
        return None
    lines: list[dict[str, Any]] = [{"label": "All", "cells": [_cell(row), *cells[""]]}]
    for column in dict.fromkeys(r["group"].partition("=")[0] for r in found):
        lines.append({"label": text.title(column.replace("_", " ")), "cells": None})
        mine = [r for r in found if r["group"].partition("=")[0] == column]
        lines += [{"label": r["group"].partition("=")[2], "cells": [_cell(r), *cells[r["group"]]]} for r in mine]
    return markup.fragment(
        "by_group",
        columns=[text.title(text.metric(row["metric"])), *names],
        lines=lines,
        few=any(cell["few"] for line in lines for cell in line["cells"] or []),
        level=text.level(row),
        risks=len(names) > len(RATES),
    )


def _cell(row: Row) -> Cells:
    if row.get("value") is None:
        return {"value": "–", "interval": "", "few": False}
    return {"value": text.value(row), "interval": text.interval(row), "few": "only" in str(row.get("note") or "")}


def columns(view: View) -> tuple[list[str], Mapping[str, list[Cells]]]:
    """Names of columns, and group (`sex=F`) to its cells: {value, interval, few}; of one yes-or-no question."""
    if len(view.targets) != 1 or view.task.get("kind") in EXCLUSIVE or view.predictions is None:
        return [], {}
    table, target = view.predictions, view.targets[0]
    table = table[(table["split"] == view.split) & (table["target"] == target) & table["truth"].notna()]
    if "threshold" not in table or table["threshold"].isna().any():
        return [], {}
    risks = are_probabilities(view)
    names = [*RATES, *(["Predicted · observed"] if risks else [])]
    truth = table["truth"].to_numpy(float) > 0.5
    score = table["score"].to_numpy(float)
    decided = score >= table["threshold"].to_numpy(float)
    fold = np.zeros(len(table), dtype=np.int64)
    scores = Scores(truth.astype(np.int64), score, table["patient"].to_numpy(object), fold)
    masks = {"": np.ones(len(table), bool)}
    for column in (c for c in table.columns if c.startswith(GROUP)):
        values = table[column].map(str).to_numpy(object)
        masks |= {f"{column.removeprefix(GROUP)}={v}": values == v for v in np.unique(values)}
    return names, {group: _cells(mask, decided, scores, view.level, risks) for group, mask in masks.items()}


def _cells(mask: np.ndarray, decided: np.ndarray, scores: Scores, level: float, risks: bool) -> list[Cells]:
    truth = scores.truth == 1
    found: list[Cells] = []
    for hits, among in ((decided, mask & truth), (~decided, mask & ~truth)):
        row = proportions.share(hits, among, scores, level)
        shown = text.value(row) if row["value"] is not None else "–"
        found.append({"value": shown, "interval": text.interval(row), "few": int(among.sum()) < FEW})
    if risks:
        predicted, observed = (float(v[mask].mean()) if mask.any() else np.nan for v in (scores.score, truth))
        said = f"{100 * predicted:.0f}% · {100 * observed:.0f}%" if mask.any() else "–"
        found.append({"value": said, "interval": "", "few": int(mask.sum()) < FEW})
    return found
