"""Whether a question is closed, and what can be answered to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from medvfm.metrics.answer_words import plain
from medvfm.metrics.closed_answers import YES_NO, given_option, options_named

CLOSED, OPEN = "closed", "open"
_SAYS_CLOSED = frozenset({"closed", "close", "closed-ended", "yes/no"})
_SAYS_OPEN = frozenset({"open", "open-ended"})


@dataclass(frozen=True)
class QuestionForm:
    """options: what can be answered to a closed question; None for an open one, and where it is not known."""

    closed: bool
    options: tuple[str, ...] | None = None


def form_of(
    question: str | None, question_type: str | None, truth: str, listed: Mapping[str, tuple[str, ...]]
) -> QuestionForm:
    """By what is known of it, in this order: options that are `listed` for its type; a type that says closed or open; a
    truth that is yes or no; a question that names its options, the truth among them. Any other question is open."""
    kind = spelled_type(question_type)
    if kind in listed:
        found = given_option(truth, listed[kind]) is not None
        return QuestionForm(True, listed[kind] if found else None)
    said = kind.lower()
    if said in _SAYS_OPEN:
        return QuestionForm(False)
    options = YES_NO if plain(truth) in YES_NO else options_named(question or "", truth)
    return QuestionForm(said in _SAYS_CLOSED or options is not None, options)


def spelled_type(question_type: str | None) -> str:
    """A type without the spaces that tables have around it: `CLOSED ` is `CLOSED`."""
    return " ".join((question_type or "").split())
