"""What a reader sees first of retrieval: a line a metric, a direction beside the other."""

from __future__ import annotations

from medvfm.report import sentences, text
from medvfm.report.plain_table import PlainTable
from medvfm.report.run_view import Row, View

NONE = "–"


def direction(target: str | None) -> str:
    """`text to image` for `text_to_image`."""
    return str(target or "").replace("_", " ")


def targets(view: View) -> list[str]:
    """Directions with rows, in the order of the record."""
    return list(dict.fromkeys(str(r["target"]) for r in view.rows() if r.get("target")))


def headline(view: View) -> PlainTable | None:
    """Every metric of every direction."""
    shown, rows = targets(view), view.rows()
    if not shown:
        return None
    found = {(r["metric"], r.get("target")): r for r in rows}
    lines, notes = [], []
    for metric in dict.fromkeys(r["metric"] for r in rows):
        mine = [found.get((metric, target)) for target in shown]
        lines.append((text.title(text.metric(metric)), *(cell for row in mine for cell in _cells(row))))
        parts = [part for row in mine if row is not None for part in str(row.get("note") or "").split("; ")]
        notes.append("; ".join(part for part in dict.fromkeys(parts) if part))
    level = text.level(rows[0])
    columns = ("", *(name for target in shown for name in (text.title(direction(target)), level)))
    return PlainTable("", columns, tuple(lines), tuple(notes))


def answer(view: View) -> dict[str, str] | None:
    """The sentence of every task, with the direction behind its number."""
    said, row = sentences.answer(view), view.primary
    if said is None or row is None or row.get("value") is None:
        return said
    return said | {"after": f" from {direction(row.get('target'))}."}


def _cells(row: Row | None) -> tuple[str, str]:
    if row is None:
        return NONE, ""
    return ("not defined", "") if row.get("value") is None else (text.value(row), text.interval(row))
