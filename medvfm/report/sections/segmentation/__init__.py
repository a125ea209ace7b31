"""Sections of a segmentation, and what its first screen shows in place of the numbers of every task."""

from medvfm.report.section import PageSection
from medvfm.report.sections.segmentation import (
    agreement,
    case_by_case,
    case_pictures,
    cases,
    first_numbers,
    missed,
    robustness,
    self_check,
)

headline, answer, by = first_numbers.headline, first_numbers.answer, first_numbers.by
SECTIONS = (
    PageSection(4, cases.TITLE, cases.build, of_model=True),
    PageSection(5, case_pictures.TITLE, case_pictures.build, of_model=True),
    PageSection(10, case_by_case.TITLE, case_by_case.build, of_model=True),
    PageSection(40, missed.TITLE, missed.build, of_model=True),
    PageSection(50, agreement.TITLE, agreement.build, of_model=True),
    PageSection(55, self_check.TITLE, self_check.build, of_model=True),
    PageSection(60, robustness.TITLE, robustness.build, of_model=True),
)
