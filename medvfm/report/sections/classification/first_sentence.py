"""The sentence at the top of one yes-or-no question: who is told from whom, and how well."""

from __future__ import annotations

from medvfm.report import sentences, text
from medvfm.report.run_view import View


def answer(view: View) -> dict[str, str] | None:
    """`The model distinguished patients with lesion from patients without: AUROC 0.84 (95% CI 0.73 to 0.92), 70 test
    patients, 35 with lesion.`; of other questions the sentence of every task."""
    row, name = view.primary, one_question(view)
    if row is None or name is None or row.get("value") is None:
        return sentences.answer(view)
    test = "test" if view.record.get("kind") == "run" and view.split == "test" else ""
    positives = row.get("positives")
    counted = f", {text.count(positives)} with {name}" if positives is not None else ""
    who, kind = ("The model" if view.part("model") else "The predictions"), f"{view.unit}s"
    measure, truth = sentences.number_name(view, row), sentences.truth_source(view)
    return {
        "before": f"{who} distinguished {kind} with {name} from {kind} without{truth}: {measure}",
        "number": text.with_interval(row),
        "after": f", {sentences.units(view, row, test)}{counted}.",
        "whole": "yes",
    }


def by(view: View) -> str:
    """Which model that was, where the sentence does not say it."""
    row = view.primary
    said = one_question(view) is not None and row is not None and row.get("value") is not None
    return sentences.model_subject(view) if said and view.part("model") else ""


def one_question(view: View) -> str | None:
    """The name of the finding of one yes-or-no question; None of others, and of prompts from the truth, which come
    first in the sentence."""
    classes = view.task.get("classes") or []
    binary = view.task.get("kind") == "binary" and len(classes) == 1
    return text.structure(classes[0]) if binary and view.oracle is None else None
