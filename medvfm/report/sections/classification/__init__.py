"""Sections of a classification."""

from medvfm.report.section import PageSection
from medvfm.report.sections.classification import (
    calibration,
    curves,
    decision_curve,
    few_cases,
    mistakes,
    operating,
    wordings,
)

SECTIONS = (
    PageSection(10, curves.TITLE, curves.build),
    PageSection(30, wordings.TITLE, wordings.build, of_model=True),
    PageSection(40, few_cases.TITLE, few_cases.build, of_model=True),
    PageSection(70, operating.TITLE, operating.build),
    PageSection(80, calibration.TITLE, calibration.build),
    PageSection(85, decision_curve.TITLE, decision_curve.build),
    PageSection(100, mistakes.TITLE, mistakes.build),
)
