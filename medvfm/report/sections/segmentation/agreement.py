"""How far predicted sizes lie from true ones: a plot of differences against means (Bland and Altman 1986)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from medvfm.report import markup, per_case, text
from medvfm.report.charts import svg
from medvfm.report.run_view import View
from medvfm.statistics.interval import Drawing
from medvfm.statistics.means import Means
from medvfm.statistics.patients import Patients

TITLE = "Agreement of sizes"
MOST, LEAST_CASES = 12, 3
Z = 1.959964  # of the standard normal distribution, for 95% limits
RESAMPLES, SEED = 500, 0
SIZE_IN = (4.3, 3.2)


@dataclass(frozen=True, eq=False)
class Agreement:
    """Differences prediction minus truth (n,) and means (n,); bias, its interval, and the limits of agreement."""

    mean: np.ndarray
    difference: np.ndarray
    missed: np.ndarray
    spurious: np.ndarray
    bias: float
    bias_low: float | None
    bias_high: float | None
    low: float
    high: float

    @classmethod
    def of(cls, sizes: per_case.Sizes, level: float) -> Agreement | None:
        """Of the cases in which truth or prediction holds the structure; None for too few of them.

        Limits are bias plus and minus 1.96 standard deviations of the differences (Bland and Altman 1986).
        """
        held = (sizes.truth > 0) | (sizes.predicted > 0)
        if held.sum() < LEAST_CASES:
            return None
        truth, predicted = sizes.truth[held], sizes.predicted[held]
        difference = predicted - truth
        bias, spread = float(difference.mean()), Z * float(difference.std(ddof=1))

        counted = Means(difference[:, None], np.ones(1), Patients.of(sizes.patients[held]))
        interval = counted.interval(Drawing(level, RESAMPLES, SEED))
        return cls(
            (truth + predicted) / 2, difference, sizes.missed[held], sizes.spurious[held], bias,
            interval.low, interval.high, bias - spread, bias + spread,
        )  # fmt: skip


def build(view: View) -> Markup | None:
    unit, structures = per_case.size_unit(view), per_case.structures(view)
    panels = [_panel(view, number, target, unit) for number, target in enumerate(structures[:MOST])]
    found = [p for p in panels if p is not None]
    if not found:
        return None
    return markup.fragment(
        "agreement",
        panels=found,
        unit=unit,
        level=f"{100 * view.level:.4g}%",
        several=len(structures) > 1,
        owner=view.owner,
        clustered=any(p["clustered"] for p in found),
        left=max(0, len(structures) - MOST),
        lost=any(p["missed"] or p["spurious"] for p in found),
    )


def _panel(view: View, number: int, target: str, unit: str) -> dict[str, Any] | None:
    sizes = per_case.sizes(view, target)
    found = None if sizes is None else Agreement.of(sizes, view.level)
    if sizes is None or found is None:
        return None

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.axhline(0, color=svg.MUTED, lw=0.8, ls=(0, (1, 2)))
        for limit in (found.low, found.high):
            axes.axhline(limit, color=svg.VERMILION, lw=1.3, ls=(0, (5, 2)))
        axes.axhline(found.bias, color=svg.BLUE, lw=1.6)
        plain = ~(found.missed | found.spurious)
        style: dict[str, Any] = {"s": 17, "lw": 0.6, "zorder": 3}
        axes.scatter(found.mean[plain], found.difference[plain], color=svg.BLUE, edgecolor="white", **style)
        if found.missed.any():
            axes.scatter(
                found.mean[found.missed], found.difference[found.missed], marker="x", color=svg.INK, s=24, lw=1.2,
                zorder=4,
            )  # fmt: skip
        if found.spurious.any():
            axes.scatter(
                found.mean[found.spurious], found.difference[found.spurious], marker="^", facecolor="white",
                edgecolor=svg.INK, s=24, lw=1, zorder=4,
            )  # fmt: skip
        axes.set(xlabel=f"Mean of truth and prediction ({unit})", ylabel=f"Prediction − truth ({unit})")
        axes.margins(x=0.06, y=0.12)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_locator(MaxNLocator(5))

    row = {"value": found.bias, "low": found.low, "high": found.high}
    bias_row = {"value": found.bias, "low": found.bias_low, "high": found.bias_high}
    alt = (
        f"Bland-Altman plot of {len(found.mean)} cases: bias {text.value(row)} {unit}, limits of agreement "
        f"{text.interval(row)} {unit}"
    )
    true_mean = float(sizes.truth[sizes.present].mean()) if sizes.present.any() else None
    return {
        "name": text.title(text.structure(target)),
        "figure": svg.draw(f"agreement{number}", alt, SIZE_IN, paint),
        "cases": len(found.mean),
        "bias": text.value(row),
        "bias_interval": text.interval(bias_row),
        "limits": text.interval(row),
        "mean": text.number(true_mean),
        "missed": int(found.missed.sum()),
        "spurious": int(found.spurious.sum()),
        "clustered": len(set(sizes.patients.tolist())) < len(sizes.patients),
    }
