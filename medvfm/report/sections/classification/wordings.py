"""How much the choice of words does, where classes are asked in words: templates ranked on validation cases."""

from __future__ import annotations

from markupsafe import Markup

from medvfm.report import markup, text
from medvfm.report.charts import forest
from medvfm.report.run_view import Row, View

TITLE = "Templates and wording"
GROUP, PARAPHRASED = "wording=", "paraphrased"


def build(view: View) -> Markup | None:
    prompts = view.part("model", "prompts")
    worded = [r for r in view.rows(split="val", group=...) if str(r.get("group") or "").startswith(GROUP)]
    other = [r for r in view.rows(group=PARAPHRASED) if r["metric"] == (view.primary or {}).get("metric")]
    if not (worded or other):
        return None
    return markup.fragment(
        "wordings",
        table=_ranked(view, worded) if worded else None,
        notes=list(dict.fromkeys(str(r["note"]) for r in worded if r.get("note"))),
        prompts=[(name, asked) for name, asked in prompts.items()] if isinstance(prompts, dict) else [],
        paraphrased=_paraphrased(view, other),
    )


def _ranked(view: View, worded: list[Row]) -> Markup:
    """The best template first; of several classes the row over all of them."""
    metric = worded[0]["metric"]
    targets = list(dict.fromkeys(r["target"] for r in worded))
    target = next((t for t in targets if t in ("macro", None)), targets[0])
    shown = [r for r in worded if r["target"] == target and r["metric"] == metric]
    asked = next(iter(view.rows(split="val", metric=metric, target=target)), None)
    bare = {"note": None}  # the same validation cases: what is said of one is said of all, below
    lines = [forest.Line("All together, as asked", {**asked, **bare}, mark="diamond")] if asked else []
    lines += [forest.Line(str(r["group"]).removeprefix(GROUP), {**r, **bare}) for r in shown]
    named = text.title(text.metric(metric))
    return forest.table(
        f"{named} of each template or sentence alone, on validation cases.",
        lines,
        first="Template",
        value=named,
        reference=None if asked is None else asked.get("value"),
    )


def _paraphrased(view: View, rows: list[Row]) -> str | None:
    """The primary number with paraphrased class names beside that of the words as asked."""
    row, main = next(iter(rows), None), view.primary
    if row is None or main is None or row.get("value") is None:
        return None
    same = next((r for r in rows if r.get("target") == main.get("target")), row)
    named = text.metric(main["metric"])
    return (
        f"With paraphrased names of the classes, {named} on test cases is {text.with_interval(same)}, in place of "
        f"{text.with_interval(main)}."
    )
