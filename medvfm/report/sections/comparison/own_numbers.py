"""The numbers of each run, beside each other."""

from __future__ import annotations

from markupsafe import Markup

from medvfm.report import markup, text
from medvfm.report.run_view import Row, View
from medvfm.report.sections.comparison import words

TITLE = "The runs' own numbers"


def build(view: View) -> Markup | None:
    rows = [r for r in view.metrics if not r["metric"].endswith(text.DIFFERENCE)]
    if not rows:
        return None
    names = list(dict.fromkeys(str(r.get("model")) for r in rows))
    numbers = dict.fromkeys((r["metric"], r.get("target")) for r in rows)
    placed = {(r["metric"], r.get("target"), str(r.get("model"))): r for r in rows}
    table = []
    for metric, target in numbers:
        own = [placed[metric, target, name] for name in names]
        table.append({"number": words.number_name(view, own[0]), "cells": [_cell(row) for row in own]})
    return markup.fragment("own_numbers", names=names, rows=table, level=text.level(rows[0]))


def _cell(row: Row) -> dict[str, str]:
    if row["value"] is None:
        return {"value": "not defined", "interval": str(row.get("note") or "")}
    return {"value": text.value(row), "interval": text.interval(row)}
