"""report.html: one file from a run directory, with nothing to load from elsewhere."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from medvfm.io.run_directory import write_text
from medvfm.report import markup, run_view, sections, sentences, text
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
HEADLINE_NUMBERS = 8


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
    record = found.record
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
            answer=sentences.answer(found),
            own_answer=record.get("answer"),
            comparison=sentences.comparison(found),
            oracle=found.oracle,
            warnings=_warnings(found),
            key=_key_rows(found),
            unit=found.unit,
            several=len(found.task.get("classes", [])) > 1,
            whole=run_view.WHOLE,
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


def _warnings(found: run_view.View) -> list[str]:
    """Those of the record and the card; simulated data and prompts from the truth have banners of their own."""
    title = found.part("data", "card").get("title")
    own = f"{title} is simulated" if title and found.part("data", "card").get("simulated") else None
    elsewhere = (*([own] if own else []), *(["Prompts come from the truth"] if found.oracle else []))
    said = [str(w) for w in found.record.get("warnings") or [] if not str(w).startswith(elsewhere)]
    return said + [f"Known confounding: {c}" for c in found.part("data", "card").get("confounders") or []]


def _key_rows(found: run_view.View) -> list[run_view.Row]:
    """The numbers that stand large: of all targets together where there are several; then each structure's first."""
    primary = found.primary
    if primary is None:
        return []
    whole = run_view.WHOLE if primary.get("target") in run_view.WHOLE else (primary["target"], None)
    rows = [r for r in found.rows() if r.get("target") in whole]
    if primary.get("target") == run_view.MEAN:
        rows += [r for r in found.rows(metric=primary["metric"]) if r.get("target") not in whole]
    return rows[:HEADLINE_NUMBERS]
