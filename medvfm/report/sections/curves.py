"""ROC and precision-recall curves with bands over patients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch

from medvfm.core.errors import Undefined
from medvfm.metrics import ranking
from medvfm.report import figures
from medvfm.report.run import Run
from medvfm.statistics.bootstrap import patient_weights

TITLE = "Curves"
RESAMPLES = 500
TARGETS = 4
GRID = np.linspace(0, 1, 101)


def content(run: Run) -> dict[str, Any] | None:
    table = run.predictions
    if table is None or run.part("task", "name") != "classification" or "score" not in table:
        return None
    drawn = []
    for target in list(dict.fromkeys(table["target"]))[:TARGETS]:
        part = _known(table, target)
        if part["truth"].nunique() == 2:
            drawn.append({"target": target, **_pair(run, target, part)})
    left = table["target"].nunique() - len(drawn)
    return {"drawn": drawn, "left": left} if drawn else None


def _known(table: pd.DataFrame, target: str) -> pd.DataFrame:
    return table[(table["target"] == target) & (table["split"] == "test") & table["truth"].notna()]


def _pair(run: Run, target: str, part: pd.DataFrame) -> dict[str, Any]:
    truth = torch.as_tensor((part["truth"].to_numpy() > 0.5).astype(np.int64))
    score = torch.tensor(part["score"].to_numpy(dtype=float))
    roc, pr = ranking.roc_curve(truth, score), ranking.precision_recall_curve(truth, score)
    roc_lines = [("model", roc.fpr.numpy(), roc.tpr.numpy())]
    pr_lines = [("model", pr.recall.numpy(), pr.precision.numpy())]
    for name, other in _baselines(run, target):
        try:
            y = torch.as_tensor((other["truth"].to_numpy() > 0.5).astype(np.int64))
            s = torch.tensor(other["score"].to_numpy(dtype=float))
            base_roc, base_pr = ranking.roc_curve(y, s), ranking.precision_recall_curve(y, s)
        except Undefined:
            continue
        roc_lines.append((name, base_roc.fpr.numpy(), base_roc.tpr.numpy()))
        pr_lines.append((name, base_pr.recall.numpy(), base_pr.precision.numpy()))
    weights = torch.as_tensor(patient_weights(part["patient"].to_numpy(), RESAMPLES, 0))
    grid = torch.as_tensor(GRID)
    roc_band = _band(ranking.roc_on_grid(truth, score, grid, weights=weights))
    pr_band = _band(ranking.precision_on_grid(truth, score, grid[1:], weights=weights))
    share = float(truth.double().mean())
    return {
        "roc": figures.curve(
            roc_lines, (GRID, *roc_band), ("1 − specificity", "Sensitivity"), diagonal=True,
            alt=f"ROC curve of {target} with a band over patients",
        ),
        "pr": figures.curve(
            pr_lines, (GRID[1:], *pr_band), ("Recall (sensitivity)", "Precision (PPV)"), diagonal=False, level=share,
            alt=f"Precision-recall curve of {target} with a band over patients",
        ),
    }  # fmt: skip


def _baselines(run: Run, target: str) -> list[tuple[str, pd.DataFrame]]:
    table = run.baselines
    if table is None:
        return []
    names = [n for n in dict.fromkeys(table["baseline"]) if n != "prevalence"]
    return [(n.replace("_", " "), _known(table[table["baseline"] == n], target)) for n in names]


def _band(draws: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    values = draws.numpy()
    return np.nanpercentile(values, 2.5, axis=0), np.nanpercentile(values, 97.5, axis=0)
