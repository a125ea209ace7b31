"""Sections of question answering, and the sentence that compares with a baseline, or with a coin."""

from medvfm.report.section import PageSection
from medvfm.report.sections.question_answering import (
    answer_confidence,
    asked_questions,
    coin,
    disagreements,
    first_sentence,
    kinds_of_questions,
    protocols,
    unread_answers,
)

answer, comparison = first_sentence.answer, coin.comparison
SECTIONS = (
    PageSection(10, kinds_of_questions.TITLE, kinds_of_questions.build, of_model=True),
    PageSection(30, asked_questions.TITLE, asked_questions.build, of_model=True),
    PageSection(40, disagreements.TITLE, disagreements.build, of_model=True),
    PageSection(50, unread_answers.TITLE, unread_answers.build, of_model=True),
    PageSection(60, answer_confidence.TITLE, answer_confidence.build, of_model=True),
    PageSection(70, protocols.TITLE, protocols.build),
)
