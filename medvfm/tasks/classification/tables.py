"""Any model's scores against a truth, matched by case_id, from tables: wide, long, or with the class by its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medvfm.core.array import Array
from medvfm.core.errors import PredictionError, nearest
from medvfm.core.plurals import have, some
from medvfm.core.protocols import Record
from medvfm.io.dataset import prediction_splits
from medvfm.io.dataset.layout_rows import as_text, is_unknown
from medvfm.io.dataset.prediction_splits import Part
from medvfm.io.dataset.prediction_tables import (
    KNOWN,
    GivenTable,
    Table,
    is_table,
    missing,
    owners,
    read_table,
    refuse_doubled,
)
from medvfm.tasks.classification import class_order, unlabelled
from medvfm.tasks.classification.arrays import as_tables
from medvfm.tasks.classification.scores import ScoreTable

EXCLUSIVE = ("multi_class", "ordinal")
TRUTHS = (
    "a truth is wide (case_id and a column a class with 0 or 1), long (case_id, target, truth), or names the class of "
    "each case (case_id, truth)"
)
PREDICTIONS = "predictions are wide (case_id and a column a class with its score) or long (case_id, target, score)"


@dataclass(frozen=True)
class AskedOfScores:
    """What the user says of the question: the kind and the classes in order, where he or she does."""

    kind: str | None
    classes: tuple[str, ...]
    allow_missing: bool


@dataclass(frozen=True, eq=False)
class MatchedScores:
    """The settled kind, truth and scores of each split, test first, and what a reader must know.

    left_out  cases without a label; flow: how many of the test cases they are
    """

    kind: str
    tables: dict[str, ScoreTable]
    notes: list[str]
    left_out: list[str]
    flow: list[Record]


def match(truth_given: Table, predictions_given: Table, asked: AskedOfScores) -> MatchedScores:
    """Truth and scores of the same cases, in the truth's order; what does not match is named."""
    exclusive = False
    if not (is_table(truth_given) and is_table(predictions_given)):
        truth_given, predictions_given, exclusive = as_tables(truth_given, predictions_given, asked.classes)
    truth, given = read_table(truth_given, "truth"), read_table(predictions_given, "predictions")
    parts, notes = prediction_splits.parts(truth, given)
    scores = _Scores.of(given)
    labels = _labels(truth, scores)
    exclusive |= labels.form == "named" and len(scores.targets) > 1
    targets, more = _targets(labels, scores, asked)
    kind = _kind(asked.kind or ("multi_class" if exclusive else None), len(targets))
    if kind == "ordinal" and not asked.classes:
        _refuse_unordered(targets, labels, scores)
        notes += class_order.doubts(targets)
    notes = [*truth.notes, *given.notes, *notes, *more]
    matched, tables, left_out = {}, {}, list[str]()
    for part in parts:
        matched[part.split], found = _matched(part, labels, scores, targets, kind, asked)
        if part.split != "test" and np.isnan(matched[part.split].truth).all():
            notes.append(f"Nothing is scored of the split {part.split}: no case of it has a label.")
            continue
        tables[part.split], names, said = unlabelled.without(matched[part.split], part.split, part.truth.where)
        left_out += names if part.split == "test" else []
        notes += [*found, *said]
    if asked.kind is None and kind == "multi_label" and all(_one_hot(table.truth) for table in tables.values()):
        notes.append("Every case has exactly one of the classes: --kind multi_class scores them as exclusive.")
    flow = unlabelled.flow(matched["test"], tables["test"])
    return MatchedScores(kind, tables, list(dict.fromkeys(notes)), left_out, flow)


@dataclass(frozen=True)
class _Scores:
    """How predictions come: `long` or wide, and their targets in the order of the table."""

    long: bool
    targets: tuple[str, ...]

    @classmethod
    def of(cls, given: GivenTable) -> _Scores:
        if "target" in given and "score" in given:
            return cls(True, tuple(dict.fromkeys(as_text(t) for t in given.frame["target"])))
        if "target" in given:
            raise PredictionError("a column target, and no column score", where=given.where, remedy=PREDICTIONS)
        targets = tuple(c for c in given.frame.columns if c not in KNOWN)
        if not targets:
            raise PredictionError("no column of scores", where=given.where, remedy=PREDICTIONS)
        return cls(False, targets)


@dataclass(frozen=True)
class _Labels:
    """How the truth comes: `long`, `wide` or `named`, and the columns or targets that may be classes, in order."""

    form: str
    candidates: tuple[str, ...]
    where: str


def _labels(truth: GivenTable, scores: _Scores) -> _Labels:
    if "target" in truth:
        if "truth" not in truth:
            raise PredictionError("a column target, and no column truth", where=truth.where, remedy=TRUTHS)
        return _Labels("long", tuple(dict.fromkeys(as_text(t) for t in truth.frame["target"])), truth.where)
    if "truth" in truth and not set(scores.targets) & set(truth.frame.columns):
        return _Labels("named", scores.targets, truth.where)
    return _Labels("wide", tuple(c for c in truth.frame.columns if c not in KNOWN), truth.where)


def _targets(labels: _Labels, scores: _Scores, asked: AskedOfScores) -> tuple[tuple[str, ...], list[str]]:
    """The classes in the order of the user, else of the truth, and what is left out of them."""
    if asked.classes:
        for name in asked.classes:
            for has, what in ((labels.candidates, "the truth"), (scores.targets, "the predictions")):
                if name not in has:
                    raise PredictionError(f"class {name!r} is not in {what}; {nearest(name, has)}", where="--classes")
        others = [t for t in scores.targets if t not in asked.classes]
        return asked.classes, [f"Not among the classes, and not scored: {some(others)}."] if others else []
    unknown = [t for t in scores.targets if t not in labels.candidates]
    if unknown:
        raise PredictionError(
            f"target {unknown[0]!r} of the predictions is not in the truth; {nearest(unknown[0], labels.candidates)}",
            where=labels.where,
            remedy=TRUTHS,
        )
    targets = tuple(t for t in labels.candidates if t in scores.targets)
    rest = [t for t in labels.candidates if t not in scores.targets] if labels.form == "long" else []
    if rest and asked.kind in EXCLUSIVE:
        raise PredictionError(
            f"the truth has the class {rest[0]!r}, and the predictions have no score for it", where=labels.where
        )
    return targets, [f"The truth has targets without predictions: {some(rest)}."] if rest else []


def _kind(kind: str | None, targets: int) -> str:
    found = kind or ("binary" if targets == 1 else "multi_label")
    if (found == "binary" and targets != 1) or (found in EXCLUSIVE and targets == 1):
        raise PredictionError(
            f"kind {found} with {targets} columns of scores",
            where="--kind",
            remedy="binary has one, multi_class and ordinal have one a class",
        )
    return found


def _refuse_unordered(targets: Sequence[str], labels: _Labels, scores: _Scores) -> None:
    if labels.form != "wide":
        class_order.refuse_silent(labels.candidates, labels.where)
    if not scores.long:
        class_order.refuse_torn(targets, scores.targets, labels.where)
    class_order.refuse_numbers_by_text(targets, labels.where)


def _matched(
    part: Part, labels: _Labels, scores: _Scores, targets: tuple[str, ...], kind: str, asked: AskedOfScores
) -> tuple[ScoreTable, list[str]]:
    refuse_doubled(part.predictions, ["case_id", "target"] if scores.long else ["case_id"])
    refuse_doubled(part.truth, ["case_id", "target"] if labels.form == "long" else ["case_id"])
    given = _long(part.predictions, "score") if scores.long else _wide(part.predictions, targets)
    if labels.form == "long":
        true = _long(part.truth, "truth")
    else:
        true = _named(part.truth, targets, scores) if labels.form == "named" else _wide(part.truth, targets)
    notes = missing(true.index, given.index, part.predictions.where, asked.allow_missing)
    present = set(given.index)
    kept = [c for c in true.index if c in present]
    values = given.reindex(columns=list(targets)).loc[kept].to_numpy(np.float64)
    if np.isnan(values).any():
        bad = [kept[r] for r in np.flatnonzero(np.isnan(values).any(axis=1)).tolist()]
        raise PredictionError(
            f"{have(len(bad), 'case')} no number as a score: {some(bad)}",
            where=part.predictions.where,
            remedy="every case needs a score for every class; leave its rows out and say --allow-missing",
        )
    truth = true.reindex(columns=list(targets)).loc[kept].to_numpy(np.float64)
    _refuse_values(truth, kept, part.truth.where)
    if kind in EXCLUSIVE:
        known = ~np.isnan(truth).all(axis=1)
        if not asked.allow_missing and (part.split == "test" or known.any()):
            unlabelled.refuse(part.truth, [kept[r] for r in np.flatnonzero(~known).tolist()])
        some_class = [kept[r] for r in np.flatnonzero(known).tolist()]
        _refuse_not_one(truth[known], some_class, targets, part, labels, kind, asked)
    people, more = owners(part.truth, kept)
    fold, of_folds = prediction_splits.folds(part, kept)
    notes += more + of_folds
    probabilities = bool(values.size and values.min() >= 0 and values.max() <= 1)
    if not probabilities:
        notes.append("Scores outside [0, 1]: ranking metrics only, calibration is not defined.")
    first = part.truth.first_of_case()
    taken = {*KNOWN, *targets, "target", "score"}
    groups = {
        c: np.array([as_text(v) for v in first.loc[kept, c].astype(object).fillna("")], dtype=object)
        for c in first.columns
        if c not in taken
    }
    return ScoreTable(tuple(kept), people, targets, truth, values, probabilities, groups, fold), notes


def _wide(table: GivenTable, targets: Sequence[str]) -> pd.DataFrame:
    index = pd.Index(table.frame["case_id"], dtype=object)
    return pd.DataFrame({t: table.numbers(t) for t in targets}, index=index)


def _long(table: GivenTable, value: str) -> pd.DataFrame:
    """case_id as index, in the order of the table, and a column a target."""
    texts = [as_text(t) for t in table.frame["target"]]
    values = table.frame.assign(target=texts, **{value: table.numbers(value)})
    order = values["case_id"].drop_duplicates()
    return values.pivot(index="case_id", columns="target", values=value).loc[order].rename_axis(columns=None)


def _named(table: GivenTable, targets: tuple[str, ...], scores: _Scores) -> pd.DataFrame:
    """A column a class from the class of each case; of one class, 0 and 1 as they stand."""
    index = pd.Index(table.frame["case_id"], dtype=object)
    if len(targets) == 1:
        return pd.DataFrame({targets[0]: table.numbers("truth")}, index=index)
    found = np.full((len(index), len(targets)), np.nan)
    for n, (row, value) in enumerate(table.frame["truth"].items()):
        name = as_text(value)
        if is_unknown(value) and name not in targets:  # a class may be called `none`
            continue
        if name in scores.targets and name not in targets:
            raise PredictionError(
                f"{name!r} is missing in --classes", where=table.place(int(str(row))), remedy="name all in order"
            )
        if name not in targets:
            raise PredictionError(
                f"the truth {name!r} is no class of the predictions; {nearest(name, targets)}",
                where=table.place(int(str(row))),
                remedy=TRUTHS,
            )
        found[n] = 0
        found[n, targets.index(name)] = 1
    return pd.DataFrame(found, index=index, columns=list(targets))


def _refuse_values(truth: Array, kept: Sequence[str], where: str) -> None:
    wrong = ~np.isnan(truth) & ~np.isin(truth, (0, 1))
    if wrong.any():
        bad = [kept[r] for r in np.flatnonzero(wrong.any(axis=1)).tolist()]
        raise PredictionError(f"{have(len(bad), 'case')} a truth that is neither 0 nor 1: {some(bad)}", where=where)


def _one_hot(truth: Array) -> bool:
    return bool(truth.shape[1] > 1 and not np.isnan(truth).any() and (truth.sum(axis=1) == 1).all())


def _refuse_not_one(
    truth: Array,
    kept: Sequence[str],
    targets: Sequence[str],
    part: Part,
    labels: _Labels,
    kind: str,
    asked: AskedOfScores,
) -> None:
    """Each case has exactly one class; and no class of the truth is without scores."""
    listed, total = ", ".join(targets), np.nansum(truth, axis=1)
    left = [c for c in labels.candidates if c not in targets]
    further = [c for c in left if labels.form == "wide" and _is_class(part.truth, c)]
    where = part.truth.where
    for wrong, what in (
        (total > 1, "several classes"),
        (total == 0, "no class"),
        (np.isnan(truth).any(axis=1), "a class and empty cells beside it, which want 0"),
    ):
        if wrong.any():
            bad = [kept[r] for r in np.flatnonzero(wrong).tolist()]
            remedy = "--kind multi_label takes classes that do not exclude each other"
            if what == "no class" and further:
                why = "it is missing in --classes" if asked.classes else "the predictions have no scores for it"
                remedy = f"is {further[0]!r} a class of the truth? Then {why}"
            raise PredictionError(
                f"{have(len(bad), 'case')} {what} out of {listed}: {some(bad)}", where=where, remedy=remedy
            )
    if kind == "ordinal" and further and not asked.classes:
        raise PredictionError(
            f"the truth has the column {further[0]!r} of 0 and 1, and the predictions have no scores for it",
            where=where,
            remedy=f"if it is no class, say which are: --classes {','.join(targets)}",
        )


def _is_class(truth: GivenTable, column: str) -> bool:
    texts = {as_text(v) for v in truth.frame[column] if not is_unknown(v)}
    return bool(texts) and texts <= {"0", "1", "0.0", "1.0"}
