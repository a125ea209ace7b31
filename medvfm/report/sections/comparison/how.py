"""How the runs were compared, to be copied into a paper, and which runs they are."""

from __future__ import annotations

from markupsafe import Markup

from medvfm.report import markup, text
from medvfm.report.run_view import View
from medvfm.report.sections.comparison import words

TITLE = "How they were compared"


def build(view: View) -> Markup | None:
    return markup.fragment("how_compared", said=sentences(view), runs=view.part("compared", "runs") or [])


def sentences(view: View) -> list[str]:
    """Pairing, intervals, tests, places and margins."""
    compared = view.part("compared")
    rows = words.differences(view)
    tests = [words.TESTS[t] for t in dict.fromkeys(r.get("test") for r in rows) if t in words.TESTS]
    methods = [text.interval_method(m) for m in dict.fromkeys(r["method"] for r in rows if r.get("method"))]
    level = text.level(rows[0]) if rows else "95% CI"
    number = compared.get("tests") or 0
    said = [
        "Runs were compared on the same cases and the same truth; every difference is paired, and its interval "
        f"({level}) rests on {text.listed(methods) or 'no method'}.",
        f"p-values are two-sided, by {text.listed(tests) or 'no test'}, and adjusted for "
        f"{text.plural(number, 'test')} by the method of {words.ADJUSTED[str(compared.get('adjust'))]}.",
        "A run's place is 1 and one more for every run that a test puts above it after this adjustment; runs that no "
        "test separates share a place, which does not say that they are equal.",
    ]
    margins = {str(r["metric"]).removesuffix(text.DIFFERENCE): r["margin"] for r in rows if r.get("margin") is not None}
    if margins:
        listed = text.listed([f"{text.compact(m)} in {text.quantity(name)}" for name, m in margins.items()])
        said.append(
            f"The margin was {listed}. Not worse means that the interval leaves out a difference as large as the "
            "margin to that side; equivalent, that it lies within the margin on both sides."
        )
    return said
