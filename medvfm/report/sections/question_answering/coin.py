"""What a coin reaches on questions of yes and no: a baseline below it is no measure of a model."""

from __future__ import annotations

from medvfm.report import sentences, text
from medvfm.report.run_view import Row, View
from medvfm.report.sections.question_answering import question_table

COIN = 0.5
ACCURACY = "closed_accuracy"


def yes_no_groups(view: View) -> set[str | None]:
    """Groups of rows whose closed questions all want yes or no; None stands for all questions together."""
    closed = [q for q in question_table.of_view(view) if q.closed]
    found: set[str | None] = set()
    for kind in {q.question_type for q in closed}:
        if all(_is_yes_no(q.truth) for q in closed if q.question_type == kind):
            found.add(f"question_type={kind}")
    if closed and all(_is_yes_no(q.truth) for q in closed):
        found.add(None)
    return found


def is_below(row: Row | None) -> bool:
    """A closed accuracy that a coin would beat."""
    return row is not None and row["metric"] == ACCURACY and row.get("value") is not None and row["value"] < COIN


def comparison(view: View) -> str | None:
    """That of every task; where the strongest baseline lies below one half, the model is compared with one half."""
    usual, best, row = sentences.comparison(view), sentences.best_baseline(view), view.primary
    if usual is None or best is None or row is None or not is_below(best) or None not in yes_no_groups(view):
        return usual
    first = f"The strongest baseline, {view.baseline(best['baseline'])}, reached {text.with_interval(best)}, less than "
    first += "the 0.5 of a coin on questions of yes and no."
    if row.get("low") is not None and row["low"] > COIN:
        return f"{first} The model was better than a coin: its interval lies above 0.5."
    return f"{first} The data do not show that the model is better than a coin."


def _is_yes_no(truth: str) -> bool:
    return truth.strip().strip(".").lower() in ("yes", "no")
