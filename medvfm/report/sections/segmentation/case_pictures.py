"""Worst, median, best and random cases as pictures, truth and prediction outlined."""

from __future__ import annotations

import json
from typing import Any

from markupsafe import Markup

from medvfm.report import case_table, data_uris, markup, text
from medvfm.report.run_view import View

TITLE = "Worst, median, best and random cases"
KINDS = {"worst": "Worst", "median": "Median", "best": "Best", "random": "Random"}
MOST = 24
MOST_COLOURED = 7
MOST_LETTERS = 2_000_000  # of the strips of slices on one page, whose aim is 3 MB


def build(view: View) -> Markup | None:
    several = len(view.task.get("classes", [])) > 1
    shown = [_case(view, entry, several) for entry in (view.record.get("examples") or [])[:MOST]]
    found = [entry for entry in shown if entry is not None]
    if not found:
        return None
    kinds = dict.fromkeys(entry["kind"] for entry in found)
    planes = any(e["planes"] for e in found)
    groups = [(KINDS.get(kind, kind), [e for e in found if e["kind"] == kind]) for kind in kinds]
    volumes = _volumes(view, found)
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
        volumes=volumes,
        without=sum("slices" in entry for entry in view.record.get("examples") or []) - len(volumes),
        structures=[text.structure(c) for c in view.task.get("classes", [])] if several else [],
    )


def _volumes(view: View, shown: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the slice viewer opens, in the order of the pictures, as far as the size of the page allows."""
    told = {entry["file"]: entry for entry in shown}
    found, letters = [], 0
    for entry in view.record.get("examples") or []:
        given = entry.get("slices") or {}
        paths = [data_uris.inside(view.directory, str(given.get(part) or "")) for part in ("picture", "labels")]
        if entry.get("file") not in told or None in paths:
            continue
        picture, labels = (data_uris.uri("webp", path.read_bytes()) for path in paths if path is not None)
        letters += len(picture) + len(labels)
        if letters > MOST_LETTERS:
            break
        facts = {key: value for key, value in given.items() if key not in ("picture", "labels")}
        found.append(told[entry["file"]] | {"picture": picture, "labels": labels, "facts": json.dumps(facts)})
    return found


def _case(view: View, entry: dict[str, Any], several: bool) -> dict[str, Any] | None:
    found = data_uris.read(view.directory, str(entry.get("file") or ""))
    if found is None:
        return None
    score, metric = entry.get("score"), str(entry.get("metric") or "score")
    unit = text.UNITS.get(metric)
    return {
        "uri": found.uri,
        "file": entry["file"],
        "id": case_table.anchors(view).get(str(entry.get("file"))),
        "planes": found.is_planes,
        "kind": str(entry.get("kind") or "picture"),
        "heading": KINDS.get(str(entry.get("kind")), str(entry.get("kind") or "picture")),
        "metric": metric,
        "named": text.title(f"mean {text.quantity(metric)}" if several else text.quantity(metric)),
        "score": text.number(score) + (f" {unit}" if unit else "") if isinstance(score, int | float) else "",
        "caption": str(entry.get("caption") or ""),
    }
