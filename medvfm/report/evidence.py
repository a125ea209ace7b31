"""The evidence strip: five questions that decide how far a number can be believed, each answered in a word."""

from __future__ import annotations

import re
from dataclasses import dataclass

from medvfm.report import sentences, text
from medvfm.report.run_view import View

PLAIN, CAREFUL, ALARM = "plain", "careful", "alarm"  # grey, amber, red; the word says it too
MINED = re.compile(r"\b(text mining|mined|NLP|labell?er|extracted from|radiology reports?)\b", re.IGNORECASE)
MANY_OPENINGS = 10
LONGEST = 60


@dataclass(frozen=True)
class Chip:
    """question, the answer in a word or two, a detail below it, and how much care it asks for."""

    question: str
    word: str
    detail: str = ""
    tone: str = PLAIN


def strip(view: View) -> list[Chip]:
    """Of a run or an evaluation; of other records none."""
    if view.primary is None or view.record.get("kind") not in (None, "run", "evaluation"):
        return []
    return [_data(view), _standard(view), _test(view), _rival(view), _openings(view)]


def _data(view: View) -> Chip:
    card = view.part("data", "card")
    name = str(card.get("title") or card.get("name") or "")
    if card.get("simulated"):
        return Chip("Data", "SIMULATED", name, ALARM)
    return (
        Chip("Data", "real", name)
        if card
        else Chip("Data", "not described", "predictions without a data card", CAREFUL)
    )


def _standard(view: View) -> Chip:
    said = sentences.truth_source(view).removeprefix(" (truth: ").removesuffix(")")
    flaws = len(view.part("data", "card").get("known_flaws") or [])
    flawed = text.plural(flaws, "known flaw") if flaws else ""
    if not said:
        return Chip("Reference standard", "not stated", flawed, CAREFUL)
    if MINED.search(said):
        return Chip("Reference standard", "mined from text", _short(said), CAREFUL)
    return Chip("Reference standard", "stated" if flaws == 0 else flawed, _short(said), CAREFUL if flaws else PLAIN)


def _test(view: View) -> Chip:
    split = view.part("recipe", "split")
    held = split.get("hold_out") or {}
    if view.part("model", "pretraining").get("saw") == "yes":
        return Chip("Test", "seen in pretraining", "the weights saw images of this data set before", ALARM)
    if view.split.startswith("external:"):
        return Chip("Test", "other data", view.split.removeprefix("external:"))
    if any(str(row.get("split")).startswith("external:") for row in view.metrics):
        return Chip("Test", "internal and external", "the numbers above are internal")
    if view.record.get("kind") == "evaluation":
        return Chip("Test", "as handed in", "how cases were split is not known here", CAREFUL)
    if held:
        return Chip(
            "Test", "held out", _short(", ".join(f"{c} {text.listed(list(map(str, v)))}" for c, v in held.items()))
        )
    if (view.part("data").get("folds") or 1) > 1:
        return Chip(
            "Test", "internal", f"cross-validation in {view.part('data')['folds']} folds; no other hospital", CAREFUL
        )
    how = "split of the data card" if split.get("from") == "card" else "random split"
    return Chip("Test", "internal", f"{how}; no other hospital", CAREFUL)


def _rival(view: View) -> Chip:
    best, found = sentences.best_baseline(view), sentences.against_best(view)
    if best is None:
        return Chip("Against the simplest rival", "none computed", "", CAREFUL)
    name = view.baseline(best["baseline"])
    if found is None:
        return Chip("Against the simplest rival", "not tested", name, CAREFUL)
    tone = {"better": PLAIN, "worse": ALARM}.get(found, CAREFUL)
    return Chip("Against the simplest rival", found, _short(name), tone)


def _openings(view: View) -> Chip:
    count = view.part("data").get("test_openings")
    if not isinstance(count, int) or count < 1:
        return Chip("Test set used", "not recorded", "", CAREFUL)
    tone = PLAIN if count == 1 else ALARM if count > MANY_OPENINGS else CAREFUL
    return Chip("Test set used", f"{ordinal(count)} time", "for this task on this machine", tone)


def ordinal(count: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th, 21st."""
    ending = "th" if 10 < count % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(count % 10, "th")
    return f"{count}{ending}"


def _short(said: str) -> str:
    return said if len(said) <= LONGEST else said[: LONGEST - 1].rpartition(" ")[0] + "…"
