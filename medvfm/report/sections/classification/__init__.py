"""Sections of a classification."""

from medvfm.report.section import Section
from medvfm.report.sections.classification import calibration, curves, mistakes, operating

SECTIONS = (
    Section(10, curves.TITLE, curves.build),
    Section(70, operating.TITLE, operating.build),
    Section(80, calibration.TITLE, calibration.build),
    Section(100, mistakes.TITLE, mistakes.build),
)
