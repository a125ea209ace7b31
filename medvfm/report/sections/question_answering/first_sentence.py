"""What was asked and how well it was answered, counted in questions."""

from __future__ import annotations

from medvfm.report import sentences
from medvfm.report.run_view import View

CLOSED = ("closed_accuracy", "unparsed", "llava_med_closed")


def answer(view: View) -> dict[str, str] | None:
    """`... answered 198 closed test questions of 105 patients, with a closed-question accuracy of`, its number, and the
    end of the sentence."""
    said, row = sentences.answer(view), view.primary
    if said is None or row is None:
        return None
    among = "test" if view.record.get("kind") == "run" and view.split == "test" else ""
    verb = "wrote reports of"
    if view.task.get("kind") != "report":
        verb = "answered"
        everything = row["metric"] == "exact_match"
        among = " ".join(filter(None, ("" if everything else "closed" if row["metric"] in CLOSED else "open", among)))
    head = f"{sentences.subject(view)} {verb} {sentences.units(view, row, among)}{sentences.truth_source(view)}"
    name = sentences.number_name(view, row)
    if row.get("value") is None:
        return said | {"before": f"{head}, and the {name} is"}
    return said | {"before": f"{head}, with {'an' if name[0] in 'AEIOaeio' else 'a'} {name} of"}
