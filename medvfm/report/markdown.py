"""report.md: what the page says first, the main tables and the Methods text, as plain Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from medvfm.report import headline, text
from medvfm.report.plain_table import PlainTable
from medvfm.report.run_view import Row, View
from medvfm.report.sections import checklist, methods

FILE = "report.md"
SPECIAL = re.compile(r"([\\`*_\[\]<>|#])")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def document(view: View) -> str:
    """The whole file; no text of the record passes as markup."""
    head = headline.build(view)
    parts = [f"# {plain(head.title)}", plain(head.answer)]
    by = f"{head.by}." if head.by else None
    parts += [plain(said) for said in (by, head.status, head.comparison) if said]
    if head.simulated:
        parts.append(f"**SIMULATED DATA.** {headline.SIMULATED}")
    if head.oracle:
        parts.append(f"**ORACLE PROMPTS.** {headline.ORACLE} The prompts: {plain(head.oracle)}.")
    if head.reference:
        parts.append(f"Reference standard: {plain(head.reference)}")
    if head.warnings:
        parts += ["## Warnings", "\n".join(f"- {plain(warning)}" for warning in head.warnings)]
    if head.evidence:
        rows = [(chip.question, chip.word, chip.detail) for chip in head.evidence]
        parts += ["## How far to believe it", _table(("Question", "Answer", "Detail"), rows)]
    parts += _numbers(view, head)
    parts += _methods(view)
    return "\n\n".join(parts) + "\n"


def _numbers(view: View, head: headline.Headline) -> list[str]:
    found: PlainTable = headline.main_numbers(view, head)
    parts = ["## Main numbers", _table(found.columns, found.rows)] if found.rows else []
    for title, rows in (
        ("All test numbers of the model", view.rows()),
        ("Baselines on the same cases", [r for r in view.rows(baseline=...) if r.get("baseline")]),
        ("Subgroups", view.subgroups()),
    ):
        if rows:
            parts += [
                f"## {title}",
                _table(
                    ("Metric", "Target", "Of", "Value", text.level(rows[0]), "Cases", "Note"),
                    [_row(view, r) for r in rows],
                ),
            ]
    return parts


def _row(view: View, row: Row) -> tuple[str, ...]:
    whose = view.baseline(row["baseline"]) if row.get("baseline") else str(row.get("group") or "the model")
    value = "not defined" if row.get("value") is None else text.value(row)
    return (text.metric(row["metric"]), str(row.get("target") or "all"), whose.replace("=", " "), value,
            text.interval(row), text.count(row.get("cases") or 0), str(row.get("note") or ""))  # fmt: skip


def _methods(view: View) -> list[str]:
    paragraphs = methods.paragraphs(view)
    parts = ["## Methods", *map(plain, paragraphs)] if paragraphs else []
    if view.primary is not None:
        rows = [(item.number, item.asks, answer or checklist.AUTHOR) for item, answer in checklist.answers(view)]
        parts += [f"## {checklist.TITLE}", _table(("Item", "Asks for", "Answer"), rows)]
    return parts


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns)]
    cells = [[plain(cell) for cell in columns], lines[1], *([plain(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def plain(said: object) -> str:
    """On one line, with every sign that Markdown or HTML would act on escaped."""
    return SPECIAL.sub(r"\\\1", CONTROL.sub("", " ".join(str(said).split())))
