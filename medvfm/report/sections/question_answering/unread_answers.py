"""Answers to closed questions from which none of the possible answers could be read."""

from __future__ import annotations

from collections import Counter

from markupsafe import Markup

from medvfm.report import markup
from medvfm.report.run_view import View
from medvfm.report.sections.question_answering import question_table

TITLE = "Answers that could not be read"
MOST = 10


def build(view: View) -> Markup | None:
    closed = [q for q in question_table.of_view(view) if "unparsed" in q.marks]
    if not closed:
        return None
    unread = [q for q in closed if q.marks["unparsed"] > 0.5]
    counts = Counter((question_table.shortened(q.question), question_table.shortened(q.answer)) for q in unread)
    listed = [(q, a or "(no words)", n) for (q, a), n in counts.most_common(MOST)]
    return markup.fragment(
        "unread_answers", unread=len(unread), closed=len(closed), listed=listed, more=len(counts) > MOST
    )
