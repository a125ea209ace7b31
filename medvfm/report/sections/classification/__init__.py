"""Sections of a classification, and what its first screen shows besides the sentence."""

from medvfm.report.section import PageSection
from medvfm.report.sections.classification import (
    by_group,
    calibration,
    cases,
    curves,
    decision_curve,
    few_cases,
    first_screen,
    first_sentence,
    mistakes,
    operating,
    selective,
    wordings,
)

frequencies, key_numbers = first_screen.frequencies, first_screen.numbers
answer, by = first_sentence.answer, first_sentence.by
SECTIONS = (
    PageSection(4, cases.TITLE, cases.build, of_model=True),
    PageSection(5, mistakes.TITLE, mistakes.build),
    PageSection(10, curves.TITLE, curves.build),
    PageSection(30, wordings.TITLE, wordings.build, of_model=True),
    PageSection(40, few_cases.TITLE, few_cases.build, of_model=True),
    PageSection(70, operating.TITLE, operating.build),
    PageSection(75, decision_curve.TITLE, decision_curve.build),
    PageSection(80, calibration.TITLE, calibration.build),
    PageSection(91, by_group.TITLE, by_group.build),
    PageSection(82, selective.TITLE, selective.build),
)
