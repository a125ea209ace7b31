"""Every test case with its truth, score and decision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from medvfm.report import case_table, text
from medvfm.report.case_table import CaseRow, Cell, Column
from medvfm.report.run_view import View
from medvfm.report.sections.classification.operating import EXCLUSIVE

TITLE = case_table.TITLE
GROUP = "group_"  # columns of predictions.parquet that hold subgroups
NOVELTY = "novelty"  # how far a case lies from the training images
OUTCOMES = {  # truth, decision
    (True, True): ("true positive", ""),
    (False, False): ("true negative", ""),
    (True, False): ("false negative", "fn"),
    (False, True): ("false positive", "fp"),
}


def build(view: View) -> Markup | None:
    table = _table(view)
    if table is None:
        return None
    groups = [c for c in table.columns if c.startswith(GROUP)]
    of_groups = [Column(text.title(c.removeprefix(GROUP).replace("_", " ")), choices=True) for c in groups]
    if NOVELTY in table.columns:
        groups, of_groups = [*groups, NOVELTY], [*of_groups, Column("Nearer in training", numeric=True)]
    if view.task.get("kind") in EXCLUSIVE and len(view.targets) > 1:
        columns, rows = _of_classes(table, groups, view.targets)
        presets = {"wrong": "Wrong class"}
    else:
        columns, rows = _of_targets(view, table, groups)
        presets = {"fn": "False negatives", "fp": "False positives"}
    if not rows:
        return None
    said = f"Every test {view.unit}; a click on a column's name sorts."
    return case_table.build(view, [*columns, *of_groups], rows, presets, said)


def _table(view: View) -> pd.DataFrame | None:
    """The model's test rows with the place of their case, as pictures name it."""
    if view.predictions is None:
        return None
    table = view.predictions[view.predictions["split"] == view.split]
    fold = table.get("fold", 0)
    keys = pd.MultiIndex.from_arrays([table["case_id"], np.broadcast_to(fold, len(table))])
    table = table.assign(place=pd.factorize(keys)[0] + 1)
    return table if len(table) else None


def _groups(row: Mapping[str, Any], columns: list[str]) -> list[Cell]:
    return [_nearer(row[c]) if c == NOVELTY else Cell(str(row[c])) for c in columns]


def _nearer(value: Any) -> Cell:
    """The share of training cases that lie nearer to the others than this case does."""
    share = float(value)
    return Cell(f"{100 * share:.0f}%", round(share, 6)) if np.isfinite(share) else Cell("–")


def _of_targets(view: View, table: pd.DataFrame, groups: list[str]) -> tuple[list[Column], list[CaseRow]]:
    """One row a case and target; wrong is ranked by how far the score lies on the wrong side of the threshold."""
    several = len(view.targets) > 1
    decided = {target: _threshold(view, target) for target in view.targets}
    outcome = any(cut is not None for cut in decided.values())
    columns = [Column("Finding", choices=True)] if several else []
    columns += [Column("Truth", choices=True), Column("Score", numeric=True)]
    columns += [Column("Outcome", choices=True)] if outcome else []
    rows = []
    for row in table[table["truth"].notna()].to_dict("records"):
        target, score, true = str(row["target"]), float(row["score"]), float(row["truth"]) > 0.5
        named = text.structure(target)
        cells = [Cell(named)] if several else []
        cells += [Cell("positive" if several else named if true else f"no {named}"), Cell(text.score(score), score)]
        if several and not true:
            cells[1] = Cell("negative")
        cut, error, tags = decided.get(target), -score if true else score, set()
        if outcome and cut is None:
            cells.append(Cell("–"))
        elif cut is not None:
            at = cut(row.get("fold", 0))
            said, tag = OUTCOMES[true, score >= at]
            cells.append(Cell(said))
            tags, error = {tag} - {""}, at - score if true else score - at
        rows.append(
            CaseRow(int(row["place"]), [*cells, *_groups({str(k): v for k, v in row.items()}, groups)], error, tags)
        )
    return columns, rows


def _threshold(view: View, target: str) -> Callable[[int], float] | None:
    """Fold to the threshold of decisions; None where there is no finite one."""
    given = view.part("thresholds", target, "decision").get("threshold")
    cuts = given if isinstance(given, list) else [given]
    if not cuts or any(not isinstance(c, int | float) for c in cuts):
        return None
    return lambda fold: float(cuts[int(fold)] if len(cuts) > int(fold) else cuts[0])


def _of_classes(table: pd.DataFrame, groups: list[str], classes: list[str]) -> tuple[list[Column], list[CaseRow]]:
    """One row a case: its class, the class of the highest score, and that score."""
    rows = []
    for place, part in table.groupby("place", sort=False):
        if part["truth"].isna().any():
            continue
        truth, score = (dict(zip(part["target"], part[c], strict=True)) for c in ("truth", "score"))
        true = max(classes, key=lambda c: truth.get(c, 0.0))
        named = max(classes, key=lambda c: score.get(c, -np.inf))
        cells = [Cell(text.structure(true)), Cell(text.structure(named)), Cell(text.score(score[named]), score[named])]
        cells += [
            Cell("right" if true == named else "wrong"),
            *_groups({str(k): v for k, v in part.iloc[0].items()}, groups),
        ]
        error = float(score[named] - score[true]) if true != named else -float(score[named])
        rows.append(CaseRow(int(str(place)), cells, error, set() if true == named else {"wrong"}))
    columns = [
        Column("Truth", choices=True),
        Column("Class named", choices=True),
        Column("Score", numeric=True),
        Column("Outcome", choices=True),
    ]
    return columns, rows
