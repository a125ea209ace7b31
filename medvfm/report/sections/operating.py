"""Operating points: thresholds fixed on validation cases, and what they do on test cases."""

from __future__ import annotations

from typing import Any

import numpy as np

from medvfm.report.run import Run

TITLE = "Operating points"
TARGETS = 6


def content(run: Run) -> dict[str, Any] | None:
    thresholds, table = run.part("thresholds"), run.predictions
    if not thresholds or table is None:
        return None
    points = []
    for target, named in list(thresholds.items())[:TARGETS]:
        part = table[(table["target"] == target) & (table["split"] == "test") & table["truth"].notna()]
        truth, score = part["truth"].to_numpy() > 0.5, part["score"].to_numpy(dtype=float)
        for metric, entry in named.items():
            cut = entry["threshold"]
            if isinstance(cut, list):
                folds = part["fold"].to_numpy(dtype=int) if "fold" in part else np.zeros(len(part), int)
                cuts = np.array([np.nan if c is None else c for c in cut])[folds]
            elif cut is None:
                continue
            else:
                cuts = np.full(len(part), cut)
            called = score >= cuts
            points.append(
                {
                    "target": target,
                    "metric": metric,
                    "threshold": cut if not isinstance(cut, list) else None,
                    "fixed_on": entry.get("fixed_on"),
                    "tp": int((called & truth).sum()),
                    "fn": int((~called & truth).sum()),
                    "fp": int((called & ~truth).sum()),
                    "tn": int((~called & ~truth).sum()),
                }
            )
    return {"points": points} if points else None
