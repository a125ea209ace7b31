"""Every row of run.json in one table, which sorts and is filtered, and as a file to download."""

from __future__ import annotations

import base64
from typing import Any

from markupsafe import Markup

from medvfm.report import markup, metrics_csv, text
from medvfm.report.run_view import Row, View, is_variant

TITLE = "All results"
SCALED_ANEW, NOT_RECALIBRATED = "recalibrated=anew", "recalibrated=no"
SPLITS = {"test": "Test", "val": "Validation", "train": "Training"}
MODEL, BASELINES, GROUPS, OTHERS = "model", "baselines", "groups", "others"
PRESETS = ((MODEL, "The model"), (BASELINES, "Baselines"), (GROUPS, "Subgroups"), (OTHERS, "Other data"), ("", "All"))


def build(view: View) -> Markup | None:
    found = [row for row in view.metrics if row.get("task") in (None, view.task.get("name"))]
    if not found:
        return None
    rows = [_row(view, row) for row in found]
    rows.sort(key=lambda row: row["tags"] != [MODEL])  # what is printed and looked for first
    several = len({r.get("target") for r in found}) > 1
    patients = view.names_patients and view.unit != "patient"
    unit, positive = f"{text.title(view.unit)}s", view.word("positive") or "Positive"
    columns = ["Metric", *(["Target"] if several else []), "Of", "Group", "Split", "Value", text.level(found[0]), unit,
               *(["Patients"] if patients else []), positive, "Interval and note"]  # fmt: skip
    tagged = {tag for row in rows for tag in row["tags"]}
    methods = dict.fromkeys(r["method"] for r in found if r.get("method"))
    return markup.fragment(
        "numbers",
        rows=rows,
        shown=sum(MODEL in row["tags"] for row in rows),
        columns=columns,
        choices=[(n, c, _values(rows, c)) for n, c in enumerate(columns) if c in ("Metric", "Of", "Split")],
        presets=[(tag, name) for tag, name in PRESETS if not tag or tag in tagged],
        id=f"{view.task.get('name', 'run')}-numbers",
        unit=unit,
        patients=patients,
        several=several,
        positive=positive,
        csv=f"data:text/csv;base64,{base64.b64encode(metrics_csv.text(view).encode()).decode()}",
        methods=[text.interval_method(m, view.owner) for m in methods],
    )


def _values(rows: list[dict[str, Any]], column: str) -> list[str]:
    key = {"Metric": "named", "Of": "of", "Split": "of_split"}[column]
    return list(dict.fromkeys(row[key] for row in rows))


def _row(view: View, row: Row) -> dict[str, Any]:
    """The row with what its cells say, and the filter that it belongs to."""
    variant = text.variant(row["group"]) if is_variant(row) else ""
    named = text.title(text.metric(row["metric"])) + (f", {variant}" if variant else "")
    group = "" if is_variant(row) else _group(str(row.get("group") or ""))
    baseline = row.get("baseline")
    tag = OTHERS if row["split"] != view.split else GROUPS if row.get("group") else BASELINES if baseline else MODEL
    return {
        **row,
        "named": named,
        "of": _of(view, row),
        "of_group": group or ("all" if not variant else "other prompts"),
        "of_split": SPLITS.get(row["split"], text.split(row["split"])),
        "note": _note(row),
        "tags": [tag],
    }


def _group(name: str) -> str:
    named = {SCALED_ANEW: "probabilities scaled anew", NOT_RECALIBRATED: "before recalibration"}
    return named[name] if name in named else name.replace("=", " ").replace("_", " ")


def _of(view: View, row: Row) -> str:
    """The model, a baseline, or how far they are apart."""
    of_task = f" ({str(row['task']).replace('_', ' ')})" if row.get("task") else ""
    if not row.get("baseline"):
        return f"the model{of_task}"
    named = view.baseline(row["baseline"])
    return (f"model minus {named}" if row["metric"].endswith(text.DIFFERENCE) else named) + of_task


def _note(row: Row) -> str | None:
    """Without the number of cases that a count of cases already says: `7 of 48`."""
    if row.get("unit") != "cases" or not row.get("note"):
        return row.get("note")
    said = f"of {row.get('cases')} cases"
    return "; ".join(part for part in str(row["note"]).split("; ") if part != said)
