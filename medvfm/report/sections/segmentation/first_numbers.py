"""What a reader sees first of a segmentation: a line a structure, the worst first, and the worst in the sentence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medvfm.report import per_case, sentences, text
from medvfm.report.plain_table import PlainTable
from medvfm.report.run_view import MEAN, WHOLE, Row, View

MOST = 12  # structures that are listed; of more, the worst
NONE = "–"


def headline(view: View) -> PlainTable | None:
    """Overlap, missed, drawn where there is none, and error of volume, of each structure; the mean last."""
    ranked = _worst_first(view)
    primary = view.primary
    if primary is None or not ranked:
        return None
    shown, left = ranked[:MOST], ranked[MOST:]
    lines = [(text.title(text.structure(r["target"])), r) for r in shown]
    rows = [(name, _number(r), text.interval(r), *_counts(view, r["target"])) for name, r in lines]
    notes = [str(r.get("note") or "") for r in shown]
    if left:
        values = [r["value"] for r in left if r.get("value") is not None]
        span = f"{text.number(min(values))} to {text.number(max(values))}" if values else NONE
        rows.append((f"{len(left)} more", span, "", "", "", ""))
        notes.append("")
    if primary.get("target") == MEAN:
        rows.append(("Mean", _number(primary), text.interval(primary), "", "", ""))
        notes.append(str(primary.get("note") or ""))
    columns = (
        text.title(view.word("class") or "structure"), text.title(text.metric(primary["metric"])), text.level(primary),
        "Missed", "False positive", "Count error" if per_case.size_unit(view) == "objects" else "Volume error",
    )  # fmt: skip
    return PlainTable("", columns, tuple(rows), tuple(notes))


def answer(view: View) -> dict[str, str] | None:
    """The sentence of every task where there is one structure; of several, the worst one's number and the others'."""
    ranked, said, primary = _worst_first(view), sentences.answer(view), view.primary
    if said is None or primary is None or not ranked or ranked[0].get("value") is None:
        return said
    worst = ranked[0]
    counts = _in_words(view, worst["target"])
    if not _leads_with_the_worst(view):
        after = said["after"].removesuffix(".")
        return said | ({"after": f"{after}; {counts}."} if counts and primary.get("value") is not None else {})
    sizes = per_case.sizes(view, worst["target"])
    held = int(sizes.present.sum()) if sizes is not None else 0
    test = "test " if view.record.get("kind") == "run" and view.split == "test" else ""
    return {
        "before": f"{text.title(text.structure(worst['target']))}: {text.quantity(worst['metric'])}",
        "number": text.with_interval(worst),
        "after": (f" in the {text.plural(held, test + view.unit)} with it" if held else "")
        + f"{f' ({counts})' if counts else ''}. {_others(view, ranked[1:])}",
        "whole": "yes",
    }


def by(view: View) -> str:
    """Who outlined what, where the sentence begins with the worst structure."""
    said = sentences.answer(view)
    if said is None or not _leads_with_the_worst(view):
        return ""
    return said["before"].rpartition(", with ")[0]


def _leads_with_the_worst(view: View) -> bool:
    ranked, primary = _worst_first(view), view.primary
    if primary is None or primary.get("target") != MEAN or primary.get("value") is None or view.oracle is not None:
        return False
    return len(ranked) > 1 and ranked[0].get("value") is not None


def _others(view: View, rows: Sequence[Row]) -> str:
    """`Other structures: Dice 0.78 to 0.93.`"""
    values = [row for row in rows if row.get("value") is not None]
    if not values:
        return ""
    one, name = len(values) == 1, text.quantity(values[0]["metric"])
    who = text.title(text.structure(values[0]["target"])) if one else f"Other {view.word('classes') or 'structures'}"
    numbers = list(dict.fromkeys(text.value(row) for row in (values[0], values[-1])))
    return f"{who}: {name} {' to '.join(numbers)}."


def _worst_first(view: View) -> list[Row]:
    """Rows of the first metric, of single structures; those without a value last."""
    primary = view.primary
    if primary is None:
        return []
    rows = [r for r in view.rows(metric=primary["metric"]) if r.get("target") not in WHOLE]
    sign = -1 if primary.get("better") == "lower" else 1
    return sorted(rows, key=lambda r: (r.get("value") is None, sign * (r.get("value") or 0)))


def _number(row: Row) -> str:
    return "not defined" if row.get("value") is None else text.value(row)


def _counts(view: View, target: str) -> tuple[str, str, str]:
    sizes = per_case.sizes(view, target)
    if sizes is None:
        return NONE, NONE, NONE
    present, absent = sizes.present, ~sizes.present
    missed = _of(sizes.missed, present)
    error = NONE
    if present.any():
        relative = float(np.mean(sizes.predicted[present] / sizes.truth[present] - 1))
        error = f"{'+' if relative > 0 else '−'}{abs(100 * relative):.0f}%" if round(100 * relative) else "0%"
    return missed, _of(sizes.spurious, absent), error


def _of(found: np.ndarray, among: np.ndarray) -> str:
    return f"{int(found.sum())} of {int(among.sum())}" if among.any() else NONE


def _in_words(view: View, target: str) -> str:
    """`missed in 1 of 5 images that hold it, drawn in 5 of 6 that do not`."""
    sizes = per_case.sizes(view, target)
    if sizes is None:
        return ""
    parts: Sequence[str] = [
        f"missed in {int(sizes.missed.sum())} of {text.plural(int(sizes.present.sum()), view.unit)} with it"
        if sizes.present.any()
        else "",
        f"drawn in {int(sizes.spurious.sum())} of {int((~sizes.present).sum())} without it"
        if (~sizes.present).any()
        else "",
    ]
    return ", ".join(part for part in parts if part)
