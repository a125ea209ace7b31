"""How many queries are found among the first k candidates, for every k, beside what chance alone gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from medvfm.metrics import retrieval
from medvfm.report import markup, sentences, text
from medvfm.report.charts import svg
from medvfm.report.run_view import View
from medvfm.report.sections.retrieval.first_numbers import direction, targets
from medvfm.statistics.bootstrap import bootstrap_draws

TITLE = "Ranks of the right candidate"
SIZE_IN = (4.3, 3.4)
MOST_POINTS = 120  # of a curve
RESAMPLES, SEED = 500, 0
PERMUTED = "texts_permuted"  # its curve is that of chance, which is drawn exactly
MARKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 100_000)


@dataclass(frozen=True, eq=False)
class Queries:
    """Queries with a right candidate: place of the first (n,), how many candidates and right ones, patient, fold."""

    rank: np.ndarray
    candidates: np.ndarray
    right: np.ndarray
    patients: np.ndarray
    fold: np.ndarray

    @classmethod
    def of(cls, view: View, target: str, baseline: str | None = None) -> Queries | None:
        table = view.measures
        if table is None:
            return None
        mine = table["baseline"].isna() if baseline is None else table["baseline"] == baseline
        if "task" in table:
            mine &= table["task"] == view.task.get("name")
        rows = table[mine & (table["split"] == view.split) & (table["target"] == target)]
        wide = _wide(rows)
        if wide is None or not len(wide):
            return None
        columns = (wide[name].to_numpy() for name in ("rank", "candidates", "right", "patient", "fold"))
        return cls(*columns)

    def curve(self, k: np.ndarray) -> np.ndarray:
        """(m,) share of queries found among the first k; the mean over folds."""
        found = (self.rank[:, None] <= k[None, :]).astype(float)
        return self._mean(np.ones((1, len(found))), found)[0]

    def chance(self, k: np.ndarray) -> np.ndarray:
        """(m,) the same for candidates in an order by chance."""
        counts = (torch.tensor(np.array(a, dtype=np.float64)) for a in (self.right, self.candidates, k))
        return self._mean(np.ones((1, len(self.rank))), retrieval.chance(*counts).numpy())[0]

    def band(self, k: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray] | None:
        """Pointwise ends (m,) from resampled patients; None for one patient alone."""
        if len(set(self.patients.tolist())) < 2:
            return None
        found = (self.rank[:, None] <= k[None, :]).astype(float)
        draws = bootstrap_draws(lambda w: self._mean(w, found), self.patients, resamples=RESAMPLES, seed=SEED)
        draws = draws[~np.isnan(draws).any(axis=1)]
        if len(draws) < RESAMPLES / 2:
            return None
        low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return low, high

    def _mean(self, weights: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Counts (r, n) and values (n, m) to (r, m)."""
        rows = [self.fold == fold for fold in np.unique(self.fold)]
        with np.errstate(invalid="ignore", divide="ignore"):
            means = [weights[:, r] @ values[r] / weights[:, r].sum(axis=1, keepdims=True) for r in rows]
        return np.asarray(np.mean(means, axis=0))


def build(view: View) -> Markup | None:
    best = sentences.best_baseline(view)
    other = None if best is None or best["baseline"] == PERMUTED else str(best["baseline"])
    panels = [_panel(view, number, target, other) for number, target in enumerate(targets(view))]
    found = [panel for panel in panels if panel is not None]
    if not found:
        return None
    return markup.fragment(
        "rank_curves",
        panels=found,
        band=any(p["band"] for p in found),
        baseline=view.baseline(other) if other is not None and any(p["other"] for p in found) else None,
        level=f"{100 * view.level:.4g}%",
        resamples=RESAMPLES,
        owner=view.owner,
        folds=max(p["folds"] for p in found),
    )


def _panel(view: View, number: int, target: str, baseline: str | None) -> dict[str, Any] | None:
    queries = Queries.of(view, target)
    if queries is None:
        return None
    most = int(queries.candidates.max())
    k = np.unique(np.geomspace(1, most, MOST_POINTS).round().astype(int)) if most > MOST_POINTS else np.arange(most) + 1
    other = None if baseline is None else Queries.of(view, target, baseline)
    curve, chance, band = queries.curve(k), queries.chance(k), queries.band(k, view.level)

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        if band is not None:
            axes.fill_between(k, *band, color=svg.BLUE, alpha=0.16, lw=0)
        axes.plot(k, chance, color=svg.MUTED, lw=1.2, ls=(0, (1, 2)))
        if other is not None:
            axes.plot(k, other.curve(k), color=svg.VERMILION, lw=1.3, ls=(0, (5, 2)))
        axes.plot(k, curve, color=svg.BLUE, lw=2)
        axes.set(xscale="log", xlim=(1, max(most, 2)), ylim=(-0.02, 1.02), ylabel="Share of queries that are found")
        ticks = [mark for mark in MARKS if mark <= most]
        axes.set_xticks(ticks, [f"{mark:,}".replace(",", "\u202f") for mark in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("Among the first k candidates")

    said = {name: next(iter(view.rows(metric=name, target=target)), None) for name in ("median_rank", "recall@k=10")}
    told = [
        f"{text.title(text.metric(name))} {text.with_interval(row)}"
        for name, row in said.items()
        if row is not None and row.get("value") is not None
    ]
    at = int(np.argmin(np.abs(k - 10)))
    alt = (
        f"Recall at k from {direction(target)} for k from 1 to {most}: at {k[at]} it is {curve[at]:.2f}, and "
        f"{chance[at]:.2f} by chance."
    )
    return {
        "name": text.title(direction(target)),
        "figure": svg.draw(f"ranks{number}", alt, SIZE_IN, paint),
        "said": "; ".join(told),
        "queries": len(queries.rank),
        "candidates": most,
        "band": band is not None,
        "other": other is not None,
        "folds": len(np.unique(queries.fold)),
    }


def _wide(rows: pd.DataFrame) -> pd.DataFrame | None:
    """A row a query, of those that have a right candidate."""
    keys, found = ["case_id", "fold"], None
    for name in ("rank", "candidates", "right"):
        part = rows[rows["metric"] == name].rename(columns={"value": name})
        if not len(part):
            return None
        own = part[[*keys, "patient", name]] if found is None else part[[*keys, name]]
        found = own if found is None else found.merge(own, on=keys, validate="1:1")
    return None if found is None else found.dropna(subset="rank")
