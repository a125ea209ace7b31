"""Whether what was asked for is seen in the made images, and whether a classifier can learn from them."""

from __future__ import annotations

from markupsafe import Markup

from medvfm.report import markup, sentences, text
from medvfm.report.charts import forest
from medvfm.report.run_view import Row, View

TITLE = "What was asked for, and what can be learned"
CONDITION, USEFUL = "condition_auroc", "usefulness_auroc"
BESIDE = {CONDITION: ("untrained", "real"), USEFUL: ("untrained", "real", "real_augmented", "real_and_made")}
LEARNED = {None: "Made images alone", "real": "Real images alone", "untrained": "Images of the untrained model"}


def build(view: View) -> Markup | None:
    tables = {metric: _table(view, metric) for metric in (CONDITION, USEFUL)}
    if not any(tables.values()):
        return None
    return markup.fragment("seen_conditions", condition=tables[CONDITION], useful=tables[USEFUL])


def _table(view: View, metric: str) -> Markup | None:
    rows = view.rows(metric=metric, target=..., baseline=...)
    own = [r for r in rows if not r.get("baseline")]
    if not own:
        return None
    lines = []
    for row in own:
        lines.append(forest.Line(text.title(text.structure(row["target"]))))
        for name in (None, *BESIDE[metric]):
            found = next((r for r in rows if r["target"] == row["target"] and r.get("baseline") == name), None)
            if found is not None:
                lines.append(forest.Line(_label(view, metric, name), found, mark="square" if name else "diamond"))
    return forest.table(_caption(metric, own[0]), lines, first="Images", value="AUROC", reference=0.5)


def _label(view: View, metric: str, name: str | None) -> str:
    if metric == USEFUL and name in LEARNED:
        return LEARNED[name]
    if metric == CONDITION and name == "real":
        return "Real test images"
    return sentences.label(view) if name is None else sentences.baseline_label(view, name)


def _caption(metric: str, row: Row) -> str:
    if metric == CONDITION:
        return "AUROC with which a classifier trained on real images sees the condition in made ones."
    return "AUROC on real test images of a classifier trained on these images."
