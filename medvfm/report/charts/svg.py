"""Figures as inline SVG: one look, no state kept between figures, the same bytes each time.

Okabe and Ito 2008 for colours; every line also differs by its dashes. Only fixed words and numbers stand in a figure:
names of classes and data sets stand in the HTML around it, where they are escaped and wrap.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import matplotlib
import matplotlib.style
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9"
INK, MUTED, RULE = "#1b2126", "#5a6570", "#c9d0d6"
OF_THE_PAGE = {  # colours that the page gives for light and for dark
    INK: "var(--ink)", MUTED: "var(--muted)", RULE: "var(--rule)", "#e8ecef": "var(--grid)", "#ffffff": "var(--paper)",
    BLUE.lower(): "var(--blue)", VERMILION.lower(): "var(--vermilion)",
}  # fmt: skip
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",  # text stays text: it can be read aloud, searched and copied
    "text.parse_math": False,
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that every machine lays out alike; CSS then sets the font
    "font.size": 8,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.labelsize": 8.5,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e8ecef",
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


def draw(name: str, alt: str, size_in: tuple[float, float], paint: Callable[[Figure], None]) -> Markup:
    """An SVG element with `alt` as its accessible name. `name` is unique on the page: the SVG's ids come from it."""
    with matplotlib.style.context(["default", STYLE | {"svg.hashsalt": name}]):
        figure = Figure(figsize=size_in, layout="constrained")
        paint(figure)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
        box = _box(figure)
    return _inline(file.getvalue(), alt, box)


def _box(figure: Figure) -> str:
    """Where (0, 0) and (1, 1) of the only axes lie in the SVG, for what the page adds; empty for other figures."""
    if len(figure.axes) != 1 or {figure.axes[0].get_xscale(), figure.axes[0].get_yscale()} != {"linear"}:
        return ""
    whole, places = figure.bbox, figure.axes[0].transData.transform([(0, 0), (1, 1)])
    width, height = (72 * float(side) for side in figure.get_size_inches())
    shares = [(x / whole.width * width, height - y / whole.height * height) for x, y in places]
    return " ".join(f"{value:.3f}" for point in shares for value in point)


def unit_square(axes: Axes, x: str, y: str) -> None:
    """Both axes from 0 to 1, a little room around, and their names."""
    ticks = [0, 0.2, 0.4, 0.6, 0.8, 1]
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=ticks, yticks=ticks, xlabel=x, ylabel=y)
    axes.set_xticklabels([f"{t:g}" for t in ticks])
    axes.set_yticklabels([f"{t:g}" for t in ticks])


def _inline(svg: str, alt: str, box: str = "") -> Markup:
    """The svg element alone: no XML prologue, no metadata, no size of its own, no ids that stand twice on a page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    svg = re.sub(r"(fill|stroke): (#[0-9a-f]{6})", lambda m: f"{m[1]}: {OF_THE_PAGE.get(m[2], m[2])}", svg)
    head, rest = svg.split(">", 1)
    view = re.search(r'viewBox="[^"]*"', head)
    assert view is not None
    opening = Markup('<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {} ')
    named = Markup('role="img" aria-label="{}">').format(alt)
    seen = Markup('data-box="{}" ').format(box) if box else Markup("")
    return opening.format(Markup(view[0])) + seen + named + Markup(rest.strip())
