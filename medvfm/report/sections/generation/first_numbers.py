"""What a reader sees first of generation: a line a metric, the best rival and real images beside the model."""

from __future__ import annotations

from typing import Any

from medvfm.report import sentences, text
from medvfm.report.plain_table import PlainTable
from medvfm.report.run_view import Row, View

NONE = "–"
REAL = "real"
NAMES = {"embedded": "the embedded ImageNet encoder", "inception": "the Inception of published FID values"}


def extractor(view: View) -> dict[str, Any]:
    """What run.json says of whose features sets were compared in."""
    return dict(view.part("extractor") or view.part("task", "extractor"))


def features(view: View) -> str:
    """`features of the embedded ImageNet encoder, not comparable with Inception FID`."""
    found = extractor(view)
    named = NAMES.get(str(found.get("name"))) or str(found.get("weights") or found.get("name") or "an extractor")
    if found.get("comparable"):
        return f"features of {named}"
    return f"features of {named}, not comparable with Inception FID"


def headline(view: View) -> PlainTable | None:
    """Every metric of all images together, and of each class."""
    rows = view.rows()
    if not rows:
        return None
    lines, notes = [], []
    for row in rows:
        lines.append((_name(view, row), *_cells(row), _beside(view, row, REAL)))
        notes.append(str(row.get("note") or ""))
    return PlainTable("", ("", "Made images", text.level(rows[0]), "Real images"), tuple(lines), tuple(notes))


def answer(view: View) -> dict[str, str] | None:
    """Who made how many images, and their distance to real ones, with n and extractor."""
    row = view.primary
    if row is None:
        return None
    name, pair = text.metric(row["metric"]), f"{text.count(row.get('cases') or 0)} made images"
    real = view.part("generation").get("real")
    beside = "as many" if real in (None, row.get("cases")) else text.count(real)
    before = f"{sentences.subject(view)} made images; {pair} lie, beside {beside} real test images,"
    if not view.part("model"):
        before = f"{pair[:1].upper()}{pair[1:]} lie, beside the real ones,"
    if row.get("value") is None:
        return {"before": f"{before} and the {name} is", "number": text.with_interval(row), "after": ".", "whole": ""}
    return {
        "before": f"{before} at a {name} of",
        "number": text.with_interval(row),
        "after": f" ({features(view)}).",
        "whole": "yes",
    }


def _name(view: View, row: Row) -> str:
    named = text.title(text.metric(row["metric"]))
    return f"{named}, {text.structure(row['target'])}" if row.get("target") else named


def _cells(row: Row) -> tuple[str, str]:
    return ("not defined", "") if row.get("value") is None else (text.value(row), text.interval(row))


def _beside(view: View, row: Row, baseline: str) -> str:
    found = next(iter(view.rows(metric=row["metric"], target=row.get("target"), baseline=baseline)), None)
    return NONE if found is None or found.get("value") is None else text.value(found)
