"""Structures that were missed, and structures that were predicted where there are none."""

from __future__ import annotations

from typing import Any

import numpy as np
from markupsafe import Markup

from medvfm.report import markup, per_case, proportions, text
from medvfm.report.run_view import View

TITLE = "Missed and false-positive structures"
MOST = 30  # missed cases that are listed of a structure


def build(view: View) -> Markup | None:
    unit = per_case.size_unit(view)
    lines = [line for target in per_case.structures(view) if (line := _line(view, target, unit)) is not None]
    if not lines:
        return None
    return markup.fragment(
        "missed",
        lines=lines,
        unit=unit,
        distances=any(m.startswith(("hd95", "assd")) for m in per_case.metrics(view)),
        cases=per_case.count(view),
        kept="measures.parquet",
        level=f"{100 * view.level:.4g}%",
        any_missed=any(line["missed"]["hits"] for line in lines),
        any_spurious=any(line["spurious"]["hits"] for line in lines),
    )


def _line(view: View, target: str, unit: str) -> dict[str, Any] | None:
    sizes = per_case.sizes(view, target)
    if sizes is None:
        return None
    scores, absent = sizes.as_scores(), ~sizes.present
    missed = np.flatnonzero(sizes.missed)
    return {
        "name": text.title(text.structure(target)),
        "present": int(sizes.present.sum()),
        "absent": int(absent.sum()),
        "missed": proportions.share(sizes.missed, sizes.present, scores, view.level),
        "spurious": proportions.share(sizes.spurious, absent, scores, view.level),
        "false_positive": text.number(float(sizes.predicted[absent].mean())) if absent.any() else None,
        "list": [_case(int(sizes.place[r]), sizes.truth[r], unit) for r in missed[:MOST]],
        "more": max(0, len(missed) - MOST),
    }


def _case(place: int, size: float, unit: str) -> str:
    """`case 12 (0.41 ml)`: no name, which could be a patient's."""
    return f"case {place} ({amount(size, unit)})"


def amount(size: float, unit: str) -> str:
    """Objects and voxels are whole."""
    if unit == "ml":
        return f"{text.number(size)}\u00a0ml"
    return text.plural(round(size), unit.removesuffix("s"))
