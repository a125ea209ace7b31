"""Answers measured by every protocol, case by case, and the numbers that are made of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from medvfm.core.array import Array
from medvfm.core.case import Case
from medvfm.core.errors import Undefined
from medvfm.core.metric_spec import MetricSpec
from medvfm.core.protocols import Answer
from medvfm.metrics.answers import PARTS
from medvfm.statistics.estimand import Estimand, few_patients, jackknifed
from medvfm.statistics.patients import Patients
from medvfm.tasks import per_case
from medvfm.tasks.per_case import PerCaseValues
from medvfm.tasks.question_answering.question_form import CLOSED, OPEN, QuestionForm, spelled_type

TARGET = "answer"
CONFIDENCE = "confidence"
MOST_VALUES = 40  # of a column that is looked at value by value


class QuestionsOfOneValue(PerCaseValues):
    """Questions that share a value of a column, such as a type: only protocols that apply to one of them are shown."""


def text_of(answer: Answer) -> str:
    """The words of an answer: a text, or {"text": ..., "confidence": ...}."""
    return str(answer["text"] if isinstance(answer, Mapping) else answer)


def measured(
    cases: Sequence[Case],
    truths: Sequence[str],
    forms: Sequence[QuestionForm],
    answers: Iterable[Answer],
    specs: Sequence[MetricSpec],
    by: Sequence[str],
) -> PerCaseValues:
    """Every protocol of each case. `answers` are consumed one by one."""
    values = {name: np.full((len(cases), 1), np.nan) for spec in specs for name in _names(spec)}
    texts: list[str] = []
    sure = np.full((len(cases), 1), np.nan)
    for place, answer in enumerate(answers):
        texts.append(text_of(answer))
        if isinstance(answer, Mapping) and answer.get(CONFIDENCE) is not None:
            sure[place] = float(answer[CONFIDENCE])
        for spec in specs:
            for name, value in zip(_names(spec), _values(spec, truths[place], texts[-1], forms[place]), strict=True):
                values[name][place] = value
    if not np.isnan(sure).all():
        values[CONFIDENCE] = sure
    columns = sorted({name for case in cases for name in case.groups})
    groups = {c: np.array([case.groups.get(c, "") for case in cases], dtype=object) for c in columns}
    table = {
        "truth": _column(truths),
        "answer": _column(texts),
        "question": _column([case.question or "" for case in cases]),
        "question_type": _column([spelled_type(case.question_type) for case in cases]),
        "form": _column([CLOSED if form.closed else OPEN for form in forms]),
        **{f"group_{c}": np.array([[str(v)] for v in groups[c]], dtype=object) for c in by if c in groups},
    }
    return PerCaseValues(
        tuple(case.case_id for case in cases),
        np.array([case.owner for case in cases], dtype=object),
        np.zeros(len(cases), dtype=int),
        (TARGET,),
        values,
        None,
        table,
        groups,
    )


def views(predictions: PerCaseValues, by: Sequence[str]) -> dict[str, PerCaseValues]:
    """`question_type=presence` to its questions, and the same for every value of the columns `by`."""
    columns = {"question_type": predictions.table["question_type"][:, 0]}
    columns |= {c: np.array([str(v) for v in predictions.groups[c]]) for c in by if c in predictions.groups}
    found: dict[str, PerCaseValues] = {}
    for column, values in columns.items():
        known = sorted({str(v) for v in values if str(v)})
        if len(known) > MOST_VALUES:
            continue
        for value in known:
            part = predictions.subset(np.array([str(v) == value for v in values], dtype=bool))
            found[f"{column}={value}"] = QuestionsOfOneValue(**{n: getattr(part, n) for n in _FIELDS})
    return found


_FIELDS = ("ids", "patients", "fold", "targets", "values", "present", "table", "groups", "has_size")


def estimands(predictions: PerCaseValues, specs: Sequence[MetricSpec]) -> list[Estimand]:
    """One of each protocol; of questions of one value only those that apply to one of them."""
    if isinstance(predictions, QuestionsOfOneValue):
        specs = [spec for spec in specs if applies(spec, predictions).any()]
    return [_estimand(predictions, spec) for spec in specs]


def applies(spec: MetricSpec, predictions: PerCaseValues) -> Array:
    """(n,) of bool: the questions that a protocol is meant for."""
    closed = predictions.table["form"][:, 0] == CLOSED
    takes = {"closed_text": closed, "texts": np.ones(len(closed), dtype=bool)}
    return np.asarray(takes.get(spec.metric.takes, ~closed))


def _estimand(predictions: PerCaseValues, spec: MetricSpec) -> Estimand:
    meant = applies(spec, predictions)
    kind = {"closed_text": "closed ", "texts": ""}.get(spec.metric.takes, "open ")
    if spec.metric.takes == "text_counts":
        found = _of_counts(predictions, spec)
    else:
        (found,) = per_case.estimands(predictions, [spec], lambda _: f"no {kind}question")
    notes = _told(found)
    if kind and found.value is not None and not meant.all():
        notes.append(f"{int(meant.sum())} of {len(meant)} questions are {kind.strip()}")
    lost = int(meant.sum()) - int(found.known.sum())
    if lost and spec.name == "llava_med_closed":
        notes.append(f"{lost} wrong answers are left out, as that script does")
    elif lost and found.value is not None:
        notes.append(f"{lost} {kind}questions have no value")
    paired = found.minus

    def minus(other: Estimand) -> Estimand | None:
        apart = None if paired is None else paired(other)
        return None if apart is None else replace(apart, notes=tuple(_told(apart)))

    return replace(found, notes=tuple(notes), minus=None if paired is None else minus)


def _told(found: Estimand) -> list[str]:
    """Notes without that of cases that a protocol is not meant for."""
    return [note for note in found.notes if not note.endswith("cases have no value")]


def _of_counts(predictions: PerCaseValues, spec: MetricSpec) -> Estimand:
    """A number of the counts of all texts together, within folds; its error leaves out one patient at a time."""
    counts = np.concatenate([predictions.values[name] for name in _names(spec)], axis=1)
    known = ~np.isnan(counts).any(axis=1)
    if not known.any():
        return Estimand(spec, TARGET, None, known, reason="no open question")
    filled = np.where(known[:, None], counts, 0.0)
    folds = [predictions.fold == f for f in np.unique(predictions.fold[known])]

    def statistic(weights: Array) -> Array:
        sums = [weights[:, rows].astype(np.float64) @ filled[rows] for rows in folds]
        return np.asarray(np.mean([spec.metric.function(each) for each in sums], axis=0))

    value = float(statistic(np.ones((1, len(filled))))[0])
    if np.isnan(value):
        return Estimand(spec, TARGET, None, known, reason="neither truth nor answers hold what is counted")

    def minus(other: Estimand) -> Estimand:
        theirs = other.statistic
        if other.value is None or theirs is None:
            return replace(whole, value=None, statistic=None, spread=None, reason=other.reason or "not defined")

        def apart(weights: Array) -> Array:
            return np.asarray(statistic(weights) - theirs(weights))

        less = replace(whole, value=value - other.value, statistic=apart, minus=None)
        spread = jackknifed(apart, value - other.value, less, predictions.patients)
        return replace(less, spread=replace(spread, within=(-1.0, 1.0)))

    few = few_patients([(Patients.of(predictions.patients).among(known), "")])
    whole = Estimand(spec, TARGET, value, known, statistic=statistic, notes=(few,) if few else (), minus=minus)
    return replace(whole, spread=jackknifed(statistic, value, whole, predictions.patients))


def _names(spec: MetricSpec) -> list[str]:
    """What stands among the values of a protocol: itself, or what it counts, as `bleu matched_1`."""
    if spec.metric.takes != "text_counts":
        return [spec.name]
    return [f"{spec.name} {part}" for part in PARTS[spec.name]]


def _values(spec: MetricSpec, truth: str, text: str, form: QuestionForm) -> Sequence[float]:
    takes = spec.metric.takes
    if (takes == "closed_text" and not form.closed) or (takes in ("open_text", "text_counts") and form.closed):
        return [np.nan] * len(_names(spec))
    if takes == "text_counts":
        assert spec.metric.per_case is not None
        return [float(count) for count in spec.metric.per_case(truth, text)]
    try:
        options = {"options": form.options} if takes == "closed_text" else {}
        return [float(spec.metric.function(truth, text, **options))]
    except Undefined:
        return [np.nan]


def _column(texts: Sequence[str]) -> Array:
    return np.array([[text] for text in texts], dtype=object).reshape(len(texts), 1)
