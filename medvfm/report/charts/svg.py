"""Figures as inline SVG: one look, no state kept between figures, the same bytes each time.

Okabe and Ito 2008 for colours; every line also differs by its dashes. Only fixed words and numbers stand in a figure:
names of classes and data sets stand in the HTML around it, where they are escaped and wrap.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from typing import Any

import matplotlib
import matplotlib.style
import numpy as np
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
        places = _places(figure)
    return _inline(file.getvalue(), alt, places)


def _places(figure: Figure) -> Mapping[str, str]:
    """For what the page adds to a figure with one pair of axes: where (0, 0) and (1, 1) lie in the SVG (`box`), and the
    corners of the axes (`frame`); empty for other figures."""
    if len(figure.axes) != 1 or {figure.axes[0].get_xscale(), figure.axes[0].get_yscale()} != {"linear"}:
        return {}
    axes, whole = figure.axes[0], figure.bbox
    width, height = (72 * float(side) for side in figure.get_size_inches())

    def said(points: np.ndarray) -> str:
        return " ".join(f"{x / whole.width * width:.3f} {height - y / whole.height * height:.3f}" for x, y in points)

    corners = [(0, 0), (1, 1)]
    return {"box": said(axes.transData.transform(corners)), "frame": said(axes.transAxes.transform(corners))}


def unit_square(axes: Axes, x: str, y: str) -> None:
    """Both axes from 0 to 1, a little room around, and their names."""
    ticks = [0, 0.2, 0.4, 0.6, 0.8, 1]
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=ticks, yticks=ticks, xlabel=x, ylabel=y)
    axes.set_xticklabels([f"{t:g}" for t in ticks])
    axes.set_yticklabels([f"{t:g}" for t in ticks])


def _inline(svg: str, alt: str, places: Mapping[str, str]) -> Markup:
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
    seen = Markup("").join(Markup('data-{}="{}" ').format(name, value) for name, value in places.items())
    return opening.format(Markup(view[0])) + seen + named + Markup(rest.strip())
