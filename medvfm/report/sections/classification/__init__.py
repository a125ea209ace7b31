"""Sections of a classification."""

from medvfm.report.section import PageSection
from medvfm.report.sections.classification import calibration, curves, mistakes, operating

SECTIONS = (
    PageSection(10, curves.TITLE, curves.build),
    PageSection(70, operating.TITLE, operating.build),
    PageSection(80, calibration.TITLE, calibration.build),
    PageSection(100, mistakes.TITLE, mistakes.build),
)
