"""Sentences of reports: what ends one, and what only looks so."""

from __future__ import annotations

import pytest

from medvfm.models.text.sentences import sentences, spelled


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Nodule of 4.5 mm. No effusion.", ["Nodule of 4.5 mm.", "No effusion."]),
        ("Dr. Lake saw it. Stable.", ["Dr. Lake saw it.", "Stable."]),
        ("Compared, e.g. with MR. Nothing new.", ["Compared, e.g. with MR.", "Nothing new."]),
        ("Left vs. right: approx. 3 cm. Stable.", ["Left vs. right: approx. 3 cm.", "Stable."]),
        ("See Fig. 2. It grew.", ["See Fig. 2.", "It grew."]),
        ("Lymph node no. 7 is enlarged.", ["Lymph node no. 7 is enlarged."]),
        ("Effusion? No. Nodule? Yes!", ["Effusion?", "No.", "Nodule?", "Yes!"]),
        ("1. Normal heart. 2. No effusion.", ["1. Normal heart.", "2. No effusion."]),
        ("1) Normal heart\n2) No effusion", ["1) Normal heart", "2) No effusion"]),
        ("IMPRESSION: 1. Normal heart. 2. No effusion.", ["IMPRESSION: 1. Normal heart.", "2. No effusion."]),
        ("FINDINGS\n- Normal heart\n- No effusion", ["FINDINGS", "- Normal heart", "- No effusion"]),
        ("There is no evidence\nof effusion. The heart is\r\nnormal.",
         ["There is no evidence of effusion.", "The heart is normal."]),
        ("normal heart\n\nno effusion", ["normal heart", "no effusion"]),
        ("normal heart\n  \n no effusion", ["normal heart", "no effusion"]),
        ("Normal heart\n\n\nNo effusion", ["Normal heart", "No effusion"]),
        ("胸部正常。没有积液！心脏？", ["胸部正常。", "没有积液！", "心脏？"]),
        ("Grew... Then  shrank.", ["Grew...", "Then shrank."]),
        ("No full stop", ["No full stop"]),
        ("...\n- \n!", []),
        ("", []),
        (" \n\t ", []),
    ],
)  # fmt: skip
def test_a_report_falls_into_its_sentences(text, found):
    assert sentences(text) == found


@pytest.mark.parametrize("text", ["A. B. C.", "1. 2. 3.", "Size 3. 5. 7 cm. No.", "a\nb\nC\n\nd", "。。a。b"])
def test_no_letter_is_lost_and_nothing_is_made_up(text):
    kept = [letter for letter in "".join(sentences(text)) if letter.isalnum()]
    assert kept in ([letter for letter in text if letter.isalnum()], [])  # [] where there are numbers of a list alone


def test_texts_that_say_the_same_are_spelled_alike():
    assert spelled("  No\n Effusion. ") == spelled("no effusion.") != spelled("No effusion")
    assert spelled("STRASSE") == spelled("Straße")
    assert spelled(" \n") == ""
