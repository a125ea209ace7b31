"""Sections of generation, and what its first screen says."""

from medvfm.report.section import PageSection
from medvfm.report.sections.generation import (
    first_numbers,
    guidance_curve,
    held_out,
    image_sheets,
    nearest_images,
    seen_conditions,
    set_numbers,
)

headline, answer = first_numbers.headline, first_numbers.answer
SECTIONS = (
    PageSection(10, image_sheets.TITLE, image_sheets.build, of_model=True),
    PageSection(15, set_numbers.TITLE, set_numbers.build, of_model=True),
    PageSection(25, seen_conditions.TITLE, seen_conditions.build, of_model=True),
    PageSection(27, held_out.TITLE, held_out.build, of_model=True),
    PageSection(30, nearest_images.TITLE, nearest_images.build, of_model=True),
    PageSection(35, guidance_curve.TITLE, guidance_curve.build, of_model=True),
)
