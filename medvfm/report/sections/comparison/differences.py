"""Every paired difference: drawn for the number that runs are ranked by, and all of them in a table."""

from __future__ import annotations

from markupsafe import Markup

from medvfm.report import markup, text
from medvfm.report.charts import forest
from medvfm.report.run_view import View
from medvfm.report.sections.comparison import words

TITLE = "Paired differences"


def build(view: View) -> Markup | None:
    rows = words.differences(view)
    if not rows:
        return None
    first = [r for r in rows if words.is_primary(view, r)] or rows
    drawn = forest.table(
        f"Difference in {text.quantity(first[0]['metric'].removesuffix(text.DIFFERENCE))} on the same cases; "
        "the dashed line is no difference.",
        [
            forest.Line(
                f"{r.get('model')} minus {r.get('baseline')}", r, mark="diamond" if r.get("separated") else "dot",
                extra=words.p_value(r.get("p_adjusted")),
            )
            for r in first
        ],
        first="Model minus other",
        value="Difference",
        reference=0.0,
        extra="Adjusted p",
    )  # fmt: skip
    table = [
        {
            "number": words.number_name(view, r),
            "model": r.get("model"),
            "other": r.get("baseline"),
            "value": "not defined" if r["value"] is None else text.value(r),
            "interval": text.interval(r),
            "p": words.p_value(r.get("p")).removeprefix("p "),
            "adjusted": words.p_value(r.get("p_adjusted")).removeprefix("p "),
            "note": "; ".join(dict.fromkeys(str(n) for n in (r.get("note"), r.get("test_note")) if n)),
        }
        for r in rows
    ]  # fmt: skip
    return markup.fragment(
        "differences",
        drawn=drawn,
        said=[words.statement(view, r) for r in first],
        rows=table,
        level=text.level(rows[0]),
    )
