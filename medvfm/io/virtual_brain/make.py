"""virtual_brain: a SIMULATED cohort of brain MRI with exact truth, generated on any machine without a network.

Every patient is drawn from the seed and a number alone, so that a small cohort is the beginning of a large one and the
number of worker processes changes no byte.
"""

from __future__ import annotations

import csv
import multiprocessing
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from medvfm.core import cpu_count
from medvfm.core.errors import DataError
from medvfm.core.image import Image
from medvfm.io.virtual_brain import axial_slices, captions, dicom_series
from medvfm.io.virtual_brain import options as virtual_options
from medvfm.io.virtual_brain import scanner as virtual_scanner
from medvfm.io.virtual_brain.axial_slices import AxialSlice
from medvfm.io.virtual_brain.patients import ALL, LARGEST_MM, OLDEST, Patient, draw
from medvfm.io.virtual_brain.scanner import Scan
from medvfm.io.writers.nifti import write_nifti

Format = Literal["dicom", "nifti"]
LESION = 4  # in the label map, above 1 CSF, 2 grey matter, 3 white matter
_AGE_BANDS = ((20, 39), (40, 59), (60, OLDEST))
_PATIENTS_A_WORKER = 8  # fewer are not worth the start of a process
_Examined = tuple[list[dict[str, object]], list[captions.Question]]
_QUESTION_COLUMNS = ("case_id", "patient_id", "image", "question", "answer", "question_type", "image_id")
_NOTICE = """virtual_brain: SIMULATED brain MRI. Nobody was examined; no image belongs to a person.

The heads are grown from the MNI152 T1 template (ICBM 2009a nonlinear symmetric), as the package nilearn carries it.
{patients} virtual patients, seed {seed}, images as {format}.

cases.csv      one row a patient: image, masks, the label `lesion`, groups, a caption
questions.csv  questions about the images with their answers
images/        one T1-weighted series each
tissues/       0 background, 1 CSF, 2 grey matter, 3 white matter
lesions/       0 no, 1 lesion
labels/        tissues, with 4 for lesion
"""
_NOTICE_OF_SLICES = """virtual_brain: SIMULATED slices of brain MRI. Nobody was examined; no image belongs to a person.

The heads are grown from the MNI152 T1 template (ICBM 2009a nonlinear symmetric), as the package nilearn carries it.
{patients} virtual patients, seed {seed}, images as {format}.

cases.csv  one row a slice: image, mask, whether a lesion is seen in it, whether the lateral ventricles are large in it,
           both in words, groups
slices/    one T1-weighted axial slice each, pixels as in the whole scan of the same patient
labels/    0 background, 1 CSF, 2 grey matter, 3 white matter, 4 lesion
"""


class _Job(NamedTuple):
    """What a worker needs to know of one patient; heights of slices, () for whole scans."""

    folder: Path
    seed: int
    number: int
    format: Format
    heights: tuple[float, ...]
    lesion_mm: tuple[float, float]
    scanner: str


def make(
    folder: Path,
    *,
    patients: int = 200,
    seed: int = 0,
    format: Format = "dicom",
    slices: int = 0,
    slice_span: Sequence[float] = virtual_options.SPAN,
    lesion_mm: Sequence[float] = LARGEST_MM,
    scanner: str = ALL,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the cohort to a new folder; returns the path of its cases table.

    With `slices` a case is an axial slice in place of a whole scan: as many of each patient, evenly spread over
    `slice_span`, (low, high) in shares of the height of the scan from the foot. `lesion_mm` (low, high): the longest
    diameter of each patient's largest lesion. `scanner`: A, B or C for everyone; the same patients, on one scanner.
    The folder appears when it is complete. Of two processes that make the same one, the second finds that of the first.
    Where `workers` is above 1, they are started anew (spawn): a script calls this under `if __name__ == "__main__"`.
    """
    folder = Path(folder)
    virtual_options.refuse(
        {
            "patients": patients,
            "seed": seed,
            "format": format,
            "slices": slices,
            "slice_span": tuple(slice_span),
            "lesion_mm": tuple(lesion_mm),
            "scanner": scanner,
        }
    )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError("there is something already", where=folder, remedy="name a folder that does not exist yet")
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    try:
        heights = tuple(axial_slices.heights(slices, slice_span))
        sizes = (float(lesion_mm[0]), float(lesion_mm[1]))
        jobs = [_Job(part, seed, n, format, heights, sizes, scanner) for n in range(1, patients + 1)]
        _fill(part, jobs, workers, progress)
        notice = _NOTICE_OF_SLICES if slices else _NOTICE
        text = notice.format(patients=patients, seed=seed, format=format)
        (part / "README.txt").write_text(text, encoding="utf-8")
        part.chmod(0o755)
        try:
            part.replace(folder)
        except OSError:
            if not (folder / "cases.csv").is_file():  # another process was faster
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder / "cases.csv"


def _fill(folder: Path, jobs: Sequence[_Job], workers: int | None, progress: Callable[[int, int], None] | None) -> None:
    of_slices = bool(jobs[0].heights)
    for name in ("slices", "labels") if of_slices else ("images", "tissues", "lesions", "labels"):
        (folder / name).mkdir()
    rows, asked = [], []
    for done, (own, questions) in enumerate(_in_order(jobs, workers), 1):
        rows += own
        asked += questions
        if progress is not None:
            progress(done, len(jobs))
    if not of_slices:
        _write_csv(folder / "questions.csv", _QUESTION_COLUMNS, _question_rows(rows, asked))
    _write_csv(folder / "cases.csv", tuple(rows[0]), rows)


def _in_order(jobs: Sequence[_Job], workers: int | None) -> Iterator[_Examined]:
    if workers is None:
        workers = min(cpu_count.available(), len(jobs) // _PATIENTS_A_WORKER)
    if workers <= 1:
        yield from map(_examine, jobs)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=spawn) as pool:
        try:
            yield from pool.map(_examine, jobs)
        except BrokenProcessPool as broken:
            raise DataError(
                "a worker process ended early", remedy="memory may have run out: end other programs and try again"
            ) from broken


def _examine(job: _Job) -> _Examined:
    """Write the files of one patient; his or her rows of the cases table and all questions."""
    folder, format = job.folder, job.format
    patient = draw(job.seed, job.number, lesion_mm=job.lesion_mm, scanner=job.scanner)
    scan = virtual_scanner.scan(patient)
    if job.heights:
        return [_slice(folder, patient, scan, one, format) for one in axial_slices.cut(scan, job.heights)], []
    asked = captions.questions(job.number - 1, patient, scan.scanner.plane, scan.ventricles_ml, job.lesion_mm)
    return [_volume(folder, patient, scan, format)], asked


def _volume(folder: Path, patient: Patient, scan: Scan, format: Format) -> dict[str, object]:
    """Write the whole scan; its row of the cases table."""
    name = patient.name
    paths = {what: f"{what}/{name}.nii.gz" for what in ("tissues", "lesions", "labels")}
    image = f"images/{name}" if format == "dicom" else f"images/{name}.nii.gz"
    affine = scan.affine
    if format == "dicom":
        affine = dicom_series.write_mr_series(
            folder / image,
            scan.stored,
            affine,
            _series(patient, scan),
            codec=scan.scanner.codec,
            last_first=scan.scanner.slices_from_top,
        )
    else:
        write_nifti(Image(scan.stored, affine), folder / image)
    labels = _labelled(scan.tissues, scan.lesions)
    for what, mask in (("tissues", scan.tissues), ("lesions", scan.lesions), ("labels", labels)):
        write_nifti(Image(mask, affine, "label"), folder / paths[what])
    return _row(patient, scan, {"image": image, **paths})


def _slice(folder: Path, patient: Patient, scan: Scan, one: AxialSlice, format: Format) -> dict[str, object]:
    """Write one slice; its row of the cases table."""
    name = f"{patient.name}-slice{one.level:02d}"
    image = f"slices/{name}" if format == "dicom" else f"slices/{name}.nii.gz"
    affine = one.affine
    if format == "dicom":
        header = _slice_series(patient, scan, one)
        affine = dicom_series.write_mr_series(folder / image, one.stored, affine, header, codec=scan.scanner.codec)
    else:
        write_nifti(Image(one.stored, affine), folder / image)
    labels = f"labels/{name}.nii.gz"
    write_nifti(Image(_labelled(one.tissues, one.lesions), affine, "label"), folder / labels)
    are_large = one.ventricles_mm2 > axial_slices.median_mm2(patient.scanner, one.index)
    return {
        "case_id": name,
        "patient_id": patient.name,
        "image": image,
        "labels": labels,
        "lesion": int(one.shows_lesion),
        "ventricles": int(are_large),
        "text": captions.slice_caption(one.shows_lesion, are_large),
        "level": one.level,
        **_person(patient),
        "lesion_mm2": f"{one.lesion_mm2:.1f}",
        "ventricles_mm2": f"{one.ventricles_mm2:.1f}",
    }


def _labelled(tissues: np.ndarray, lesions: np.ndarray) -> np.ndarray:
    return np.where(lesions > 0, np.uint8(LESION), tissues)


def _person(patient: Patient) -> dict[str, object]:
    """The columns that every image of a patient shares."""
    low, high = next(band for band in _AGE_BANDS if patient.age <= band[1])
    return {
        "study_id": _study_id(patient),
        "study_date": patient.study_date.isoformat(),
        "sex": patient.sex,
        "age": patient.age,
        "age_band": f"{low}-{high}",
        "scanner": patient.scanner,
    }


def _row(patient: Patient, scan: Scan, paths: Mapping[str, str]) -> dict[str, object]:
    largest = f"{patient.lesions[0].diameter_mm:.1f}" if patient.lesions else ""
    return {
        "case_id": patient.name,
        "patient_id": patient.name,
        **paths,
        "lesion": int(bool(patient.lesions)),
        **_person(patient),
        "plane": scan.scanner.plane,
        "text": captions.caption(patient, scan.scanner.plane, scan.ventricles_ml),
        "lesion_count": len(patient.lesions),
        "largest_lesion_mm": largest,
        "lesion_side": captions.side(patient),
    }


def _series(patient: Patient, scan: Scan) -> dicom_series.SeriesHeader:
    scanner = scan.scanner
    sequence, variant, acquisition = scanner.sequence
    return dicom_series.SeriesHeader(
        key=f"virtual_brain/{patient.seed}/{patient.number}",
        patient_id=patient.name,
        patient_name=f"SIMULATED^{patient.name}",
        sex=patient.sex,
        age_years=patient.age,
        study_date=patient.study_date,
        description=f"SIMULATED T1 {scanner.plane}",
        thickness_mm=scanner.thickness_mm,
        more={
            "StudyID": _study_id(patient),
            "ManufacturerModelName": f"Simulated scanner {scanner.name}",
            "StationName": f"SIMULATED {scanner.name}",
            "PatientPosition": "HFS",
            "BodyPartExamined": "HEAD",
            "ScanningSequence": sequence,
            "SequenceVariant": variant,
            "ScanOptions": "",
            "MRAcquisitionType": acquisition,
            "EchoTime": scanner.echo_ms,
            "RepetitionTime": scanner.repetition_ms,
            "EchoTrainLength": 1,
            "FlipAngle": scanner.flip_deg,
            "NumberOfAverages": 1,
            "MagneticFieldStrength": scanner.field_tesla,
        },
    )


def _slice_series(patient: Patient, scan: Scan, one: AxialSlice) -> dicom_series.SeriesHeader:
    """A series of its own in the study and the frame of reference of the whole scan."""
    whole = _series(patient, scan)
    shared = {
        "StudyInstanceUID": dicom_series.uid(f"{whole.key}/study"),
        "FrameOfReferenceUID": dicom_series.uid(f"{whole.key}/frame"),
        "SeriesNumber": one.index + 2,  # the whole scan is the first
    }
    return replace(
        whole,
        key=f"{whole.key}/axial/{one.index}",
        description="SIMULATED T1 axial slice",
        thickness_mm=one.thickness_mm,
        more={**whole.more, **shared},
    )


def _study_id(patient: Patient) -> str:
    return f"ST{patient.number:04d}"


def _question_rows(rows: Sequence[Mapping[str, object]], asked: Sequence[captions.Question]) -> list[dict]:
    return [
        {
            "case_id": f"{rows[q.case]['case_id']}_{q.kind}",
            "patient_id": rows[q.case]["patient_id"],
            "image": rows[q.case]["image"],
            "question": q.question,
            "answer": q.answer,
            "question_type": q.kind,
            "image_id": rows[q.case]["case_id"],
        }
        for q in captions.balanced(asked)
    ]


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
