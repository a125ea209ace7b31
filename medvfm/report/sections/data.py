"""Where the cases come from, who was left out, and who is in which split."""

from __future__ import annotations

from collections import Counter
from typing import Any

from markupsafe import Markup

from medvfm.io.dataset.case_names import impersonal
from medvfm.report import markup, text
from medvfm.report.run_view import View

TITLE = "Data"
SPLITS = {"train": "Training", "val": "Validation", "test": "Test", "all": "All"}
MOST_REASONS = 12


def build(view: View) -> Markup | None:
    data = view.part("data")
    if not data:
        return None
    rows = data.get("characteristics") or []
    present = data.get("splits") or {}
    columns = [s for s in SPLITS if s in present or any(s in row for row in rows)]
    columns += [s for s in present if s not in columns]
    return markup.fragment(
        "data",
        card=data.get("card") or {},
        full=view.record.get("kind") == "card",
        layout=data.get("layout"),
        flow=flow(data.get("flow") or []),
        splits=[(SPLITS.get(s, s), present[s]) for s in columns if s in present],
        classes=list(dict.fromkeys(c for s in present.values() for c in s.get("positives", {}))),
        characteristics=_grouped(rows),
        columns=[(s, SPLITS.get(s, s)) for s in columns],
        reasons=reasons(data.get("left_out") or []),
        openings=data.get("test_openings"),
        holds=view.word("holds") or "Cases of each class",
        column=text.title(view.word("class") or "class"),
        folds=data.get("folds") or 1,
        patients=view.names_patients,
        unit=view.unit,
    )


def flow(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Boxes from top to bottom; what is lost on the way (negative counts) hangs beside the arrow to the next box."""
    boxes: list[dict[str, Any]] = []
    for step in steps:
        if (step.get("cases") or 0) < 0 and boxes:
            lost = {k: abs(step.get(k) or 0) for k in ("cases", "patients")}
            boxes[-1]["lost"].append({"step": step.get("step", "")} | lost)
        else:
            boxes.append({**step, "lost": []})
    return boxes


def reasons(left_out: list[dict[str, str]]) -> list[tuple[str, int]]:
    """Why cases were left out, counted, without file names and case ids: hospitals write patients' numbers there."""
    counted = Counter(impersonal(entry.get("reason") or "", entry.get("case_id") or "") for entry in left_out)
    return counted.most_common(MOST_REASONS)


def _grouped(rows: list[dict[str, str]]) -> list[dict[str, Any]]:
    """`sex: F` and `sex: M` under one heading `sex`; everything else as it stands."""
    found: list[dict[str, Any]] = []
    group = None
    for row in rows:
        head, colon, level = str(row.get("name", "")).partition(": ")
        if colon and head != group:
            found.append({"heading": head.replace("_", " ")})
        group = head if colon else None
        found.append({"name": level if colon else head.replace("_", " "), "indent": bool(colon), "row": row})
    return found
