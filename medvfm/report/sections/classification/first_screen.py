"""What a reader sees first of one yes-or-no question: 100 patients, and three numbers in place of eight."""

from __future__ import annotations

from typing import Any

import numpy as np
from markupsafe import Markup

from medvfm.report import markup, text
from medvfm.report.run_view import Row, View
from medvfm.report.sections.classification import operating

OF = 100


def frequencies(view: View) -> Markup | None:
    """100 patients as pictograms at the threshold of decisions; None where there is not one question and threshold."""
    point = _decided(view)
    if point is None:
        return None
    counts, target = point["counts"], view.targets[0]
    positives, negatives = counts["tp"] + counts["fn"], counts["fp"] + counts["tn"]
    if not positives or not negatives:
        return None
    rates = counts["tp"] / positives, counts["tn"] / negatives
    share = positives / (positives + negatives)
    return markup.fragment(
        "frequencies",
        of=OF,
        people=_people(share, *rates),
        prevalence=share,
        sensitivity=rates[0],
        specificity=rates[1],
        unit=f"{view.unit}s",
        name=text.structure(target),
        threshold=point["threshold"],
        predictive={key: point[key] for key in ("ppv", "npv")},
    )


def _people(share: float, sensitivity: float, specificity: float) -> dict[str, int]:
    """Whole numbers that add up to OF."""
    ill = round(OF * share)
    found, alarms = round(ill * sensitivity), round((OF - ill) * (1 - specificity))
    return {"tp": found, "fn": ill - found, "fp": alarms, "tn": OF - ill - alarms}


def numbers(view: View) -> list[dict[str, Any]] | None:
    """Discrimination, the decision with both rates that it reached, and calibration; None for other questions."""
    point = _decided(view)
    main = view.primary
    if point is None or main is None or main.get("value") is None:
        return None
    cards = [_card(f"Discrimination: {text.quantity(main['metric'])}", [("", main)])]
    cards.append(
        _card(
            f"Decision at the threshold {point['threshold']}",
            [("Sensitivity", point["sensitivity"]), ("Specificity", point["specificity"])],
        )
    )
    found = {r["metric"]: r for r in view.rows(target=main.get("target"))}
    slope = _known(found, {"calibration_intercept": "Intercept", "calibration_slope": "Slope"})
    other = _known(found, {key: text.title(text.metric(key)) for key in ("brier", "ece")})
    if slope or other:
        why = "right is an intercept of 0 and a slope of 1" if slope else ""
        cards.append(_card("Calibration", slope or other, why))
    return cards


def _known(found: dict[str, Row], names: dict[str, str]) -> list[tuple[str, Row]]:
    """Those of the rows that have a value, with what they are called."""
    return [(label, found[key]) for key, label in names.items() if found.get(key, {}).get("value") is not None]


def _card(name: str, values: list[tuple[str, Row | dict[str, Any]]], why: str = "") -> dict[str, Any]:
    return {
        "name": name,
        "why": why,
        "values": [
            {
                "name": label,
                "value": text.value(row),
                "range": f"{text.level(row)} {text.interval(row)}" if text.interval(row) else "no interval",
            }
            for label, row in values
        ],
    }


def _decided(view: View) -> dict[str, Any] | None:
    """The threshold of decisions of a single target, with what it achieves, as the section on thresholds has it."""
    if len(view.targets) != 1 or view.task.get("kind") in operating.EXCLUSIVE:
        return None
    points = [p for p in operating.points(view, view.targets[0], view.level) if not p.get("undefined")]
    scores = view.scores(view.targets[0])
    if scores is None or len(np.unique(scores.fold)) > 1:
        return None
    return next((p for p in points if p["decides"]), points[0] if points else None)
