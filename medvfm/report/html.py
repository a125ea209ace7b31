"""report.html: one file from a run directory, with nothing to load from elsewhere."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from medvfm.io.run_directory import write_text
from medvfm.report import markup, sentences, view, words
from medvfm.report.sections import (
    baselines,
    calibration,
    curves,
    data,
    measures,
    methods,
    mistakes,
    model,
    numbers,
    operating,
    problems,
    record,
    samples,
    structures,
    subgroups,
)

FILE = "report.html"
# In the order of the page. Each has a TITLE and `build(View)`, which gives HTML, or None where its data are not there.
SECTIONS: tuple[ModuleType, ...] = (
    curves,
    baselines,
    operating,
    calibration,
    subgroups,
    mistakes,
    data,
    model,
    methods,
    numbers,
    record,
)
CARD_SECTIONS: tuple[ModuleType, ...] = (data, samples, structures, measures, problems)  # of `medvfm data show`
HEADLINE_NUMBERS = 8


def render(directory: Path) -> Path:
    """Write report.html of a run directory from what lies in it; the same directory gives the same bytes."""
    directory = Path(directory)
    path = directory / FILE
    write_text(path, page(view.load(directory)))
    return path


def page(found: view.View) -> str:
    """The whole document."""
    modules = CARD_SECTIONS if found.record.get("kind") == "card" else SECTIONS
    built = [(module, module.build(found)) for module in modules]
    sections = [
        {"id": module.__name__.rpartition(".")[2], "title": module.TITLE, "body": body}
        for module, body in built
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
            date=words.date(record.get("created")) if record.get("created") else "",
            task=found.part("task"),
            card=found.part("data", "card"),
            answer=sentences.answer(found),
            own_answer=record.get("answer"),
            comparison=sentences.comparison(found),
            warnings=_warnings(found),
            key=_key_rows(found),
            unit=found.unit,
            sections=sections,
        )
        + "\n"
    )


def _warnings(found: view.View) -> list[str]:
    """Those of the record and the card; the one on simulated data stands in its own banner."""
    title = found.part("data", "card").get("title")
    own = f"{title} is simulated" if title and found.part("data", "card").get("simulated") else None
    said = [str(w) for w in found.record.get("warnings") or [] if own is None or not str(w).startswith(own)]
    return said + [f"Known confounding: {c}" for c in found.part("data", "card").get("confounders") or []]


def _key_rows(found: view.View) -> list[view.Row]:
    """The numbers that stand large: of all targets together where there are several."""
    primary = found.primary
    if primary is None:
        return []
    whole = (None, view.MACRO) if primary.get("target") in (None, view.MACRO) else (primary["target"], None)
    rows = [r for r in found.rows() if r.get("target") in whole]
    return rows[:HEADLINE_NUMBERS]
