"""Any program's masks against true ones, matched by case_id, from tables or folders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medvfm.core.array import Array
from medvfm.core.errors import MedvfmError, PredictionError, nearest
from medvfm.core.image import Image
from medvfm.core.metric_spec import MetricSpec
from medvfm.core.plurals import plural, some
from medvfm.io.dataset import prediction_splits
from medvfm.io.dataset.layout_rows import as_text
from medvfm.io.dataset.prediction_splits import Part
from medvfm.io.dataset.prediction_tables import KNOWN, GivenTable, Table, missing, owners, refuse_doubled
from medvfm.tasks.per_case import PerCaseValues
from medvfm.tasks.segmentation import given_masks
from medvfm.tasks.segmentation.given_masks import MASK, Meaning, Named
from medvfm.tasks.segmentation.measures import CaseMeasurements, measure, per_case

_NO_GROUPS = {*KNOWN, MASK, "target", "score", "has_size"}
LeftOut = list[tuple[str, str]]  # (case_id, reason) of cases that cannot be scored


@dataclass(frozen=True)
class AskedOfMasks:
    """What is measured, and what the user says of the masks.

    named  without names every value of the truth is `label N`; see given_masks.settle
    """

    specs: Sequence[MetricSpec]
    kind: str
    named: Named
    subgroups: Sequence[str]
    allow_missing: bool


@dataclass(frozen=True, eq=False)
class MatchedMasks:
    """Measurements of each split, test first; notes on what does not match, and who is left out."""

    values: dict[str, PerCaseValues]
    notes: list[str]
    left_out: LeftOut


def match(truth: Table, predictions: Table, asked: AskedOfMasks) -> MatchedMasks:
    """Measurements of the masks of the same cases.

    truth and predictions  a table with case_id and mask (a file, relative to the table), or a folder of masks named
                           after their cases; a truth that has patient_id and group columns has intervals over patients
    """
    true, given = given_masks.as_table(truth, "truth"), _once_a_case(given_masks.as_table(predictions, "predictions"))
    for column in asked.subgroups:
        if column not in true or column in _NO_GROUPS:
            choices = [c for c in true.frame.columns if c not in _NO_GROUPS]
            raise PredictionError(f"no column {column!r} in the truth; {nearest(column, choices)}", where="--subgroups")
    parts, notes = prediction_splits.parts(true, given)
    notes = [*true.notes, *given.notes, *notes]
    files = []
    for part in parts:
        refuse_doubled(part.truth, ["case_id"])
        refuse_doubled(part.predictions, ["case_id"])
        both = given_masks.files_of(part.truth), given_masks.files_of(part.predictions)
        notes += missing(list(both[0]), list(both[1]), given.where, asked.allow_missing)
        files.append(both)
    meaning = Meaning({}, {}, ("object",))
    if asked.kind != "instances":
        pairs = [(mine[c], theirs[c]) for mine, theirs in files for c in mine if c in theirs]
        meaning, more = given_masks.settle([mine for mine, _ in pairs], [theirs for _, theirs in pairs], asked.named)
        notes += more
    values, left_out = {}, LeftOut()
    for part, (mine, theirs) in zip(parts, files, strict=True):
        values[part.split], out, more = _of_part(part, mine, theirs, meaning, asked)
        left_out += out
        notes += more
    return MatchedMasks(values, list(dict.fromkeys(notes)), left_out)


def _once_a_case(table: GivenTable) -> GivenTable:
    """A run's table has a row for each structure, all with one mask."""
    if "target" not in table:
        return table
    keys = [c for c in ("case_id", MASK, "split", "fold", "baseline") if c in table]
    return table.kept(~table.frame.duplicated(keys))


def _of_part(
    part: Part, true: Mapping[str, Path], given: Mapping[str, Path], meaning: Meaning, asked: AskedOfMasks
) -> tuple[PerCaseValues, LeftOut, list[str]]:
    left_out, measured = LeftOut(), []
    for case_id, truth, prediction in _pairs(true, given, left_out):
        if asked.kind == "instances":
            arrays: tuple[Array, Array] = (truth.voxels, prediction.voxels)
        else:
            arrays = meaning.of_truth(truth, true[case_id]), meaning.of_prediction(prediction, given[case_id])
        affine = truth.affine if truth.has_spacing else None
        numbers = measure(*arrays, affine, asked.specs, asked.kind, len(meaning.targets))
        measured.append((case_id, numbers, truth.has_spacing))
    if not measured:
        case_id, reason = left_out[0]
        raise PredictionError(f"no case could be scored; {case_id}: {reason}", where=part.predictions.where)
    ids = [case_id for case_id, _, _ in measured]
    lost = [case_id for case_id, _ in left_out]
    notes = [f"{plural(len(lost), 'case')} could not be scored: {some(lost)}."] if lost else []
    people, more = owners(part.truth, ids)
    fold, of_folds = prediction_splits.folds(part, ids)
    first = part.truth.first_of_case().loc[ids]
    groups = {
        c: np.array([as_text(v) for v in first[c].astype(object).fillna("")], dtype=object)
        for c in first.columns
        if c not in _NO_GROUPS
    }
    numbers_of: list[CaseMeasurements] = [found for _, found, _ in measured]
    sized = all(has_size for _, _, has_size in measured)
    values = per_case(ids, people.tolist(), meaning.targets, numbers_of, groups, sized, masks=None)
    return replace(values, fold=fold), left_out, [*notes, *more, *of_folds]


def _pairs(
    true: Mapping[str, Path], given: Mapping[str, Path], left_out: LeftOut
) -> Iterator[tuple[str, Image, Image]]:
    """Masks that lie on one grid; the others are named in `left_out`."""
    for case_id in true:
        if case_id not in given:
            continue
        try:
            truth = given_masks.read_mask(true[case_id])
            yield case_id, truth, given_masks.read_mask(given[case_id], truth)
        except MedvfmError as error:
            left_out.append((case_id, str(error)))
