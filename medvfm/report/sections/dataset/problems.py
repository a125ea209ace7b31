"""Problems of a data set; no patient and no case is named."""

from __future__ import annotations

from markupsafe import Markup

from medvfm.report import markup
from medvfm.report.run_view import View
from medvfm.report.sections.data import reasons

TITLE = "Problems"


def build(view: View) -> Markup | None:
    if "problems" not in view.record:
        return None
    found = view.part("problems")
    return markup.fragment(
        "problems",
        reasons=reasons(view.part("data").get("left_out") or []),
        faults=found.get("faults") or [],
        leak=bool(found.get("leak")),
        twins=found.get("twins") or 0,
        notes=found.get("notes") or [],
        masks=bool(view.part("truth").get("masks")),
        apart=view.names_patients and len(view.part("data").get("splits") or {}) > 1,
    )
