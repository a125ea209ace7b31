"""The page of a data set, which `medvfm data show` writes: these sections and no others."""

from medvfm.report.section import Section
from medvfm.report.sections import data
from medvfm.report.sections.dataset import measures, problems, samples, structures

SECTIONS = (
    Section(10, data.TITLE, data.build),
    Section(20, samples.TITLE, samples.build),
    Section(30, structures.TITLE, structures.build),
    Section(40, measures.TITLE, measures.build),
    Section(50, problems.TITLE, problems.build),
)
