"""The page of a data set, which `medvfm data show` writes: these sections and no others."""

from medvfm.report.section import PageSection
from medvfm.report.sections import data
from medvfm.report.sections.dataset import measures, problems, samples, structures

SECTIONS = (
    PageSection(10, data.TITLE, data.build),
    PageSection(20, samples.TITLE, samples.build),
    PageSection(30, structures.TITLE, structures.build),
    PageSection(40, measures.TITLE, measures.build),
    PageSection(50, problems.TITLE, problems.build),
)
