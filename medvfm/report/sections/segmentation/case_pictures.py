"""Worst, median, best and random cases as pictures, truth and prediction outlined."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from medvfm.report import data_uris, markup, text
from medvfm.report.run_view import View

TITLE = "Worst, median, best and random cases"
KINDS = {"worst": "Worst", "median": "Median", "best": "Best", "random": "Random"}
MOST = 24
MOST_COLOURED = 7


def build(view: View) -> Markup | None:
    several = len(view.task.get("classes", [])) > 1
    shown = [_case(view, entry, several) for entry in (view.record.get("examples") or [])[:MOST]]
    found = [entry for entry in shown if entry is not None]
    if not found:
        return None
    kinds = dict.fromkeys(entry["kind"] for entry in found)
    planes = any(e["planes"] for e in found)
    groups = [(KINDS.get(kind, kind), [e for e in found if e["kind"] == kind]) for kind in kinds]
    return markup.fragment(
        "case_pictures",
        groups=groups if planes else [("", found)],  # pictures stand side by side, planes of volumes one below another
        planes=planes,
        metric=text.metric(found[0]["metric"]),
        several=several,
        coloured=several
        and len(view.task.get("classes", [])) <= MOST_COLOURED
        and view.task.get("kind") != "instances",
        tables=view.measures is not None,
    )


def _case(view: View, entry: dict[str, Any], several: bool) -> dict[str, Any] | None:
    found = data_uris.read(view.directory, str(entry.get("file") or ""))
    if found is None:
        return None
    score, metric = entry.get("score"), str(entry.get("metric") or "score")
    unit = text.UNITS.get(metric)
    return {
        "uri": found.uri,
        "planes": found.is_planes,
        "kind": str(entry.get("kind") or "picture"),
        "heading": KINDS.get(str(entry.get("kind")), str(entry.get("kind") or "picture")),
        "metric": metric,
        "named": text.title(f"mean {text.quantity(metric)}" if several else text.quantity(metric)),
        "score": text.number(score) + (f" {unit}" if unit else "") if isinstance(score, int | float) else "",
        "caption": str(entry.get("caption") or ""),
    }
