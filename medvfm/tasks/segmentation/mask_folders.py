"""Any program's masks against true ones, matched by case_id, from tables or folders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from medvfm.core.errors import MedvfmError, PredictionError, nearest
from medvfm.core.image import Image
from medvfm.core.metric_spec import MetricSpec
from medvfm.io.dataset.prediction_tables import KNOWN, Table, missing, named, read_table, refuse_doubled, some
from medvfm.io.dicom import seg as dicom_seg
from medvfm.io.read import image_kind, read_image, read_label
from medvfm.tasks.per_case import PerCaseValues
from medvfm.tasks.segmentation.measures import CaseMeasurements, measure, per_case

_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".png", ".tif", ".tiff", ".dcm")
_NO_MASKS = {*KNOWN, "mask"}


def match(
    truth: Table,
    predictions: Table,
    specs: Sequence[MetricSpec],
    kind: str,
    classes: Sequence[str],
    subgroups: Sequence[str],
    *,
    allow_missing: bool,
) -> tuple[PerCaseValues, list[str], list[tuple[str, str]]]:
    """Measurements of the masks of the same cases, notes on what does not match, and (case_id, reason) of those that
    cannot be scored.

    truth and predictions  a table with case_id and mask (a file, relative to the table), or a folder of masks named
                           after their cases; a truth that has patient_id and group columns has intervals over patients
    classes                names of the values 1, 2, ...; without them every value of the truth is `label N`
    """
    (people, true), (_, given) = _files(truth, "truth"), _files(predictions, "predictions")
    notes = missing(pd.Index(list(true)), pd.Index(list(given)), named(predictions, "predictions"), allow_missing)
    for column in subgroups:
        if column not in people.columns or column in _NO_MASKS:
            choices = [c for c in people.columns if c not in _NO_MASKS]
            raise PredictionError(f"no column {column!r} in the truth; {nearest(column, choices)}", where="--subgroups")
    kept = [case_id for case_id in true if case_id in given]
    targets = tuple(classes) if classes else _targets(true, kept, kind)
    found, left_out = _measured(true, given, kept, specs, kind, targets)
    if not found:
        case_id, reason = left_out[0]
        raise PredictionError(f"no case could be scored; {case_id}: {reason}", where=named(predictions, "predictions"))
    notes += [f"{len(left_out)} cases could not be scored: {some([c for c, _ in left_out])}."] if left_out else []
    people = people.loc[[c for c, _, _ in found]]
    if "patient_id" not in people.columns:
        notes.append("The truth names no patients: intervals take every case as a patient of its own.")
    owners = people["patient_id"].astype(str) if "patient_id" in people.columns else pd.Series(people.index)
    values = per_case(
        [case_id for case_id, _, _ in found],
        owners.tolist(),
        targets,
        [measured for _, measured, _ in found],
        {c: people[c].to_numpy(object) for c in people.columns if c not in _NO_MASKS},
        all(has_size for _, _, has_size in found),
        masks=None,
    )
    return values, notes, left_out


def _files(source: Table, what: str) -> tuple[pd.DataFrame, dict[str, Path]]:
    """The table with case_id as index, without columns for a folder; and the mask of each case."""
    if not isinstance(source, pd.DataFrame) and Path(source).is_dir():
        folder = Path(source)
        found = [
            (f.name.removesuffix(ending), f)
            for f in sorted(folder.iterdir())
            for ending in _ENDINGS
            if f.name.endswith(ending)
        ]
        by_name: dict[str, Path] = {}
        for name, file in found:
            by_name.setdefault(name.removesuffix(".nii"), file)
        if not by_name:
            raise PredictionError("the folder holds no masks", where=folder, remedy=f"known are {', '.join(_ENDINGS)}")
        return pd.DataFrame(index=list(by_name)), by_name
    table = read_table(source)
    refuse_doubled(table, ["case_id"], named(source, what))
    if "mask" not in table.columns:
        raise PredictionError(
            "no column mask", where=named(source, what), remedy="it names the file of each case's mask"
        )
    base = Path() if isinstance(source, pd.DataFrame) else Path(source).parent
    return table.set_index("case_id"), {c: base / str(m) for c, m in zip(table["case_id"], table["mask"], strict=True)}


def _label(path: Path) -> Image:
    if not path.exists():
        raise PredictionError("no such file", where=path)
    if path.is_file() and image_kind(path) == "dicom":
        return dicom_seg.read_segmentation(path)
    return read_image(path, label=True)


def _targets(true: Mapping[str, Path], kept: Sequence[str], kind: str) -> tuple[str, ...]:
    """`label 1` to the highest value that any true mask holds."""
    if kind == "instances":
        return ("object",)
    highest = 0
    for case_id in kept:
        try:
            highest = max(highest, int(_label(true[case_id]).voxels.max()))
        except MedvfmError:
            continue  # it is named, with its reason, where it is measured
    if highest == 0:
        raise PredictionError("no true mask holds a structure")
    return tuple(f"label {value}" for value in range(1, highest + 1))


def _measured(
    true: Mapping[str, Path],
    given: Mapping[str, Path],
    kept: Sequence[str],
    specs: Sequence[MetricSpec],
    kind: str,
    targets: tuple[str, ...],
) -> tuple[list[tuple[str, CaseMeasurements, bool]], list[tuple[str, str]]]:
    """(case_id, numbers, whether the mask states a size) of the cases that can be scored, and why others cannot."""
    found: list[tuple[str, CaseMeasurements, bool]] = []
    left_out: list[tuple[str, str]] = []
    for case_id, truth, prediction in _pairs(true, given, kept, left_out):
        strange = [] if kind == "instances" else [v for v in np.unique(prediction.voxels) if v > len(targets)]
        if strange:
            raise PredictionError(
                f"{case_id} holds the value {int(strange[0])}, and there are {len(targets)} structures: "
                f"{', '.join(targets)}",
                where=given[case_id],
            )
        affine = truth.affine if truth.has_spacing else None
        measured = measure(truth.voxels, prediction.voxels, affine, specs, kind, len(targets))
        found.append((case_id, measured, truth.has_spacing))
    return found, left_out


def _pairs(
    true: Mapping[str, Path], given: Mapping[str, Path], kept: Sequence[str], left_out: list[tuple[str, str]]
) -> Iterator[tuple[str, Image, Image]]:
    """Masks that lie on one grid; the others are named in `left_out`."""
    for case_id in kept:
        try:
            truth, file = _label(true[case_id]), given[case_id]
            if file.is_file() and image_kind(file) == "dicom":
                yield case_id, truth, dicom_seg.read_segmentation(file, truth)
            else:
                yield case_id, truth, read_label(file, truth)
        except MedvfmError as error:
            left_out.append((case_id, str(error)))
