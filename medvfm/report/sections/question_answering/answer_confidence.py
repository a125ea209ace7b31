"""How sure the model was of its answers to closed questions, and how often it was right then."""

from __future__ import annotations

import numpy as np
import torch
from markupsafe import Markup

from medvfm.metrics import calibration
from medvfm.report import markup, text
from medvfm.report.run_view import View

TITLE = "Confidence in closed answers"
BINS, LEAST = 10, 20


def build(view: View) -> Markup | None:
    measures = view.measures
    if measures is None:
        return None
    mine = measures[(measures["split"] == view.split) & measures["baseline"].isna()]
    keys = ["case_id", "fold"]
    sure, right = (
        mine[mine["metric"] == name].set_index(keys)["value"].dropna() for name in ("confidence", "closed_accuracy")
    )
    both = sure.index.intersection(right.index)
    if len(both) < LEAST:
        return None
    p, y = sure.loc[both].to_numpy(float), right.loc[both].to_numpy(float)
    error = float(calibration.ece(torch.tensor(y), torch.tensor(p)))
    edges = np.linspace(0, 1, BINS + 1)
    place = np.clip(np.digitize(p, edges[1:-1]), 0, BINS - 1)
    rows = [
        {
            "range": f"{edges[k]:.1f} to {edges[k + 1]:.1f}",
            "n": int((place == k).sum()),
            "sure": text.number(float(p[place == k].mean()), 2),
            "right": text.number(float(y[place == k].mean()), 2),
        }
        for k in range(BINS)
        if (place == k).any()
    ]
    return markup.fragment(
        "answer_confidence",
        rows=rows,
        n=len(both),
        error=text.number(error),
        mean=text.number(float(p.mean()), 2),
        right=text.number(float(y.mean()), 2),
    )
