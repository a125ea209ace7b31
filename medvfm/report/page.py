"""report.html: one file from a run directory, with nothing to load from elsewhere."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from medvfm.io.run_directory import write_text
from medvfm.report import headline, markdown, markup, metrics_csv, page_size, run_view, script, sections, text
from medvfm.report.section import PageSection
from medvfm.report.sections import (
    baselines,
    checklist,
    data,
    methods,
    model,
    novelty,
    numbers,
    record,
    repeats,
    shortcuts,
    subgroups,
)

FILE = "report.html"
# Sections of every run. Those of its task lie in the folder of that name, and take their places among these.
COMMON = (
    PageSection(20, baselines.TITLE, baselines.build, of_model=True),
    PageSection(25, repeats.TITLE, repeats.build, of_model=True),
    PageSection(85, shortcuts.TITLE, shortcuts.build),
    PageSection(88, novelty.TITLE, novelty.build),
    PageSection(90, subgroups.TITLE, subgroups.build, of_model=True),
    PageSection(110, data.TITLE, data.build),
    PageSection(120, model.TITLE, model.build),
    PageSection(130, methods.TITLE, methods.build),
    PageSection(135, checklist.TITLE, checklist.build),
    PageSection(140, numbers.TITLE, numbers.build, of_model=True),
    PageSection(150, record.TITLE, record.build),
)
AFTER_TASKS = 110  # sections from here on are about the data and the model, whatever was asked


def render(directory: Path) -> Path:
    """Write report.html of a run directory from what lies in it, with report.md and metrics.csv beside it; the same
    directory gives the same bytes."""
    directory = Path(directory)
    found, path = run_view.load(directory), directory / FILE
    write_text(path, page_size.within(page(found)))
    if found.record.get("kind") not in headline.PAGES:
        write_text(directory / markdown.FILE, markdown.document(found))
        write_text(directory / metrics_csv.FILE, metrics_csv.text(found))
    return path


def page(found: run_view.View) -> str:
    """The whole document."""
    shown = _built(found, _sections(found))
    last = next((n for n, part in enumerate(shown) if part["order"] >= AFTER_TASKS), len(shown))
    shown[last:last] = [part for other in found.further for part in _further(other)]
    record, head = found.record, headline.build(found)
    of_task = headline.task_module(found)
    frequencies = getattr(of_task, "frequencies", lambda _: None)(found)
    return (
        markup.fragment(
            "page",
            policy=Markup(script.policy()),  # quotes of a fixed text, which need no escapes within double ones
            script=script.text(),
            record=record,
            title=record.get("title") or "Report",
            kind=record.get("kind") or "run",
            status=record.get("status") or "unknown",
            date=text.date(record.get("created")) if record.get("created") else "",
            task=found.task,
            card=found.part("data", "card"),
            head=head,
            key=getattr(of_task, "key_numbers", lambda _: None)(found) or _key(found, head),
            frequencies=frequencies,
            scope={name: found.part("data", "card").get(name) for name in ("intended_use", "out_of_scope")},
            simulated=headline.SIMULATED,
            told_by_truth=headline.ORACLE,
            sections=shown,
        )
        + "\n"
    )


def _key(found: run_view.View, head: headline.Headline) -> list[dict[str, Any]]:
    """The main numbers, where the task has no table of its own in their place."""
    if head.table is not None:
        return []
    return [_key_number(found, row) for row in head.numbers]


def _key_number(found: run_view.View, row: run_view.Row) -> dict[str, Any]:
    """A number as it stands large: its name, the value with its interval, and why."""
    name, note = headline.number_name(found, row), row.get("note") or ""
    if row.get("value") is None:
        return {"name": name, "why": note, "values": []}
    counted = "cases" if row.get("unit") == "cases" else "no interval"
    spread = f"{text.level(row)} {text.interval(row)}" if row.get("low") is not None else counted
    return {"name": name, "why": note, "values": [{"name": "", "value": text.value(row), "range": spread}]}


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
