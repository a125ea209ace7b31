"""The page of a comparison, which `medvfm compare` writes: these sections and no others."""

from medvfm.report.section import PageSection
from medvfm.report.sections import record
from medvfm.report.sections.comparison import differences, how, of_cases, own_numbers
from medvfm.report.sections.comparison.words import answer, comparison, headline

SECTIONS = (
    PageSection(10, differences.TITLE, differences.build),
    PageSection(20, of_cases.TITLE, of_cases.build),
    PageSection(30, own_numbers.TITLE, own_numbers.build),
    PageSection(40, how.TITLE, how.build),
    PageSection(50, record.TITLE, record.build),
)
__all__ = ["SECTIONS", "answer", "comparison", "headline"]
