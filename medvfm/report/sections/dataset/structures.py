"""What the truth of a data set holds: labels of classes, structures, objects, texts."""

from __future__ import annotations

from markupsafe import Markup

from medvfm.report import markup
from medvfm.report.run_view import View

TITLE = "Truth"


def build(view: View) -> Markup | None:
    truth = view.part("truth")
    wanted = ("classes", "structures", "objects", "questions", "texts")
    if not any(truth.get(key) for key in wanted):
        return None
    return markup.fragment(
        "structures",
        **{key: truth.get(key) or [] for key in wanted},
        total=truth.get("cases") or 0,
        soft=any(entry.get("soft") for entry in truth.get("classes") or []),
        unit=truth.get("size_unit") or "",
    )
