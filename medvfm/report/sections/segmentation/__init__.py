"""Sections of a segmentation."""

from medvfm.report.section import PageSection
from medvfm.report.sections.segmentation import agreement, case_by_case, case_pictures, missed, robustness

SECTIONS = (
    PageSection(10, case_by_case.TITLE, case_by_case.build, of_model=True),
    PageSection(30, case_pictures.TITLE, case_pictures.build, of_model=True),
    PageSection(40, missed.TITLE, missed.build, of_model=True),
    PageSection(50, agreement.TITLE, agreement.build, of_model=True),
    PageSection(60, robustness.TITLE, robustness.build, of_model=True),
)
