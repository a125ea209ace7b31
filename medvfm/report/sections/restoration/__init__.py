"""Sections of restoration."""

from medvfm.report.section import PageSection
from medvfm.report.sections.generation import guidance_curve
from medvfm.report.sections.restoration import restored_images

SECTIONS = (
    PageSection(10, restored_images.TITLE, restored_images.build, of_model=True),
    PageSection(35, guidance_curve.TITLE, guidance_curve.build, of_model=True),
)
