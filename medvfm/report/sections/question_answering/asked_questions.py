"""Questions with their image, the answer and the truth, and what every protocol says of them."""

from __future__ import annotations

from markupsafe import Markup

from medvfm.report import data_uris, markup
from medvfm.report.run_view import View
from medvfm.report.sections.question_answering import question_table

TITLE = "Questions and answers"
MOST = 12


def build(view: View) -> Markup | None:
    answered = question_table.of_view(view)
    if not answered:
        return None
    chosen = [e for e in view.part("question_answering", "asked") or [] if isinstance(e.get("place"), int)]
    if not chosen:  # an evaluation has no images
        step = max(1, len(answered) // MOST)
        chosen = [{"place": place} for place in range(0, len(answered), step)]
    shown = []
    for entry in chosen[:MOST]:
        if 0 <= entry["place"] < len(answered):
            found = data_uris.read(view.directory, str(entry.get("file") or ""))
            uri = "" if found is None else found.uri
            shown.append(answered[entry["place"]].shown() | {"uri": uri, "number": entry["place"] + 1})
    pictures = any(entry["uri"] for entry in shown)
    return markup.fragment("asked_questions", asked=shown, pictures=pictures, of=len(answered))
