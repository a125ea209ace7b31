"""Closed questions: which answers can be given, and which of them a text gives.

yes and no   a text that begins with one of the two gives it, as `No, there is none` does, unless it offers both
             (`yes or no`); else the only one of the two that it holds as a word. `perhaps`, `not seen` and a text with
             both give neither.
options      the only option that a text names, as words in a row: the longest first, so that `oblique axial` does not
             name `axial`, and none that stands behind `not`. A text that is an option and nothing more gives it.
no options   where it is not known what could be answered, a text gives the truth where it names it, as above; any other
             text gives another answer, and an empty one none.

A text that gives none is unparsed: it is wrong, and counted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from medvfm.metrics.answer_words import ARTICLES, plain, words

YES_NO = ("yes", "no")
_BEFORE_AN_OPTION = frozenset({"not", "isn't", "aren't", "cannot", "never"})
OTHER = "\0"  # an answer that is not the truth, where options are unknown


def given_option(text: str, options: Sequence[str]) -> str | None:
    """The option, plain, that a text gives; None where it gives none or several."""
    listed = [plain(option) for option in options]
    if set(listed) == set(YES_NO):
        return _yes_or_no(words(text))
    own = plain(text)
    if own in listed:
        return own
    left = own.split()
    longest_first = sorted(dict.fromkeys(listed), key=lambda o: (-len(o.split()), o))
    meant = [option for option in longest_first if any(_take(left, option.split()))]
    return meant[0] if len(meant) == 1 else None


def given(truth: str, text: str, options: Sequence[str] | None) -> str | None:
    """The answer, plain, that a text gives to a closed question; OTHER where options are unknown and it is not the
    truth; None where it is unparsed."""
    if plain(truth) in YES_NO:
        return given_option(text, YES_NO)
    if options:
        return given_option(text, options)
    if not words(text):
        return None
    return plain(truth) if given_option(text, [truth]) is not None else OTHER


def closed_accuracy(truth: str, text: str, *, options: Sequence[str] | None = None) -> float:
    """1 where the answer that the text gives is the true one. options: what can be answered, the truth among them."""
    return float(given(truth, text, options) == _true(truth, options))


def unparsed(truth: str, text: str, *, options: Sequence[str] | None = None) -> float:
    """1 where the text gives no answer that could be given."""
    return float(given(truth, text, options) is None)


def llava_med_closed(truth: str, text: str, *, options: Sequence[str] | None = None) -> float:
    """As LLaVA-Med's llava/eval/run_eval.py counts: 1 where the text holds the letters of `yes` or `no` anywhere and
    those of the truth; NaN, which is left out of the mean, where it holds `yes` or `no` and not the truth; else 0.

    Wrong answers are left out and not counted as wrong, so that it is no accuracy: it is for comparison alone.
    """
    answer = plain(text)
    if not any(word in answer for word in YES_NO):
        return 0.0
    return 1.0 if plain(truth) in answer else float("nan")


def options_named(question: str, truth: str) -> tuple[str, ...] | None:
    """What a question says can be answered; None where it does not say so, or the truth is none of it.

    Behind a colon a list (`: axial, oblique axial or sagittal?`); else the words on both sides of one `or` (`Is this
    male or female?`), of which the truth must hold exactly one.
    """
    true = plain(truth)
    head, colon, tail = question.rstrip().rpartition(":")
    if colon and head and re.search(r"\bor\b|,", tail):
        listed = [plain(part) for part in re.split(r",|\bor\b", tail)]
        found = tuple(dict.fromkeys(part for part in listed if part))
        if true in found and len(found) > 1:
            return found
    asked = words(question)
    if asked.count("or") != 1:
        return None
    place = asked.index("or")
    sides = [_nearest(asked[:place][::-1]), _nearest(asked[place + 1 :])]
    pair = tuple(side for side in sides if side is not None and side != "not")
    if len(set(pair)) != 2:
        return None
    return pair if sum(side in true.split() for side in pair) == 1 else None


def _true(truth: str, options: Sequence[str] | None) -> str:
    """The truth as an option: `left` of a truth in words, `left side`."""
    own = plain(truth)
    return own if own in YES_NO or not options else given_option(truth, options) or own


def _nearest(side: Sequence[str]) -> str | None:
    return next((word for word in side if word not in ARTICLES), None)


def _yes_or_no(said: list[str]) -> str | None:
    named = {word for word in said if word in YES_NO}
    if len(named) == 1 and said[0] not in YES_NO:
        return named.pop()
    if not named or said[0] not in YES_NO:
        return None
    both = len(named) == 2 and set(said[1:3]) - {said[0]} <= {"or", "and", "yes", "no"}
    return None if both else said[0]


def _take(left: list[str], option: list[str]) -> list[bool]:
    """Whether the option is meant at each place that names it; its words are taken out of `left`."""
    found, n, k = [], len(option), 0
    while k + n <= len(left):
        if left[k : k + n] == option:
            found.append(k == 0 or left[k - 1] not in _BEFORE_AN_OPTION)
            left[k : k + n] = ["\0"] * n
        k += 1
    return found
