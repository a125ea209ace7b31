"""report.html: one file from a run directory, with nothing to load from elsewhere."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
AFTER_TASKS = 110  # sections from here on are about the data and the model, whatever was asked


def render(directory: Path) -> Path:
    """Write report.html of a run directory from what lies in it; the same directory gives the same bytes."""
    directory = Path(directory)
    path = directory / FILE
    write_text(path, page(run_view.load(directory)))
    return path


def page(found: run_view.View) -> str:
    """The whole document."""
    shown = _built(found, _sections(found))
    last = next((n for n, part in enumerate(shown) if part["order"] >= AFTER_TASKS), len(shown))
    shown[last:last] = [part for other in found.further for part in _further(other)]
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


def _built(found: run_view.View, of: Sequence[PageSection]) -> list[dict[str, Any]]:
    """What the template shows of each section that has something to show."""
    built = [(section, section.build(found)) for section in of]
    return [
        {
            "id": section.id,
            "order": section.order,
            "title": section.title,
            "body": body,
            "oracle": found.oracle is not None and section.of_model,
        }
        for section, body in built
        if body is not None
    ]


def _further(found: run_view.View) -> list[dict[str, Any]]:
    """A further task that the same model answered: its answer and numbers, then its own sections."""
    name = str(found.task.get("name"))
    called = text.title(name.replace("_", " "))
    head = headline.build(found)
    numbers = headline.main_numbers(found, head)
    first = {"id": name, "title": called, "body": markup.fragment("further_task", head=head, table=numbers)}
    own = [section for section in COMMON if section.of_model]
    parts = _built(found, sorted([*own, *_in_folder(name)], key=lambda section: section.order))
    return [first, *(part | {"id": f"{name}-{part['id']}", "title": f"{called}: {part['title']}"} for part in parts)]


def _sections(found: run_view.View) -> list[PageSection]:
    """Those of every run and of the task, or of a page of its own; a task without a folder has none of its own."""
    alone = headline.PAGES.get(str(found.record.get("kind")))
    if alone is not None:
        return list(_in_folder(alone))
    return sorted([*COMMON, *_in_folder(str(found.task.get("name")))], key=lambda section: section.order)


def _in_folder(name: str) -> Sequence[PageSection]:
    if not any((Path(folder) / name / "__init__.py").is_file() for folder in sections.__path__):
        return ()
    found: Sequence[PageSection] = importlib.import_module(f"medvfm.report.sections.{name}").SECTIONS
    return found
