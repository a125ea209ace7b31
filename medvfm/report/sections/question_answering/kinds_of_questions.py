"""The first number for every type of question and every value of a column, beside the baselines."""

from __future__ import annotations

from markupsafe import Markup

from medvfm.report import markup, sentences, text
from medvfm.report.charts import forest
from medvfm.report.run_view import Row, View
from medvfm.report.sections.question_answering import coin

TITLE = "Kinds of questions"
MOST_GROUPS = 30
BELOW = "below 0.5, which a coin reaches: compare the model with 0.5"


def build(view: View) -> Markup | None:
    row = view.primary
    if row is None:
        return None
    of_task = ("question_type", *((view.task.get("options") or {}).get("by") or ()))
    every = [r for r in view.rows(metric=row["metric"], group=..., baseline=...) if r.get("group")]
    groups = [g for g in dict.fromkeys(r["group"] for r in every) if str(g).partition("=")[0] in of_task][:MOST_GROUPS]
    if not groups:
        return None
    yes_no, lines, below = coin.yes_no_groups(view), [forest.Line("All questions")], False
    for group in (None, *groups):
        if group is not None:
            column, _, value = str(group).partition("=")
            lines.append(forest.Line(f"{text.title(column.replace('_', ' '))}: {value}"))
        mine = view.rows(metric=row["metric"], group=group, baseline=...)
        gaps = {r["baseline"]: r for r in view.rows(metric=row["metric"] + text.DIFFERENCE, group=group, baseline=...)}
        for each in sorted(mine, key=lambda r: (bool(r.get("baseline")), -(r.get("value") or 0))):
            lost = group in yes_no and bool(each.get("baseline")) and coin.is_below(each)
            below |= lost
            lines.append(_line(view, each, gaps, lost))
    named = text.title(text.metric(row["metric"]))
    paired = any(line.extra for line in lines)
    table = forest.table(
        f"{named} by kind of question, of the model and of every baseline on the same questions.",
        lines,
        first="Kind of question",
        value=named,
        extra="Model minus baseline" if paired else None,
    )
    return markup.fragment("kinds_of_questions", table=table, paired=paired, below=below)


def _line(view: View, row: Row, gaps: dict[str, Row], lost: bool) -> forest.Line:
    if not row.get("baseline"):
        return forest.Line(sentences.label(view), row, sentences.units(view, row), "diamond")
    gap = gaps.get(row["baseline"])
    extra = ""
    if gap is not None and gap.get("value") is not None:
        found = text.interval(gap)
        extra = f"{text.value(gap)}{f' ({found})' if found else ''}"
    name = sentences.baseline_label(view, row["baseline"])
    return forest.Line(name, row, BELOW if lost else "", mark="square", extra=extra)
