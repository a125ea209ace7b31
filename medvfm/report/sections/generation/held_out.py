"""Combinations of conditions that no training case had: is each part of them seen in what was made for them?"""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from medvfm.report import markup, sentences, text
from medvfm.report.charts import forest
from medvfm.report.run_view import Row, View

TITLE = "Put together: combinations held out of training"
CONDITION, BESIDE = "condition_auroc", ("untrained", "real")
OF_REAL = "Real test images"


def build(view: View) -> Markup | None:
    held = view.part("generation").get("held_out") or []
    if not held:
        return None
    return markup.fragment("held_out", combinations=[_combination(view, entry) for entry in held])


def _combination(view: View, entry: dict[str, Any]) -> dict[str, Any]:
    rows = view.rows(metric=CONDITION, target=..., baseline=..., group=entry["group"])
    named = text.listed(text.structure(entry["group"].partition("=")[2]).split("+"))
    lines = []
    for name in entry["conditions"]:
        mine = {r.get("baseline"): r for r in rows if r["target"] == name}
        if None in mine:
            lines.append(forest.Line(text.title(text.structure(name))))
            lines += [_line(view, mine[b], b) for b in (None, *BESIDE) if b in mine]
    caption = f"{text.title(named)}: AUROC with which each is seen, beside images asked for the same but for it."
    return {
        "name": named,
        "made": entry["made"],
        "real": entry["real"],
        "table": forest.table(caption, lines, first="Images", value="AUROC", reference=0.5) if lines else "",
    }


def _line(view: View, row: Row, baseline: str | None) -> forest.Line:
    if baseline is None:
        return forest.Line(sentences.label(view), row, mark="diamond")
    return forest.Line(OF_REAL if baseline == "real" else sentences.baseline_label(view, baseline), row, mark="square")
