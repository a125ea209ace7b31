"""How alike some texts and images are: texts in rows, images in columns."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from medvfm.report import markup, text
from medvfm.report.charts import svg
from medvfm.report.run_view import View

TITLE = "Similarity of texts and images"
SIZE_IN = (5.6, 4.7)
BLUES = LinearSegmentedColormap.from_list("blues", ["#f5f7f9", "#9cc8e4", svg.BLUE, "#00263d"])


def build(view: View) -> Markup | None:
    given = view.part("retrieval", "similarity")
    values = np.array(given.get("values") or [], dtype=float)
    if values.ndim != 2 or values.shape[0] != values.shape[1] or not np.isfinite(values).all():
        return None
    n = len(values)
    right = np.array(given.get("right") or np.eye(n), dtype=float).reshape(n, n) > 0.5
    own, others = values[right], values[~right]

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        edges = np.arange(n + 1) + 0.5
        shown = axes.pcolormesh(edges, edges, values, cmap=BLUES, rasterized=True)
        rows, columns = np.nonzero(right)
        axes.plot(
            columns + 1, rows + 1, ls="none", marker="s", ms=max(2.5, 90 / n), mfc="none", mec=svg.ORANGE, mew=1.1
        )
        ticks = [k for k in (1, *range(5, n + 1, 5)) if k <= n]
        axes.set(xlabel="Image", ylabel="Text", xticks=ticks, yticks=ticks, aspect="equal")
        axes.invert_yaxis()
        axes.grid(visible=False)
        bar = figure.colorbar(shown, ax=axes, shrink=0.8, label="Similarity")
        bar.outline.set_visible(False)

    means = [text.number(float(part.mean()), 3) if part.size else "–" for part in (own, others)]
    alt = f"Similarities of {n} texts and {n} images: on average {means[0]} where right, {means[1]} where not."
    return markup.fragment(
        "similarity_matrix",
        figure=svg.draw("similarity", alt, SIZE_IN, paint),
        n=n,
        of=given.get("of") or n,
        right=means[0],
        wrong=means[1],
        texts=list(zip(given.get("cases") or [], given.get("texts") or [], strict=False)),
    )
