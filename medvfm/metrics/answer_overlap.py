"""How much of a true text a given one holds: words shared, longest common sequence, n-grams.

These count words and know no meaning: `no pneumothorax` and `pneumothorax` share half of their words.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from medvfm.core.errors import Undefined
from medvfm.metrics.answer_words import plain, words

ORDER = 4  # of BLEU
BLEU_PARTS = (*(f"{what}_{n}" for what in ("matched", "given") for n in range(1, ORDER + 1)), "truth_words")
_MARKS_13A = re.compile(r"([\{-\~\[-\` -\&\(-\+\:-\@\/])")  # of mteval-v13a, which sacreBLEU follows
_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))


def open_recall(truth: str, text: str) -> float:
    """Share of the words of the truth that the text holds, each as often as it holds it (the recall of Li 2023, here
    with articles)."""
    shared, of_truth, _ = _shared(truth, text)
    return shared / of_truth


def token_f1(truth: str, text: str) -> float:
    """2 x words shared / words of both: the harmonic mean of precision and recall (Rajpurkar 2016, with articles)."""
    shared, of_truth, of_text = _shared(truth, text)
    return 2 * shared / (of_truth + of_text)


def llava_med_recall(truth: str, text: str) -> float:
    """Recall as LLaVA-Med's llava/eval/eval_metrics counts it: without articles, tp / (tp + fn), where tp counts a
    shared word as often as the answer repeats it and fn each word that the answer lacks."""
    true, given = Counter(plain(truth).split()), Counter(plain(text).split())
    if not true:
        raise Undefined("the truth has no words")
    hits = sum(count for word, count in given.items() if word in true)
    lacking = sum(count for word, count in true.items() if word not in given)
    return hits / (hits + lacking)


def rouge_l(truth: str, text: str) -> float:
    """F1 of the longest common sequence of words (Lin 2004), as the package rouge-score has it without a stemmer: words
    are runs of letters and digits."""
    a, b = _runs(truth), _runs(text)
    if not a:
        raise Undefined("the truth has no words")
    return 2 * _longest(a, b) / (len(a) + len(b))


def bleu_counts(truth: str, text: str) -> np.ndarray:
    """(9,) of one pair, see BLEU_PARTS: n-grams of the text that the truth holds too, n-grams of the text, and words of
    the truth. Tokens are those of sacreBLEU's `13a`, capitals as they stand."""
    a, b = tokens_13a(truth), tokens_13a(text)
    orders = range(1, ORDER + 1)
    matched = [sum((_grams(a, n) & _grams(b, n)).values()) for n in orders]
    return np.array([*matched, *(max(len(b) - n + 1, 0) for n in orders), len(a)], dtype=np.float64)


def bleu_of(counts: np.ndarray) -> np.ndarray:
    """BLEU-4 of summed counts (..., 9), from 0 to 1.

    Papineni 2002 with a brevity penalty and the smoothing `exp` of sacreBLEU: the k-th order of which no n-gram matches
    counts 1 / (2^k n-grams). 0 where nothing matches, or where no text is four words long.
    """
    matched, total, true = counts[..., :ORDER], counts[..., ORDER : 2 * ORDER], counts[..., 2 * ORDER]
    with np.errstate(divide="ignore", invalid="ignore"):
        empty = matched <= 0
        smoothed = 1 / (2.0 ** np.cumsum(empty, axis=-1) * total)
        logs = np.log(np.where(empty, smoothed, matched / total)).mean(axis=-1)
        found = np.exp(np.minimum(0.0, 1 - true / total[..., 0]) + logs)
    return np.where((matched > 0).any(axis=-1) & (total > 0).all(axis=-1), found, 0.0)


def tokens_13a(text: str) -> list[str]:
    """Tokens as mteval-v13a.pl makes them, and sacreBLEU by default."""
    line = text.rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, mark in _ENTITIES:
        line = line.replace(entity, mark)
    line = _MARKS_13A.sub(r" \1 ", f" {line} ")
    line = re.sub(r"([^0-9])([\.,])", r"\1 \2 ", line)
    line = re.sub(r"([\.,])([^0-9])", r" \1 \2", line)
    return re.sub(r"([0-9])(-)", r"\1 \2 ", line).split()


def _shared(truth: str, text: str) -> tuple[int, int, int]:
    """Words that both have, words of the truth, words of the text."""
    true, given = Counter(words(truth)), Counter(words(text))
    if not true:
        raise Undefined("the truth has no words")
    return sum((true & given).values()), sum(true.values()), sum(given.values())


def _runs(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())


def _longest(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common sequence, in a row of memory."""
    row = [0] * (len(b) + 1)
    for x in a:
        before = 0
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], before + 1 if x == y else max(row[j], row[j - 1])
    return row[-1]


def _grams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[k : k + n]) for k in range(len(tokens) - n + 1))
