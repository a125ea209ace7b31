"""Answers against sacreBLEU, rouge-score, a second implementation, counting by hand, and what no metric may do."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from medvfm.core.errors import Undefined
from medvfm.metrics import answer_overlap, answers, closed_answers
from medvfm.metrics.answer_words import plain, words

TEXT = "the a no left right lobe lobe, lung. Effusion effusion is 3.5 mm 3,5 T1-weighted (small) 5-6 50% of & x-ray"
WORDS = TEXT.split()
SENTENCES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=14).map(" ".join)
PAIRS = st.lists(st.tuples(SENTENCES, SENTENCES), min_size=1, max_size=6)
LONG = (
    "there is a small left pleural effusion and the heart is not enlarged",
    "there is a small right pleural effusion and the heart is enlarged",
)


def bleu(pairs) -> float:
    return float(answer_overlap.bleu_of(sum(answer_overlap.bleu_counts(*pair) for pair in pairs)))


@settings(max_examples=150, deadline=None)
@given(PAIRS)
def test_bleu_is_that_of_sacrebleu(pairs):
    truths, texts = zip(*pairs, strict=True)
    assert bleu(pairs) == pytest.approx(sacrebleu.corpus_bleu(list(texts), [list(truths)]).score / 100, abs=1e-9)


@pytest.mark.parametrize(
    "text", ["", "left", "An odd &amp; end: 3.5mm, 4-5 (L>R); it's 1,000. <skipped>x-\ny", "Left. \n\n right!  ", "…·é"]
)
def test_bleu_of_odd_texts_is_that_of_sacrebleu(text):
    pairs = [(LONG[0], text), (text or "x", LONG[1]), (text or "x", text)]
    truths, texts = zip(*pairs, strict=True)
    assert bleu(pairs) == pytest.approx(sacrebleu.corpus_bleu(list(texts), [list(truths)]).score / 100, abs=1e-9)


@settings(max_examples=150, deadline=None)
@given(SENTENCES, SENTENCES)
def test_rouge_l_is_that_of_rouge_score(truth, text):
    if not re.search("[a-z0-9]", truth.lower()):
        return  # without a word there is nothing to recall, see below
    theirs = RougeScorer(["rougeL"]).score(truth, text)["rougeL"].fmeasure
    assert answer_overlap.rouge_l(truth, text) == pytest.approx(theirs)


def test_words_shared_are_counted_as_often_as_both_have_them():
    shared = sum((Counter(LONG[0].split()) & Counter(LONG[1].split())).values())
    assert answer_overlap.open_recall(*LONG) == pytest.approx(shared / 13)
    assert answer_overlap.token_f1(*LONG) == pytest.approx(2 * shared / 25)
    pairs = [("5 mm", "5 cm"), ("no pneumothorax", "Pneumothorax."), ("left left", "left"), ("left", "left left")]
    assert [answer_overlap.open_recall(*p) for p in pairs] == [0.5, 0.5, 0.5, 1]
    assert [answer_overlap.token_f1(*p) for p in pairs] == pytest.approx([0.5, 2 / 3, 2 / 3, 2 / 3])


def slow_llava_med(truth: str, text: str) -> float:
    """tp and fn word by word over the union of words, as the script goes through them; without its articles."""
    true, given = ([w for w in t.split() if w not in ("a", "an", "the")] for t in (truth, text))
    tp = fn = 0
    for word in set(true) | set(given):
        if word in given and word in true:
            tp += given.count(word)
        elif word in true:
            fn += true.count(word)
    return tp / (tp + fn) if tp else 0.0


@pytest.mark.parametrize("pair", [LONG, LONG[::-1], ("the left lobe", "left left lobe of a lung"), ("x y", "z")])
def test_recall_of_llava_med_counts_a_repeated_word_twice(pair):
    assert answer_overlap.llava_med_recall(*pair) == pytest.approx(slow_llava_med(*pair))


def test_words_keep_what_changes_a_number_or_a_unit():
    assert words("Left-sided, 3.5 mm (T1).") == ["left-sided", "3.5", "mm", "t1"]
    assert plain("The  Left\tlobe!") == "left lobe"
    assert plain("A") == "a"
    assert plain("3.5 mm") != plain("35 mm")
    assert plain("５ mm") == "5 mm"


@pytest.mark.parametrize(
    ("truth", "text", "same"),
    [
        ("yes", "Yes.", True), ("no", "No, there is none", False), ("the left lobe", "Left lobe", True),
        ("5 mm", "5 cm", False), ("no pneumothorax", "pneumothorax", False), ("x", "", False),
    ],
)  # fmt: skip
def test_exact_match(truth, text, same):
    assert answers.exact_match(truth, text) == same


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Yes.", "yes"), ("no", "no"), ("No, there is none", "no"), ("Yes, there is no doubt", "yes"),
        ("The answer is yes", "yes"), ("There is no lesion", "no"), ("perhaps", None), ("not seen", None), ("", None),
        ("yes or no", None), ("No/yes", None), ("yes and no", None), ("It is no, or maybe yes", None),
        ("normal", None), ("YES!", "yes"), ("no no no", "no"),
    ],
)  # fmt: skip
def test_yes_and_no_are_read_from_a_text(text, said):
    assert closed_answers.given_option(text, ("yes", "no")) == said


PLANES = ("axial", "oblique axial", "sagittal")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Oblique axial.", "oblique axial"), ("an axial slice", "axial"), ("It is not axial but sagittal", "sagittal"),
        ("axial or sagittal", None), ("oblique", None), ("Axial, axial", "axial"), ("", None), ("not axial", None),
        ("oblique axial, not axial", "oblique axial"),
    ],
)  # fmt: skip
def test_options_are_read_from_a_text(text, said):
    assert closed_answers.given_option(text, PLANES) == said


@pytest.mark.parametrize(
    ("truth", "text", "options", "right", "unread"),
    [
        ("yes", "yes", None, 1, 0), ("Yes ", "perhaps", None, 0, 1), ("left side", "Left.", ("left", "right"), 1, 0),
        ("left side", "right", ("left", "right"), 0, 0), ("left side", "below", ("left", "right"), 0, 1),
        ("diffuse", "It is diffuse", None, 1, 0), ("diffuse", "focal", None, 0, 0), ("diffuse", " ", None, 0, 1),
        ("diffuse", "not diffuse", None, 0, 0), ("B", "b", ("a", "b"), 1, 0), ("a", "the", ("a", "b"), 0, 1),
    ],
)  # fmt: skip
def test_closed_answers_are_right_or_wrong_and_unread_ones_are_wrong(truth, text, options, right, unread):
    assert closed_answers.closed_accuracy(truth, text, options=options) == right
    assert closed_answers.unparsed(truth, text, options=options) == unread


@pytest.mark.parametrize(
    ("question", "truth", "options"),
    [
        ("How do the slices lie: axial, oblique axial or sagittal?", "axial", PLANES),
        ("Is this patient male or female?", "Female", ("male", "female")),
        ("Is the lesion on the patient's right or left side?", "Left side", ("right", "left")),
        ("Was this an AP or a PA film?", "PA", ("ap", "pa")),
        ("Is this a contrast CT or a non-contrast CT?", "Non-contrast CT", None),
        ("On which side?", "left", None), ("Is it big or not?", "big", None), ("Is it red or blue?", "green", None),
        ("Is it red or blue or green?", "red", None), ("Or?", "or", None),
    ],
)  # fmt: skip
def test_options_that_a_question_names(question, truth, options):
    assert closed_answers.options_named(question, truth) == options


def test_llava_meds_closed_count_leaves_wrong_answers_out():
    pairs = [("yes", "yes"), ("yes", "no"), ("no", "perhaps"), ("no", "normal")]
    found = [closed_answers.llava_med_closed(*pair) for pair in pairs]
    assert found[0] == 1 and np.isnan(found[1]) and found[2] == 0
    assert found[3] == 1  # the letters of `no` stand in `normal`


@pytest.mark.parametrize("name", answers.METRICS)
def test_every_metric_keeps_to_its_range_and_is_best_for_the_truth(name):
    metric = answers.METRICS[name]
    texts = ["left lower lobe effusion here", "no", "", "a", "Pneumothorax of 3.5 mm.", "yes", *LONG, "左肺"]
    assert metric.summary and metric.within == (0, 1)

    def value(truth, text):
        if metric.takes == "text_counts":
            counts = metric.per_case(truth, text)
            assert counts.shape == (len(answers.PARTS[name]),) and (counts >= 0).all()
            return float(metric.function(counts))
        return metric.function(truth, text)

    for truth in (t for t in texts if words(t)):
        own = value(truth, truth)
        for text in texts:
            found = value(truth, text)
            assert np.isnan(found) or 0 <= found <= 1
            if not np.isnan(own + found) and name not in ("bleu", "llava_med_closed"):
                assert found <= own if metric.better == "higher" else found >= own


@pytest.mark.parametrize("name", ["open_recall", "token_f1", "rouge_l", "llava_med_recall"])
def test_a_truth_without_words_has_no_overlap(name):
    with pytest.raises(Undefined):
        answers.METRICS[name].function(" . ", "left")


def test_order_of_pairs_and_words_of_both_do_not_change_counts():
    pairs = [(LONG[0], LONG[1]), ("left lobe of the lung", "left lobe of a lung"), ("x", "y")]
    assert bleu(pairs) == pytest.approx(bleu(pairs[::-1]))
    assert answer_overlap.token_f1(*LONG) == pytest.approx(answer_overlap.token_f1(*LONG[::-1]))
    assert not re.search("[A-Z]", " ".join(words("LEFT Lobe")))
