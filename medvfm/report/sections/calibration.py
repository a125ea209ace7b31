"""How far probabilities can be taken at their word."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from medvfm.metrics.calibration import reliability
from medvfm.report import figures
from medvfm.report.run import Run

TITLE = "Calibration"
BINS = 10
TARGETS = 2


def content(run: Run) -> dict[str, Any] | None:
    table = run.predictions
    if table is None or "score" not in table or run.part("task", "name") != "classification":
        return None
    if table["score"].min() < 0 or table["score"].max() > 1:
        return None
    drawn = []
    for target in list(dict.fromkeys(table["target"]))[:TARGETS]:
        part = table[(table["target"] == target) & (table["split"] == "test") & table["truth"].notna()]
        if part["truth"].nunique() == 2:
            drawn.append({"target": target, "figure": _figure(target, part)})
    return {"drawn": drawn} if drawn else None


def _figure(target: str, part: Any) -> Any:
    truth = torch.as_tensor((part["truth"].to_numpy() > 0.5).astype(np.int64))
    score = torch.tensor(part["score"].to_numpy(dtype=float))
    found = reliability(truth, score, BINS)
    figure, axes = figures.canvas(4.1, 3.9)
    axes.plot([0, 1], [0, 1], color=figures.GRAY, lw=0.8, ls=(0, (2, 2)))
    counts = np.asarray(found.cases, dtype=float)
    mean, share = np.asarray(found.probability, dtype=float), np.asarray(found.observed, dtype=float)
    some = counts > 0
    size = 18 + 140 * counts[some] / counts.max()
    axes.plot(mean[some], share[some], color=figures.BLUE, lw=1)
    axes.scatter(mean[some], share[some], s=size, color=figures.BLUE, alpha=0.85, zorder=3)
    for x, y, n in zip(mean[some], share[some], counts[some], strict=True):
        axes.annotate(f"{int(n)}", (x, y), xytext=(0, 9), textcoords="offset points", ha="center", fontsize=7)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.08), xlabel="Predicted probability", ylabel="Share of positives")
    axes.grid(True, lw=0.6)
    return figures.svg(
        figure, f"Calibration of {target}: share of positives against predicted probability in {BINS} bins"
    )
