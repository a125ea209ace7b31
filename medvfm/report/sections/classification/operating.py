"""Confusion counts, sensitivity, specificity and predictive values at fixed thresholds."""

from __future__ import annotations

from typing import Any

import numpy as np
from markupsafe import Markup

from medvfm.report import markup, proportions, text
from medvfm.report.run_view import Scores, View

TITLE = "Performance at fixed thresholds"
EXCLUSIVE = ("multi_class", "ordinal")
GIVEN = "the threshold given"
MOST_CLASSES = 12
MOST_EXPLORED = 5000  # units whose scores stand in the page


def build(view: View) -> Markup | None:
    level = view.level
    found = [point for target in view.targets for point in points(view, target, level)]
    matrix = _matrix(view) if view.task.get("kind") in EXCLUSIVE else None
    if not found and matrix is None:
        return None
    lone = all(s is None or s.independent for s in map(view.scores, view.targets))
    return markup.fragment(
        "operating",
        points=found,
        explored=_explored(view, found),
        folds=view.part("data").get("folds") or 1,
        given=view.record.get("kind") == "evaluation" and not view.part("tested"),  # no validation data are known
        other="another class" if view.task.get("kind") in EXCLUSIVE else None,
        matrix=matrix,
        several=len(view.targets) > 1,
        unit=view.unit,
        level=f"{100 * level:.4g}%",
        way="Wilson" if lone else f"Wilson, with the number of cases that those of the {view.owner}s are worth",
    )


def _explored(view: View, found: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Scores of one yes-or-no question, from which the page counts at a threshold that is moved."""
    scores = view.scores(view.targets[0]) if len(view.targets) == 1 else None
    start = next((p for p in found if p["decides"] and not p.get("undefined")), None)
    if scores is None or start is None or len(np.unique(scores.fold)) > 1 or len(scores.truth) > MOST_EXPLORED:
        return None
    cut = view.part("thresholds", view.targets[0], "decision").get("threshold")
    listed = [" ".join(f"{s:.4g}" for s in np.sort(scores.score[scores.truth == label])) for label in (1, 0)]
    return (
        {"positive": listed[0], "negative": listed[1], "threshold": cut, "target": start["target"]}
        if all(listed)
        else None
    )


def points(view: View, target: str, level: float) -> list[dict[str, Any]]:
    """One entry a distinct threshold: names that share it, confusion counts, and what it achieves here."""
    scores = view.scores(target)
    if scores is None:
        return []
    found: dict[str, dict[str, Any]] = {}
    for name, entry in view.part("thresholds", target).items():
        cuts = entry.get("threshold")
        cuts = cuts if isinstance(cuts, list) else [cuts]
        key = repr(cuts)
        if key in found:
            found[key]["names"].append(_goal(name))
            continue
        point = {"target": text.structure(target), "names": [_goal(name)], "fixed_on": entry.get("fixed_on")}
        point["threshold"] = _shown(cuts)
        found[key] = point | ({"undefined": True} if None in cuts else _achieved(scores, cuts, level))
        wanted = next(iter(view.rows(metric=name, target=target)), None)
        side = name.partition("@")[0]
        if wanted and side in found[key]:  # the record's interval is the one that counts
            found[key][side] = found[key][side] | {k: wanted.get(k) for k in ("value", "low", "high")}
    for point in found.values():
        others = [n for n in point["names"] if n != _goal("decision")]
        point["decides"] = len(others) < len(point["names"])
        point["names"] = others or [_decided(view, point["fixed_on"])]
        if point["names"] == [GIVEN]:
            point["fixed_on"] = None
    return list(found.values())


def _goal(name: str) -> str:
    """What the threshold was chosen for."""
    base, _, rest = name.partition("@")
    parameter, _, value = rest.partition("=")
    return text.metric(f"{base}@{parameter}={value}") if rest else base.replace("_", " ")


def _decided(view: View, fixed_on: str | None) -> str:
    """How the threshold of decisions was chosen: by the user, the recipe, or the run that is tested on other data."""
    chosen = view.part("recipe", "evaluate").get("decide_at", "youden")
    if fixed_on == "given" or isinstance(chosen, int | float):
        return GIVEN
    if view.part("tested"):
        return "the run's own threshold"
    named = {"youden": "greatest sensitivity + specificity", "f1": "greatest F1"}
    return named.get(chosen, f"decisions at {str(chosen).replace('=', ' ')}")


def _shown(cuts: list[float | None]) -> str:
    return text.listed([text.threshold(c) for c in dict.fromkeys(cuts)])


def _achieved(scores: Scores, cuts: list[float], level: float) -> dict[str, Any]:
    """Counts, and shares with intervals; with folds, each unit is decided at its own fold's threshold."""
    folds = np.unique(scores.fold)
    cut = np.array(cuts if len(cuts) == len(folds) else [cuts[0]] * len(folds))[np.searchsorted(folds, scores.fold)]
    called, positive = scores.score >= cut, scores.truth == 1
    return {
        "counts": {
            "tp": int((called & positive).sum()),
            "fn": int((~called & positive).sum()),
            "fp": int((called & ~positive).sum()),
            "tn": int((~called & ~positive).sum()),
        },
        "sensitivity": proportions.share(called, positive, scores, level),
        "specificity": proportions.share(~called, ~positive, scores, level),
        "ppv": proportions.share(positive, called, scores, level),
        "npv": proportions.share(~positive, ~called, scores, level),
    }


def _matrix(view: View) -> dict[str, Any] | None:
    """Truth down, the class of the highest score across; None for too many classes to print."""
    classes = view.targets
    if view.predictions is None or not 2 <= len(classes) <= MOST_CLASSES:
        return None
    table = view.predictions[view.predictions["split"] == view.split]
    keys = ["case_id", "fold"] if "fold" in table else ["case_id"]
    truth, score = (table.pivot(index=keys, columns="target", values=v)[classes].to_numpy(float) for v in
                    ("truth", "score"))  # fmt: skip
    known = ~np.isnan(truth).any(axis=1)
    counts = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(counts, (truth[known].argmax(axis=1), score[known].argmax(axis=1)), 1)
    rows = [
        {
            "name": name,
            "total": int(line.sum()),
            "cells": [{"count": int(c), "share": c / max(line.sum(), 1)} for c in line],
        }
        for name, line in zip(classes, counts, strict=True)
    ]
    return {"classes": classes, "rows": rows}
