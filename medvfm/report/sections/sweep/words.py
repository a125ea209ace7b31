"""How many training patients each model needs for a value, read from its learning curve, in sentences and a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from medvfm.report import text
from medvfm.report.plain_table import PlainTable
from medvfm.report.run_view import WHOLE, Row, View


@dataclass(frozen=True)
class Curve:
    """A model's rows of the first metric that exist, by number of training patients."""

    name: str
    rows: tuple[Row, ...]

    @property
    def last(self) -> Row:
        return self.rows[-1]


@dataclass(frozen=True)
class Need:
    """Training patients for a value: between `more_than` and `at_most`, which were tried; None where no number that was
    tried is on that side. about: where the line between the two crosses the value. sure: the least number tried from
    which on the whole interval reaches it."""

    more_than: int | None
    at_most: int | None
    about: float | None
    sure: int | None


def curves(view: View) -> list[Curve]:
    """Of every model, in the order of the recipe; of all targets together where there are several."""
    named = view.part("sweep", "metric")
    rows = [r for r in view.metrics if r["metric"] == named and r.get("value") is not None]
    targets = list(dict.fromkeys(r.get("target") for r in rows))
    target = next((t for t in targets if t in WHOLE), targets[0] if targets else None)
    found = []
    for model in dict.fromkeys(str(r.get("model")) for r in rows):
        own = [r for r in rows if r.get("model") == model and r.get("target") == target]
        found.append(Curve(model, tuple(sorted(own, key=lambda r: int(r["train_patients"])))))
    return [curve for curve in found if curve.rows]


def reach(view: View, found: Sequence[Curve]) -> tuple[float, bool]:
    """The value that patients are counted for, and whether the recipe named it; else what the weakest model has with
    the most patients."""
    given = view.part("sweep").get("reach")
    if given is not None:
        return float(given), True
    ends = [float(curve.last["value"]) for curve in found]
    return (max(ends) if _falls(found) else min(ends)), False


def need(curve: Curve, value: float) -> Need:
    """From which number of patients on the mean reaches the value, and stays there."""
    falls = curve.last.get("better") == "lower"

    def good(number: float) -> bool:
        return number <= value if falls else number >= value

    def first(reached: Sequence[bool]) -> int | None:
        place = len(reached)
        while place and reached[place - 1]:
            place -= 1
        return None if place == len(reached) else place

    sizes = [int(r["train_patients"]) for r in curve.rows]
    worst = [r.get("high" if falls else "low") for r in curve.rows]
    sure = first([w is not None and good(float(w)) for w in worst])
    place = first([good(float(r["value"])) for r in curve.rows])
    whole = None if sure is None else sizes[sure]
    if place is None:
        return Need(sizes[-1], None, None, whole)
    if place == 0:
        return Need(None, sizes[0], None, whole)
    below, above = (float(curve.rows[p]["value"]) for p in (place - 1, place))
    share = 1.0 if above == below else (value - below) / (above - below)
    low, high = (math.log(sizes[p]) for p in (place - 1, place))
    return Need(sizes[place - 1], sizes[place], math.exp(low + share * (high - low)), whole)


def needed(found: Need) -> str:
    """`about 18 (10 to 25)`."""
    if found.at_most is None:
        return f"more than {found.more_than}"
    if found.more_than is None or found.about is None:
        return f"{found.at_most} or fewer"
    return f"about {found.about:.0f} ({found.more_than} to {found.at_most})"


def answer(view: View) -> dict[str, str]:
    """How many patients each model needs."""
    found = curves(view)
    if not found:
        return {"before": "No number has been computed.", "number": "", "after": ""}
    value, asked = reach(view, found)
    named = text.metric(str(view.part("sweep", "metric")))
    why = "" if asked else ", which is what the weakest model has with the most patients"
    each = [f"{curve.name} needs {needed(need(curve, value))}" for curve in found]
    return {
        "before": f"Training patients for {_indefinite(named)} of {text.number(value)}{why}: {'; '.join(each)}.",
        "number": "",
        "after": "",
    }


def comparison(view: View) -> str:
    """What was drawn, and what the curves can and cannot tell."""
    draws = view.part("sweep").get("draws")
    return (
        f"Every number is the mean over {draws} draws of training patients, each with a seed of its own, on the same "
        "test cases; intervals hold test patients and draws. Where the intervals of two models overlap widely, this "
        "sweep does not say which needs fewer patients."
    )


def headline(view: View) -> PlainTable:
    """A line a model: what it needs, and what it reaches."""
    found = curves(view)
    if not found:
        return PlainTable("", ("",), (), ())
    value, _ = reach(view, found)
    named = text.title(text.metric(str(view.part("sweep", "metric"))))
    rows = []
    for curve in found:
        own = need(curve, value)
        surely = "none tried" if own.sure is None else str(own.sure)
        most = curve.last
        rows.append((curve.name, needed(own), surely, text.value(most), text.interval(most)))
    columns = ("", f"For {text.number(value)}", "Surely from", named, text.level(found[0].last))
    said = (
        f"training patients for {text.number(value)} by the mean, and from which number on the whole interval is "
        f"beyond it; {named} with the most patients"
    )
    return PlainTable("", columns, tuple(rows), (said,) * len(rows))


def _indefinite(named: str) -> str:
    """`an AUROC`, `a Dice`."""
    return f"{'an' if named[:1].lower() in 'aeiou' else 'a'} {named}"


def _falls(found: Sequence[Curve]) -> bool:
    return found[0].last.get("better") == "lower"
