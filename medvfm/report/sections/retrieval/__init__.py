"""Sections of retrieval, and what its first screen shows in place of the numbers of every task."""

from medvfm.report.section import PageSection
from medvfm.report.sections.retrieval import (
    first_numbers,
    query_gallery,
    rank_curves,
    similarity_matrix,
    within_columns,
)

headline, answer = first_numbers.headline, first_numbers.answer
SECTIONS = (
    PageSection(10, rank_curves.TITLE, rank_curves.build, of_model=True),
    PageSection(25, within_columns.TITLE, within_columns.build, of_model=True),
    PageSection(30, query_gallery.TITLE, query_gallery.build, of_model=True),
    PageSection(40, similarity_matrix.TITLE, similarity_matrix.build, of_model=True),
)
