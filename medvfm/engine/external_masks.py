"""Any program's masks against true ones, matched by case_id: no adapter, no recipe."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medvfm.core.errors import MedvfmError, PredictionError, nearest
from medvfm.core.image import Image
from medvfm.core.metric_spec import MetricSpec, parse
from medvfm.core.recipe import Confidence
from medvfm.core.result_row import as_records
from medvfm.engine import describe, measure
from medvfm.engine.casewise import CaseJudge, PerCaseValues
from medvfm.engine.measure import CaseMeasurements
from medvfm.io import patient_hashes as patients
from medvfm.io.dataset.prediction_tables import KNOWN, Table, missing, read_table, refuse_doubled, some
from medvfm.io.dicom import seg as dicom_seg
from medvfm.io.read import image_kind, read_image, read_label
from medvfm.io.run_directory import FORMAT
from medvfm.tasks import segmentation

_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".png", ".tif", ".tiff", ".dcm")
_NO_MASKS = {*KNOWN, "mask"}


def evaluate_masks(
    truth: Table,
    predictions: Table,
    metrics: Sequence[str] | None,
    *,
    kind: str | None = None,
    classes: Sequence[str] = (),
    subgroups: Sequence[str] = (),
    confidence: Confidence | None = None,
    seed: int = 0,
    allow_missing: bool = False,
) -> tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]:
    """The record of an evaluation (kind `evaluation`), its predictions and its measures, both long.

    truth and predictions  a table with case_id and mask (a file, relative to the table), or a folder of masks named
                           after their cases; a truth that has patient_id and group columns has intervals over patients
    classes                names of the values 1, 2, ...; without them every value of the truth is `label N`
    """
    kind = kind or "semantic"
    if kind not in ("semantic", "instances"):
        raise PredictionError(f"kind {kind!r}; {nearest(kind, ['semantic', 'instances'])}", where="--kind")
    table = measure.metrics_of(kind)
    defaults = segmentation.DEFAULT_METRICS_OF_OBJECTS if kind == "instances" else segmentation.DEFAULT_METRICS
    wanted = [parse(name, table, "metrics") for name in (metrics or defaults)]
    (people, true), (_, given) = _files(truth, "truth"), _files(predictions, "predictions")
    notes = missing(pd.Index(list(true)), pd.Index(list(given)), _name(predictions, "predictions"), allow_missing)
    for column in subgroups:
        if column not in people.columns or column in _NO_MASKS:
            choices = [c for c in people.columns if c not in _NO_MASKS]
            raise PredictionError(f"no column {column!r} in the truth; {nearest(column, choices)}", where="--subgroups")
    kept = [case_id for case_id in true if case_id in given]
    targets = tuple(classes) if classes else _targets(true, kept, kind)
    found, left_out = _measured(true, given, kept, wanted, kind, targets)
    if not found:
        case_id, reason = left_out[0]
        raise PredictionError(f"no case could be scored; {case_id}: {reason}", where=_name(predictions, "predictions"))
    notes += [f"{len(left_out)} cases could not be scored: {some([c for c, _ in left_out])}."] if left_out else []
    people = people.loc[[c for c, _, _ in found]]
    if "patient_id" not in people.columns:
        notes.append("The truth names no patients: intervals take every case as a patient of its own.")
    owners = people["patient_id"].astype(str) if "patient_id" in people.columns else pd.Series(people.index)
    cases = PerCaseValues.of(
        [case_id for case_id, _, _ in found],
        owners.tolist(),
        [0] * len(found),
        targets,
        [measured for _, measured, _ in found],
        {c: people[c].to_numpy(object) for c in people.columns if c not in _NO_MASKS},
        all(has_size for _, _, has_size in found),
    )
    judge = CaseJudge(wanted, confidence or Confidence(), seed)
    rows = judge.rows(cases) + judge.subgroups(cases, subgroups)
    hashed = patients.hashes(set(map(str, cases.patients)))
    record = {
        "format": FORMAT,
        "kind": "evaluation",
        "status": "complete",
        "medvfm": metadata.version("medvfm"),
        "title": f"Evaluation of {Path(_name(predictions, 'masks')).name}",
        "hash": "",
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "task": {
            "name": "segmentation",
            "kind": kind,
            "classes": list(targets),
            "unit": "image",
            "words": dict(segmentation.WORDS),
        },
        "data": {
            "flow": [{"step": "analysed", "cases": len(found), "patients": len(set(owners.tolist()))}],
            "left_out": [{"case_id": case_id, "reason": reason} for case_id, reason in left_out],
        },
        "environment": describe.environment("cpu"),
        "warnings": notes,
        "metrics": as_records(rows),
    }
    return record, _predictions(cases, hashed), cases.as_frame("test", hashed)


def _name(source: Table, otherwise: str) -> str:
    return otherwise if isinstance(source, pd.DataFrame) else str(source)


def _files(source: Table, what: str) -> tuple[pd.DataFrame, dict[str, Path]]:
    """The table with case_id as index, without columns for a folder; and the mask of each case."""
    if not isinstance(source, pd.DataFrame) and Path(source).is_dir():
        folder = Path(source)
        named = [
            (f.name.removesuffix(ending), f)
            for f in sorted(folder.iterdir())
            for ending in _ENDINGS
            if f.name.endswith(ending)
        ]
        by_name: dict[str, Path] = {}
        for name, file in named:
            by_name.setdefault(name.removesuffix(".nii"), file)
        if not by_name:
            raise PredictionError("the folder holds no masks", where=folder, remedy=f"known are {', '.join(_ENDINGS)}")
        return pd.DataFrame(index=list(by_name)), by_name
    table = read_table(source)
    refuse_doubled(table, ["case_id"], _name(source, what))
    if "mask" not in table.columns:
        raise PredictionError(
            "no column mask", where=_name(source, what), remedy="it names the file of each case's mask"
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
    wanted: Sequence[MetricSpec],
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
        measured = measure.measure(truth.voxels, prediction.voxels, affine, wanted, kind, len(targets))
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


def _predictions(cases: PerCaseValues, hashed: Mapping[str, str]) -> pd.DataFrame:
    frame = cases.as_frame("test", hashed)
    sizes = {m: frame.loc[frame["metric"] == m, "value"].to_numpy() for m in ("truth_size", "predicted_size")}
    one = frame[frame["metric"] == "truth_size"][["case_id", "patient", "split", "target"]].reset_index(drop=True)
    return one.assign(truth=sizes["truth_size"], score=sizes["predicted_size"])
