"""Figures as SVG text: no state, no dates, the same bytes for the same numbers."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Okabe and Ito 2008: told apart with any colour vision; every series differs in marker or line style as well.
BLUE, ORANGE, GREEN, PINK, SKY, RED, GRAY = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#6b7280"
COLOURS = (BLUE, RED, GREEN, PINK, ORANGE, SKY)
STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P")
_LOOK = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.edgecolor": "#9ca3af",
    "axes.labelcolor": "#374151",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": "#4b5563",
    "ytick.color": "#4b5563",
    "grid.color": "#e5e7eb",
    "svg.fonttype": "path",
    "svg.hashsalt": "medvfm",
    "path.simplify": True,
}


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of that size in inches with one pair of axes."""
    with matplotlib.rc_context(_LOOK):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.add_subplot()


def svg(figure: Figure, alt: str) -> Markup:
    """The figure as an accessible <svg> that scales with the page; everything in it is escaped by matplotlib."""
    out = io.StringIO()
    with matplotlib.rc_context(_LOOK):
        FigureCanvasSVG(figure).print_svg(out, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    body = text[text.index("<svg") :]
    head, _, rest = body.partition(">")
    label = Markup(' role="img" aria-label="{}"').format(alt)
    return Markup(_without_size(head)) + label + Markup(">" + rest)


def _without_size(head: str) -> str:
    """The viewBox alone gives the shape; width comes from the page."""
    kept = [p for p in head.split() if not p.startswith(("width=", "height="))]
    return " ".join(kept)


def curve(
    lines: Sequence[tuple[str, np.ndarray, np.ndarray]],
    band: tuple[np.ndarray, np.ndarray, np.ndarray] | None,
    labels: tuple[str, str],
    *,
    diagonal: bool,
    level: float | None = None,
    alt: str,
) -> Markup:
    """Curves in the unit square: (name, x, y) each; the band belongs to the first."""
    figure, axes = canvas(4.1, 3.9)
    if diagonal:
        axes.plot([0, 1], [0, 1], color=GRAY, lw=0.8, ls=(0, (2, 2)))
    if level is not None:
        axes.axhline(level, color=GRAY, lw=0.8, ls=(0, (2, 2)))
    if band is not None:
        axes.fill_between(*band, color=COLOURS[0], alpha=0.16, lw=0, step=None)
    for n, (name, x, y) in enumerate(lines):
        axes.plot(x, y, color=COLOURS[n % 6], ls=STYLES[n % 6], lw=1.8 if n == 0 else 1.2, label=plain(name))
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel=labels[0], ylabel=labels[1], aspect="equal")
    axes.grid(True, lw=0.6)
    if len(lines) > 1:
        axes.legend(frameon=False, loc="lower right" if diagonal else "lower left", fontsize=8)
    return svg(figure, alt)


def intervals(
    rows: Sequence[tuple[str, float, float | None, float | None, int]], label: str, alt: str, line: float
) -> Markup:
    """Dots with intervals, one row each: (name, value, low, high, colour index). A dotted line marks a reference."""
    figure, axes = canvas(7.4, 0.55 + 0.29 * len(rows))
    for place, (_, value, low, high, colour) in enumerate(rows):
        y = len(rows) - 1 - place
        if low is not None and high is not None:
            axes.plot([low, high], [y, y], color=COLOURS[colour], lw=1.6, solid_capstyle="butt")
        axes.plot([value], [y], marker=MARKERS[colour], color=COLOURS[colour], ms=5.5)
    axes.axvline(line, color=GRAY, lw=0.8, ls=(0, (2, 2)))
    axes.set_yticks(range(len(rows)), [plain(r[0]) for r in reversed(rows)])
    axes.set(ylim=(-0.6, len(rows) - 0.4), xlabel=label)
    axes.grid(True, axis="x", lw=0.6)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return svg(figure, alt)


def plain(text: object) -> str:
    """Text that matplotlib does not read as mathematics."""
    return str(text).replace("$", r"\$")
