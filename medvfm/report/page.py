"""report.html: one file from a run directory, with nothing to load from elsewhere."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from medvfm.io.run_directory import write_text
from medvfm.report import headline, markup, run_view, sections, text
from medvfm.report.section import PageSection
from medvfm.report.sections import baselines, data, methods, model, numbers, record, subgroups

FILE = "report.html"
# Sections of every run. Those of its task lie in the folder of that name, and take their places among these.
COMMON = (
    PageSection(20, baselines.TITLE, baselines.build, of_model=True),
    PageSection(90, subgroups.TITLE, subgroups.build, of_model=True),
    PageSection(110, data.TITLE, data.build),
    PageSection(120, model.TITLE, model.build),
    PageSection(130, methods.TITLE, methods.build),
    PageSection(140, numbers.TITLE, numbers.build, of_model=True),
    PageSection(150, record.TITLE, record.build),
)
PAGES = {"card": "dataset"}  # folders of records that have a page of their own, by their kind


def render(directory: Path) -> Path:
    """Write report.html of a run directory from what lies in it; the same directory gives the same bytes."""
    directory = Path(directory)
    path = directory / FILE
    write_text(path, page(run_view.load(directory)))
    return path


def page(found: run_view.View) -> str:
    """The whole document."""
    built = [(section, section.build(found)) for section in _sections(found)]
    shown = [
        {
            "id": section.id,
            "title": section.title,
            "body": body,
            "oracle": found.oracle is not None and section.of_model,
        }
        for section, body in built
        if body is not None
    ]
    record, head = found.record, headline.build(found)
    return (
        markup.fragment(
            "page",
            record=record,
            title=record.get("title") or "Report",
            kind=record.get("kind") or "run",
            status=record.get("status") or "unknown",
            date=text.date(record.get("created")) if record.get("created") else "",
            task=found.task,
            card=found.part("data", "card"),
            head=head,
            key=[{**row, "name": headline.number_name(found, row)} for row in head.numbers]
            if head.table is None
            else [],
            simulated=headline.SIMULATED,
            told_by_truth=headline.ORACLE,
            sections=shown,
        )
        + "\n"
    )


def _sections(found: run_view.View) -> list[PageSection]:
    """Those of every run and of the task, or of a page of its own; a task without a folder has none of its own."""
    alone = PAGES.get(str(found.record.get("kind")))
    if alone is not None:
        return list(_in_folder(alone))
    return sorted([*COMMON, *_in_folder(str(found.task.get("name")))], key=lambda section: section.order)


def _in_folder(name: str) -> Sequence[PageSection]:
    if not any((Path(folder) / name / "__init__.py").is_file() for folder in sections.__path__):
        return ()
    found: Sequence[PageSection] = importlib.import_module(f"medvfm.report.sections.{name}").SECTIONS
    return found
