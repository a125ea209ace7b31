"""Test cases that lie far from the training images, and how well distance tells what the data card marks as outside."""

from __future__ import annotations

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from medvfm.report import markup, text
from medvfm.report.charts import svg
from medvfm.report.run_view import EMPTY, View

TITLE = "Distance from the training images"
COLUMN = "novelty"  # of predictions.parquet
SIZE_IN = (4.6, 2.5)


def build(view: View) -> Markup | None:
    found = view.part("novelty")
    values = of_cases(view)
    if not found or values is None:
        return None
    row = next((EMPTY | r for r in found.get("rows") or []), None)
    return markup.fragment(
        "novelty",
        figure=_figure(values),
        far=found.get("far", 0),
        cases=found.get("cases", 0),
        usual=f"{100 * float(found.get('usual', 0.99)):.0f}",
        neighbours=found.get("neighbours"),
        unit=view.unit,
        row=row,
        level=text.level(row) if row is not None else "",
        outside=found.get("outside") or {},
    )


def of_cases(view: View) -> np.ndarray | None:
    """(n,) of each test case the share of training cases that lie nearer; None of a run without."""
    table = view.predictions
    if table is None or COLUMN not in table:
        return None
    once = table[table["split"] == view.split].drop_duplicates("case_id")
    values = pd.to_numeric(once[COLUMN]).to_numpy(float)
    return values[np.isfinite(values)] if np.isfinite(values).any() else None


def _figure(values: np.ndarray) -> Markup:
    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        counts, _, _ = axes.hist(values, bins=[n / 10 for n in range(11)], color=svg.BLUE, edgecolor="white", lw=0.8)
        axes.axhline(len(values) / 10, color=svg.MUTED, lw=1, ls=(0, (1, 2)))
        axes.set(xlim=(0, 1), xlabel="Training cases that lie nearer", ylabel="Test cases")
        axes.set_ylim(0, 1.12 * max(float(np.max(counts)), len(values) / 10))
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))

    alt = (
        f"Histogram of {len(values)} test cases by the share of training cases nearer than they, median "
        f"{np.median(values):.0%}"
    )
    return svg.draw("novelty", alt, SIZE_IN, paint)
