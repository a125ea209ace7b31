"""Every case as a dot: a table whose middle column is drawn, so that it wraps, prints and is read aloud."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from medvfm.report import markup, text
from medvfm.report.charts import forest

HEIGHT_PX, FOOT_PX = 50, 14  # of a strip, and of its part below the dots, where the quartiles lie
WIDTH_PX = 420  # of the column on a laptop: where dots touch is settled for this width
DIAMETERS_PX = (6.5, 5.8, 5.0)  # of dots: the first in which all cases of a table find room beside each other
SQUEEZED = (0.7, 0.5, 0.35, 0.2, 0.1, 0.05, 0.02)  # shares of the smallest that dots lie apart where none find room


@dataclass(frozen=True, eq=False)
class Strip:
    """One line: the values (n,) of its cases; a heading where there are none to be drawn."""

    label: str
    values: np.ndarray | None = None
    detail: str = ""
    mark: str = "dot"  # dot for the model, square for others


def table(caption: str, strips: Sequence[Strip], *, first: str, value: str) -> Markup:
    drawn = [s.values for s in strips if s.values is not None and len(s.values)]
    known = np.concatenate(drawn) if drawn else np.array([0.0, 1.0])
    axis = forest.ticks(float(known.min()), float(known.max()))
    low, high = axis[0], axis[-1]
    diameter = min((beeswarm((v - low) / (high - low) * WIDTH_PX)[0] for v in drawn), default=DIAMETERS_PX[0])
    return markup.fragment(
        "swarm",
        caption=caption,
        strips=[_drawn(strip, low, high, diameter) for strip in strips],
        ticks=[{"at": round(100 * (t - low) / (high - low), 2), "text": text.compact(t)} for t in axis],
        first=first,
        value=value,
        height=HEIGHT_PX,
        foot=HEIGHT_PX - 5,
    )


def _drawn(strip: Strip, low: float, high: float, diameter: float) -> dict[str, Any]:
    shown: dict[str, Any] = {"label": strip.label, "detail": strip.detail, "mark": strip.mark}
    if strip.values is None:
        return shown | {"heading": True}
    if not len(strip.values):
        return shown | {"empty": True}
    share = (strip.values - low) / (high - low)
    _, across = beeswarm(share * WIDTH_PX, (diameter,))
    middle = (HEIGHT_PX - FOOT_PX) / 2
    quartiles = np.quantile(strip.values, [0.25, 0.5, 0.75])
    row = {"value": quartiles[1], "low": quartiles[0], "high": quartiles[2]}
    return shown | {
        "dots": [(f"{x:g}", f"{y:g}") for x, y in zip((100 * share).round(2), (middle + across).round(1), strict=True)],
        "diameter": diameter,
        "quartiles": [f"{100 * (q - low) / (high - low):.2f}" for q in quartiles],
        "median": text.value(row),
        "range": text.interval(row),
    }


def beeswarm(along_px: np.ndarray, diameters_px: Sequence[float] = DIAMETERS_PX) -> tuple[float, np.ndarray]:
    """(n,) places along the axis to the diameter of dots and their (n,) offsets across it, no two dots overlapping.

    Where even the smallest dots find no room they keep their size, and lie as far from each other as there is room for.
    The same cases always give the same picture: nothing is drawn by chance.
    """
    room = (HEIGHT_PX - FOOT_PX) / 2
    for diameter, share in [*((d, 1.0) for d in diameters_px), *((diameters_px[-1], s) for s in SQUEEZED)]:
        across = _placed(along_px, diameter * share, room - diameter / 2)
        if across is not None:
            return diameter, across
    return diameter, np.zeros(len(along_px))


def _placed(along: np.ndarray, diameter: float, most: float) -> np.ndarray | None:
    """Each dot, from left to right, takes the free place nearest to the middle; None where one finds none."""
    across = np.zeros(len(along))
    near: list[int] = []
    for index in np.argsort(along, kind="stable").tolist():
        near = [other for other in near if along[index] - along[other] < diameter]
        apart = np.sqrt(np.maximum(0.0, diameter**2 - (along[index] - along[near]) ** 2))
        tried = np.concatenate([[0.0], across[near] + apart, across[near] - apart])
        clear = (np.abs(tried[:, None] - across[near]) >= apart - 1e-9).all(axis=1)
        found = min(tried[clear].tolist(), key=abs)  # above the highest neighbour there is always room
        if abs(found) > most:
            return None
        across[index] = found
        near.append(index)
    return across
