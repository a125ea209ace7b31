"""report.html: one file from a run directory, with nothing to load from elsewhere."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from medvfm.io.run_directory import write_text
from medvfm.report import markup, run_view, sentences, text
from medvfm.report.sections import baselines, data, methods, model, numbers, record, subgroups
from medvfm.report.sections.classification import calibration, curves, mistakes, operating
from medvfm.report.sections.dataset import measures, problems, samples, structures
from medvfm.report.sections.segmentation import agreement, case_by_case, case_pictures, missed, robustness

FILE = "report.html"
# In the order of the page. Each has a TITLE and `build(View)`, which gives HTML, or None where its data are not there.
SECTIONS: tuple[ModuleType, ...] = (
    curves,
    case_by_case,
    baselines,
    case_pictures,
    missed,
    agreement,
    robustness,
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
# Sections whose numbers are an oracle's where prompts come from the truth.
OF_THE_MODEL = (case_by_case, baselines, case_pictures, missed, agreement, robustness, subgroups, numbers)
HEADLINE_NUMBERS = 8


def render(directory: Path) -> Path:
    """Write report.html of a run directory from what lies in it; the same directory gives the same bytes."""
    directory = Path(directory)
    path = directory / FILE
    write_text(path, page(run_view.load(directory)))
    return path


def page(found: run_view.View) -> str:
    """The whole document."""
    modules = CARD_SECTIONS if found.record.get("kind") == "card" else SECTIONS
    built = [(module, module.build(found)) for module in modules]
    sections = [
        {
            "id": module.__name__.rpartition(".")[2],
            "title": module.TITLE,
            "body": body,
            "oracle": found.oracle is not None and module in OF_THE_MODEL,
        }
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
            date=text.date(record.get("created")) if record.get("created") else "",
            task=found.part("task"),
            card=found.part("data", "card"),
            answer=sentences.answer(found),
            own_answer=record.get("answer"),
            comparison=sentences.comparison(found),
            oracle=found.oracle,
            warnings=_warnings(found),
            key=_key_rows(found),
            unit=found.unit,
            several_structures=found.segments and len(found.part("task").get("classes", [])) > 1,
            sections=sections,
        )
        + "\n"
    )


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
