"""What a reader sees first, for the page and for the terminal alike: answer, comparison, warnings, main numbers."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from medvfm.report import evidence, sections, sentences, text
from medvfm.report.evidence import Chip
from medvfm.report.plain_table import PlainTable
from medvfm.report.run_view import MEAN, WHOLE, Row, View

MOST_NUMBERS = 8
UNKNOWN = "Patients are unknown: {splits}intervals, which take every {unit} alone, may be too narrow."
SPLITS = "images of one patient may lie in several splits, and "
SIMULATED = "The images are simulated. The numbers show that the pipeline works, and nothing about patients."
ORACLE = (
    "Prompts were derived from the reference truth: every number of the model is that of a user who gives such prompts "
    "without error."
)
PAGES = {
    "card": "dataset",
    "comparison": "comparison",
    "sweep": "sweep",
}  # folders of records with a page of their own, by their kind
KEPT_TOGETHER = re.compile(r"cases of one \w+ are kept together instead")


@dataclass(frozen=True)
class Headline:
    """status    why the numbers are not results, or None
    oracle     which truth the prompts came from, or None
    table      in place of the main numbers, where the task has one
    evidence   how far the numbers can be believed, in five words
    """

    title: str
    status: str | None
    before: str
    number: str
    whole: bool  # the number is to be kept on one line
    after: str
    comparison: str | None
    reference: str | None
    oracle: str | None
    simulated: bool
    warnings: tuple[str, ...]
    numbers: tuple[Row, ...]
    table: PlainTable | None
    evidence: tuple[Chip, ...] = ()
    by: str = ""  # who answered, where the answer does not say it

    @property
    def answer(self) -> str:
        return f"{self.before} {self.number}{self.after}".strip()


def build(view: View) -> Headline:
    """From the run directory alone."""
    of_task = task_module(view)
    table: PlainTable | None = of_task.headline(view) if of_task is not None and hasattr(of_task, "headline") else None
    answer = getattr(of_task, "answer", sentences.answer)
    said = answer(view) or {"before": "No number has been computed.", "number": "", "after": ""}
    if view.record.get("answer"):
        said = {"before": str(view.record["answer"]), "number": "", "after": ""}
    standard = reference_standard(view)
    return Headline(
        title=str(view.record.get("title") or "Report"),
        status=_status(view),
        before=said["before"],
        number=said["number"],
        whole=bool(said.get("whole")),
        after=said["after"],
        comparison=getattr(of_task, "comparison", sentences.comparison)(view),
        reference=None if f"(truth: {standard})" in said["before"] else standard,
        oracle=view.oracle,
        simulated=bool(view.part("data", "card").get("simulated")),
        warnings=tuple(warnings(view)),
        numbers=tuple(key_rows(view)),
        table=table,
        evidence=tuple(evidence.strip(view)),
        by="" if view.record.get("answer") else str(getattr(of_task, "by", lambda _: "")(view)),
    )


def task_module(view: View) -> ModuleType | None:
    """The folder of the sections of the record's kind, or else of its task; None where there is none."""
    name = PAGES.get(str(view.record.get("kind"))) or str(view.task.get("name"))
    if not any((Path(folder) / name / "__init__.py").is_file() for folder in sections.__path__):
        return None
    return importlib.import_module(f"medvfm.report.sections.{name}")


def _status(view: View) -> str | None:
    status = view.record.get("status") or "unknown"
    if status == "complete":
        return None
    if status == "running":
        return "This run has not finished; its numbers are not final."
    return "This run did not complete; its numbers are not results."


def reference_standard(view: View) -> str | None:
    """How the truth was made, as the card has it; where it differs between splits or classes, each."""
    truth = view.part("data", "card").get("truth")
    if isinstance(truth, dict):
        return "; ".join(f"{name}: {how}" for name, how in truth.items()) or None
    return str(truth) if truth else None


def warnings(view: View) -> list[str]:
    """Those of the record and the card, by how much harm it does to overlook them.

    Simulated data and prompts from the truth have banners of their own.
    """
    title = view.part("data", "card").get("title")
    own = f"{title} is simulated" if title and view.part("data", "card").get("simulated") else None
    elsewhere = (*([own] if own else []), *(["Prompts come from the truth"] if view.oracle else []))
    said = [str(w) for w in view.record.get("warnings") or [] if not str(w).startswith(elsewhere)]
    confounders = [f"Known confounding: {c}" for c in view.part("data", "card").get("confounders") or []]
    told = dict.fromkeys(w for w in said if not view.says_unknown(w))
    once = [w for w in told if not any(other != w and other.startswith(w) for other in told)]
    saw = view.part("model", "pretraining")
    first = [str(saw["said"])] if saw.get("saw") == "yes" else []
    return list(dict.fromkeys([*first, *_patients(view, said), *confounders, *once]))


def _patients(view: View, said: list[str]) -> list[str]:
    """One sentence where patients are unknown, however many say so."""
    if view.names_patients:
        return []
    together = next((found[0] for w in said if (found := KEPT_TOGETHER.search(w))), None)
    return (
        [f"Patients are unknown; {together}."]
        if together
        else [UNKNOWN.format(unit=view.unit, splits=SPLITS if view.has_splits else "")]
    )


def key_rows(view: View) -> list[Row]:
    """The numbers that stand large: of all targets together where there are several; then each structure's first."""
    primary = view.primary
    if primary is None:
        return []
    whole = WHOLE if primary.get("target") in WHOLE else (primary["target"], None)
    rows = [r for r in view.rows() if r.get("target") in whole]
    if primary.get("target") == MEAN:
        rows += [r for r in view.rows(metric=primary["metric"]) if r.get("target") not in whole]
    return rows[:MOST_NUMBERS]


def number_name(view: View, row: Row) -> str:
    """`AUROC`, `Mean Dice`, `Dice, lesion`."""
    if row.get("target") == MEAN:
        return f"Mean {text.metric(row['metric'])}"
    named = text.title(text.metric(row["metric"]))
    several = len(view.task.get("classes", [])) > 1
    return f"{named}, {text.structure(row['target'])}" if several and row.get("target") not in WHOLE else named


def main_numbers(view: View, found: Headline) -> PlainTable:
    """The main numbers as text, with the note beside each interval; the task's own table where it has one."""
    if found.table is not None:
        return found.table
    level = text.level(found.numbers[0]) if found.numbers else "95% CI"
    return PlainTable(
        "",
        ("", "Value", level),
        tuple((number_name(view, r), *_cells(r)) for r in found.numbers),
        tuple(str(r.get("note") or "") for r in found.numbers),
    )


def _cells(row: Row) -> tuple[str, str]:
    if row.get("value") is None:
        return "not defined", ""
    return text.value(row), text.interval(row) or ("" if row.get("unit") == "cases" else "no interval")
