"""Any program's answers beside the true ones: two tables, matched by case_id.

An empty cell of the truth is a question without an answer: it is left out and named. An empty cell of the predictions
is an answer without words: it counts, as wrong. A word that tables have for nothing, such as `none`, is an answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from medvfm.core.array import Array
from medvfm.core.case import Case
from medvfm.core.errors import PredictionError, nearest
from medvfm.core.metric_spec import MetricSpec, parse
from medvfm.core.options import checked
from medvfm.core.plurals import plural, some
from medvfm.core.protocols import Outside, Points
from medvfm.io.dataset import prediction_splits, prediction_tables
from medvfm.io.dataset.layout_rows import as_text
from medvfm.io.dataset.prediction_splits import Part
from medvfm.io.dataset.prediction_tables import GivenTable, Table
from medvfm.tasks.per_case import PerCaseValues
from medvfm.tasks.per_case_task import AnswerTableOptions, ListedCases, PerCaseTask
from medvfm.tasks.question_answering import answer_values

ANSWER = "answer"
NO_ANSWER = "the question has no true answer"


def read(
    task: PerCaseTask,
    truth: Table,
    predictions: Table,
    metrics: Sequence[str] | None,
    options: Mapping[str, object],
) -> Outside:
    """Every protocol that applies to one of the questions, or those that are asked for."""
    given = checked(AnswerTableOptions, options, f"evaluate {task.name}", "evaluate")
    specs = [parse(name, task.metrics, "metrics") for name in (metrics or task.default_metrics)]
    true, answered = (prediction_tables.read_table(t, n) for t, n in ((truth, "truth"), (predictions, "predictions")))
    for table in (true, answered):
        if ANSWER not in table:
            choices = nearest(ANSWER, map(str, table.frame.columns))
            raise PredictionError(f"no column {ANSWER!r}; {choices}", where=table.where)
    for column in given.subgroups:
        if column not in true:
            choices = nearest(column, map(str, true.frame.columns))
            raise PredictionError(f"no column {column!r} in the truth; {choices}", where="--subgroups")
    prediction_tables.refuse_doubled(true, ["case_id"])
    empty = _blank(true)
    without = list(true.frame["case_id"][empty])
    if empty.all():
        raise PredictionError("no question has a true answer", where=true.where)
    answered = answered.kept(~answered.frame["case_id"].isin(without))
    notes = [*true.notes, *answered.notes]
    if without:
        notes.append(f"{plural(len(without), 'question')} without a true answer left out: {some(without)}.")
    parts, more = prediction_splits.parts(true.kept(~empty), answered)
    found: dict[str, PerCaseValues] = {}
    for part in parts:
        found[part.split], own = _of_part(task, part, specs, given)
        more += own
    test = found["test"]
    if metrics is None:
        specs = [spec for spec in specs if answer_values.applies(spec, test).any()]
    left_out = [(case_id, NO_ANSWER) for case_id in without]
    notes = list(dict.fromkeys([*notes, *more]))
    return Outside(task, test, specs, Points(), given.subgroups, notes, left_out, len(test.ids), found.get("val"))


def _of_part(
    task: PerCaseTask, part: Part, specs: Sequence[MetricSpec], given: AnswerTableOptions
) -> tuple[PerCaseValues, list[str]]:
    prediction_tables.refuse_doubled(part.predictions, ["case_id"])
    true, answered = part.truth.first_of_case(), part.predictions.first_of_case()
    notes = prediction_tables.missing(true.index, answered.index, part.predictions.where, given.allow_missing)
    both = [case_id for case_id in true.index if case_id in answered.index]
    people, of_people = _owners(part.truth, both)
    fold, of_folds = prediction_splits.folds(part, both)
    cases = [
        Case(
            str(case_id),
            str(owner),
            {},
            answer=_text(true.loc[case_id, ANSWER]),
            groups={column: _text(true.loc[case_id, column]) for column in given.subgroups},
            question=_word(true, case_id, "question"),
            question_type=_word(true, case_id, "question_type"),
            image_id=_word(true, case_id, "image_id"),
        )
        for case_id, owner in zip(both, people, strict=True)
    ]
    texts = [_text(answered.loc[case_id, ANSWER]) for case_id in both]
    silent = sum(not text for text in texts)
    if silent:
        notes.append(f"{plural(silent, 'answer')} without words, counted as wrong.")
    values = task.collect(ListedCases(cases), texts, None, specs)
    return replace(values, fold=fold), [*notes, *of_people, *of_folds]


def _owners(truth: GivenTable, cases: Sequence[str]) -> tuple[Array, list[str]]:
    """Patients, or images where the truth names no patients."""
    if "image_id" not in truth or "patient_id" in truth or "patient" in truth:
        return prediction_tables.owners(truth, cases)
    images = truth.frame.set_index("case_id")["image_id"]
    return (
        np.array([_text(images[case_id]) or case_id for case_id in cases], dtype=object),
        ["The truth names no patients: intervals take every image as a patient of its own."],
    )


def _word(true: pd.DataFrame, case_id: str, column: str) -> str | None:
    """A cell of a column that the truth may lack."""
    return (_text(true.loc[case_id, column]) or None) if column in true else None


def _blank(table: GivenTable) -> Array:
    """(n,) where there is no answer."""
    return np.array([not _text(value) for value in table.frame[ANSWER]], dtype=bool)


def _text(value: object) -> str:
    return "" if value is None or (isinstance(value, float) and np.isnan(value)) or value is pd.NA else as_text(value)
