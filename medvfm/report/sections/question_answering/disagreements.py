"""Pairs of truth and answer on which protocols disagree most: what a similarity likes and a reader would not."""

from __future__ import annotations

import re

from markupsafe import Markup

from medvfm.report import markup, text
from medvfm.report.run_view import View
from medvfm.report.sections.question_answering import question_table
from medvfm.report.sections.question_answering.question_table import AnsweredQuestion

TITLE = "Where protocols disagree"
MOST, LEAST_APART = 8, 0.3
SIMILARITIES = ("open_recall", "token_f1", "rouge_l", "llava_med_recall", "llava_med_closed")
STRICT = ("closed_accuracy", "exact_match")
_NEGATION = re.compile(r"\b(?:no|not|without|absent|negative|never|none)\b|n't\b")


def build(view: View) -> Markup | None:
    ranked = sorted(
        (pair for pair in map(_apart, question_table.of_view(view)) if pair is not None), key=lambda pair: -pair[0]
    )
    if not ranked:
        return None
    shown: list[dict[str, object]] = []
    seen: set[tuple[str, str]] = set()
    for apart, question, most, least in ranked:
        key = (question.truth.lower(), question.answer.lower())
        if key in seen or len(shown) == MOST:
            continue
        seen.add(key)
        shown.append(
            question.shown()
            | {
                "apart": text.number(apart, 2),
                "likes": f"{text.metric(most)} {question_table.said(most, question.marks[most])}",
                "dislikes": f"{text.metric(least)} {question_table.said(least, question.marks[least])}",
                "flip": is_flip(question.truth, question.answer),
            }
        )
    return markup.fragment("disagreements", pairs=shown, flips=any(p["flip"] for p in shown), of=len(ranked))


def is_flip(truth: str, answer: str) -> bool:
    """One of the two denies, and the other does not."""
    return bool(_NEGATION.search(truth.lower())) != bool(_NEGATION.search(answer.lower()))


def _apart(question: AnsweredQuestion) -> tuple[float, AnsweredQuestion, str, str] | None:
    """How far the most lenient protocol lies above the strictest, with their names; flips stand first."""
    likes = {m: question.marks[m] for m in SIMILARITIES if m in question.marks}
    strict = {m: question.marks[m] for m in STRICT if m in question.marks}
    if not likes or not strict:
        return None
    most, least = max(likes, key=lambda m: likes[m]), min(strict, key=lambda m: strict[m])
    apart = likes[most] - strict[least]
    if apart < LEAST_APART:
        return None
    return apart + is_flip(question.truth, question.answer), question, most, least
