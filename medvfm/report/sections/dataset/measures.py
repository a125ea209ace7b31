"""Sizes and spacings of the images of a data set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from medvfm.report import markup
from medvfm.report.charts import svg
from medvfm.report.run_view import View

TITLE = "Sizes and spacings"


def build(view: View) -> Markup | None:
    measures = view.part("measures")
    axes: Mapping[str, Mapping[str, Any]] = measures.get("axes") or {}
    if not axes:
        return None
    varying = {name: entry for name, entry in axes.items() if (entry.get("distinct") or 1) > 1}
    return markup.fragment(
        "measures",
        axes=axes,
        figure=_histograms(varying) if varying else None,
        without=measures.get("without_spacing") or 0,
        units=measures.get("units") or {},
        repairs=measures.get("repairs") or {},
    )


def _histograms(axes: Mapping[str, Mapping[str, Any]]) -> Markup:
    columns = 3  # however many there are, so that letters have one size on every page
    rows = -(-len(axes) // columns)

    def paint(figure: Figure) -> None:
        for number, (name, entry) in enumerate(axes.items(), 1):
            plot = figure.add_subplot(rows, columns, number)
            plot.stairs(entry["counts"], entry["edges"], fill=True, color=svg.BLUE)
            plot.set(xlabel=f"{name} ({entry['unit']})", ylabel="images" if number % columns == 1 else "")
            plot.locator_params(nbins=5, integer=entry["unit"] != "mm", axis="x")
            plot.locator_params(nbins=4, integer=True, axis="y")

    alt = f"Histograms of {', '.join(axes)}; the table holds their quartiles"
    return svg.draw("measures", alt, (2.6 * columns, 1.75 * rows), paint)
