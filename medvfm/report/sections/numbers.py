"""Every row of run.json."""

from __future__ import annotations

from markupsafe import Markup

from medvfm.report import markup, text
from medvfm.report.run_view import Row, View, is_variant

TITLE = "All numbers"
SCALED_ANEW = "recalibrated=anew"


def build(view: View) -> Markup | None:
    if not view.metrics:
        return None
    groups: dict[str, list[Row]] = {}
    for row in view.metrics:
        shown = {"variant": text.variant(row["group"]) if is_variant(row) else "", "note": _note(row)}
        of_task = f" ({str(row['task']).replace('_', ' ')})" if row.get("task") else ""
        groups.setdefault(_heading(view, row) + of_task, []).append({**row, **shown})
    methods = dict.fromkeys(r["method"] for r in view.metrics if r.get("method"))
    return markup.fragment(
        "numbers",
        groups=list(groups.items()),
        unit=view.unit,
        patients=view.names_patients and view.unit != "patient",
        methods=[text.interval_method(m, view.owner) for m in methods],
        several=len({r.get("target") for r in view.metrics}) > 1,
        positive=view.word("positive") or "Positive",
    )


def _heading(view: View, row: Row) -> str:
    split = {"test": "Test", "val": "Validation", "train": "Training"}.get(row["split"], text.split(row["split"]))
    of_group = f", {row['group'].replace('=', ' ').replace('_', ' ')}" if row.get("group") else ""
    if row.get("baseline") and row["metric"].endswith(text.DIFFERENCE):
        return f"{split}: model minus {view.baseline(row['baseline'])}{of_group}"
    if row.get("baseline"):
        return f"{split}: {view.baseline(row['baseline'])}{of_group}"
    if is_variant(row):
        return f"{split}: other prompts from the truth"
    if str(row.get("group")) == SCALED_ANEW:
        return f"{split}: probabilities scaled anew"
    if row.get("group"):
        return f"{split}: {row['group'].replace('=', ' ').replace('_', ' ')}"
    return f"{split}: the model"


def _note(row: Row) -> str | None:
    """Without the number of cases that a count of cases already says: `7 of 48`."""
    if row.get("unit") != "cases" or not row.get("note"):
        return row.get("note")
    said = f"of {row.get('cases')} cases"
    return "; ".join(part for part in str(row["note"]).split("; ") if part != said)
