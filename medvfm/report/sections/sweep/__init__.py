"""The page of a sweep over models and numbers of training patients: these sections and no others."""

from medvfm.report.section import PageSection
from medvfm.report.sections import data, record
from medvfm.report.sections.sweep import curves, how_swept, swept_numbers
from medvfm.report.sections.sweep.words import answer, comparison, headline

SECTIONS = (
    PageSection(10, curves.TITLE, curves.build),
    PageSection(20, swept_numbers.TITLE, swept_numbers.build),
    PageSection(30, how_swept.TITLE, how_swept.build),
    PageSection(40, data.TITLE, data.build),
    PageSection(50, record.TITLE, record.build),
)
__all__ = ["SECTIONS", "answer", "comparison", "headline"]
