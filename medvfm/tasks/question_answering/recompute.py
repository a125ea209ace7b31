"""A published number of questions and answers, by every protocol and denominator that papers use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from medvfm.core.array import Array
from medvfm.core.metric_spec import MetricSpec, parse
from medvfm.io.dataset.prediction_tables import GivenTable
from medvfm.metrics import answers
from medvfm.tasks.per_case import PerCaseValues
from medvfm.tasks.question_answering import answer_tables, answer_values
from medvfm.tasks.question_answering.question_form import CLOSED
from medvfm.tasks.question_answering.task import QuestionAnsweringTask
from medvfm.tasks.recomputed import Recomputed, column, distinct, folds, mean_over, splits

COLUMNS = (frozenset({"case_id", "truth", "answer"}),)
ASKED_OF = {"closed_text": "closed questions", "texts": "questions"}
NO_RATE = frozenset({"unparsed"})  # no rival of an accuracy


def recompute(table: GivenTable, metric: str) -> list[Recomputed]:
    """Every protocol that is meant for the same questions as the metric, over every denominator."""
    asked = parse(metric, answers.METRICS, "--metric")
    rivals = [asked, *(s for s in map(_spec, answers.METRICS) if s.name != asked.name and _alike(asked, s))]
    specs = [*rivals, *([_spec("unparsed")] if asked.name != "unparsed" else [])]
    frame = table.frame.drop(columns=["split", "fold"], errors="ignore")
    truth = replace(table, frame=frame.drop(columns="answer").rename(columns={"truth": "answer"})).frame
    names = [spec.name for spec in specs]
    task = QuestionAnsweringTask()
    given = answer_tables.read(task, truth, frame[["case_id", "answer"]], names, {}).predictions
    assert isinstance(given, PerCaseValues)
    at = {case_id: row for row, case_id in enumerate(given.ids)}
    order = np.array([at.get(case_id, -1) for case_id in frame["case_id"]])
    kept = order >= 0
    seen = replace(table, frame=table.frame[kept])
    values = given.subset(order[kept])
    return distinct(
        [one for name, rows in splits(seen) for spec in rivals for one in _of(spec, seen, values, name, rows)]
    )


def _spec(name: str) -> MetricSpec:
    return MetricSpec(name, answers.METRICS[name], None)


def _alike(asked: MetricSpec, other: MetricSpec) -> bool:
    """Both are counted of closed questions, or of open ones; what is counted of all questions goes with either."""
    kinds = {spec.metric.takes for spec in (asked, other)}
    return other.name not in NO_RATE and ("texts" in kinds or ("closed_text" in kinds) == (kinds == {"closed_text"}))


def _of(spec: MetricSpec, table: GivenTable, values: PerCaseValues, split: str, rows: Array) -> Iterator[Recomputed]:
    """One protocol of one split, over every denominator."""

    def number(mine: Array) -> float | None:
        (found,) = answer_values.estimands(values.subset(mine), [spec]) if mine.any() else (None,)
        return None if found is None else found.value

    def counted(denominator: str, mine: Array) -> Iterator[Recomputed]:
        value = number(mine)
        if value is not None:
            yield Recomputed(spec.name, split, denominator, value, int(mine.sum()))

    closed = values.table["form"][:, 0] == CLOSED
    meant = rows & answer_values.applies(spec, values)
    words = {"closed_text": "all closed questions", "texts": "all questions"}.get(
        spec.metric.takes, "all open questions"
    )
    yield from counted(words, meant)
    subsets = [(words, meant)]
    if spec.metric.takes == "texts":
        for kind, of_kind in (("all closed questions", rows & closed), ("all open questions", rows & ~closed)):
            if of_kind.any() and (of_kind != meant).any():
                yield from counted(kind, of_kind)
                subsets.append((kind, of_kind))
    if "unparsed" in values.values and spec.name != "unparsed":
        parsed = values.values["unparsed"][:, 0] != 1
        for words, mine in subsets:
            if (mine & ~parsed).any():
                yield from counted(f"{words} whose answer could be read", mine & parsed)
    spoken = np.array([bool(str(text).strip()) for text in values.table["answer"][:, 0]])
    for words, mine in subsets:
        if (mine & ~spoken).any():
            yield from counted(f"{words} with an answer in words", mine & spoken)
    kinds = values.table["question_type"][:, 0].astype(str)
    for kind in sorted(set(kinds[meant]) - {""}):
        if (meant & (kinds != kind)).any():
            yield from counted(f"questions of type {kind}", meant & (kinds == kind))
    for noun, groups in (
        ("patient", column(table, "patient_id", "patient")),
        ("image", column(table, "image_id")),
        ("type of question", kinds.astype(object)),
        ("fold", folds(table)),
    ):
        for words, mine in subsets:
            found = None if groups is None else mean_over(groups, mine, number)
            if found is not None:
                yield Recomputed(spec.name, split, f"mean over every {noun}, {words}", *found)
