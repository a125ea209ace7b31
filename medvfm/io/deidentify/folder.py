"""De-identification of a folder of DICOM files into another folder: PS3.15 Annex E, basic profile.

What is kept of an element is decided in profile.py and done in dataset.py; this file walks the
folder. Every file is read twice: first the header, so that what one file says about a patient is taken out of all, then
whole. Before a file is written its bytes are searched for the patient's identifying values once more; one that still
holds any is left out. Files are named by running numbers and keyed hashes, never by their old names.
"""

from __future__ import annotations

import copy
import io
import logging
import os
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pydicom import config
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID

from medvfm.core.errors import DataError
from medvfm.io.console import SILENT, Console
from medvfm.io.deidentify import burned_in_text, checked_read, pixel_data
from medvfm.io.deidentify.checked_read import LeftOut
from medvfm.io.deidentify.dataset import Cleaner, DeidentifySettings, secrets_of
from medvfm.io.deidentify.faces import DEFACED, LEFT_OUT, Faces, Verdict, find_faces
from medvfm.io.deidentify.free_text import Secrets
from medvfm.io.deidentify.profile import EDITION
from medvfm.io.deidentify.pseudonyms import Pseudonymizer, read_key
from medvfm.io.deidentify.report import (
    Report,
    class_name,
    method_codes,
    method_item,
    modality,
    write_bytes,
    write_report,
)

# A root of our own would have to be registered; 2.25 needs none (PS3.5, B.2).
IMPLEMENTATION_UID = UID("2.25.302171402226839064227184302517066340012")
_PIXEL_DATA = 0x7FE00010
_BY_ID = "PatientID\0"


def deidentify(
    source: Path,
    out: Path,
    *,
    key: Path | None = None,
    safe_private: Path | None = None,
    rules: Path | None = None,
    shift_dates: bool = True,
    characteristics: bool = False,
    keep_text: bool = False,
    strict_pixels: bool = False,
    deface: bool = False,
    console: Console = SILENT,
) -> Report:
    """Write every DICOM file under `source` to `out` without its patient; DataError where that cannot be.

    `safe_private` names private elements to keep and `rules` regions to blank; `strict_pixels` leaves out images that
    may hold text and have no region to blank. `deface` removes face and ears from head MR and CT, and leaves out heads
    in which they cannot be found.
    """
    _refuse_overlap(source, out)
    settings = DeidentifySettings(shift_dates, characteristics, keep_text, read_safe_private(safe_private))
    work = _Work(
        Pseudonymizer(read_key(key)),
        settings,
        burned_in_text.read_rules(rules) if rules else [],
        strict_pixels,
        Report(out),
    )
    paths = _files(source)
    work.report.files = len(paths)
    with _quiet():
        patients, work.owners = _scan(paths, console)
        work.report.mixed_studies = sum(len(owners) > 1 for owners in work.owners.values())
        work.faces = find_faces(paths, console) if deface else None
        for number, path in enumerate(console.track(paths, len(paths), "files"), 1):
            try:
                work.one(path, patients)
            except LeftOut as reason:
                work.report.left_out.append((number, str(reason)))
            except OSError as failed:
                if failed.filename and Path(failed.filename).is_relative_to(out):
                    raise DataError(f"cannot be written: {failed.strerror}", where=out) from failed
                work.report.left_out.append((number, "cannot be read"))
            except RecursionError:
                work.report.left_out.append((number, "its sequences are nested too deep"))
            except Exception as failed:  # its message may hold values of the file
                work.report.left_out.append((number, f"damaged: {type(failed).__name__}"))
    work.report.patients = len({row["patient"] for row in work.report.written})
    if not work.report.written:
        reasons = Counter(reason for _, reason in work.report.left_out)
        said = "; ".join(f"{count} {reason}" for reason, count in reasons.most_common(3)) or "it is empty"
        raise DataError(f"no file of this folder could be de-identified ({said})", where=source)
    for cleaner in work.cleaners.values():
        work.report.done.update(cleaner.done)
    write_report(work.report, settings)
    return work.report


def read_safe_private(path: Path | None) -> frozenset[tuple[str, int, int]]:
    """Lines of `gggg,xxee,CREATOR`, as in PS3.15 table E.3.10-1: creator, group and last byte of the element."""
    if path is None:
        return frozenset()
    found = set()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as failed:
        raise DataError("the list of safe private elements cannot be read", where=path) from failed
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        parts = [part.strip() for part in line.split(",", 2)]
        try:
            group, element, creator = int(parts[0], 16), int(parts[1][-2:], 16), parts[2]
        except (ValueError, IndexError):
            group, element, creator = 0, 0, ""
        if not group % 2 or not creator or len(parts[1]) != 4:
            wanted = "a line is gggg,xxee,CREATOR with an odd group, such as 0019,xx0C,SIEMENS MR HEADER"
            raise DataError(wanted, where=f"{path}, line {number}")
        found.add((creator, group, element))
    return frozenset(found)


@dataclass
class _Work:
    """What the files have in common."""

    pseudonymizer: Pseudonymizer
    settings: DeidentifySettings
    rules: list[burned_in_text.Rule]
    strict_pixels: bool
    report: Report
    cleaners: dict[str, Cleaner] = field(default_factory=dict)
    faces: Faces | None = None
    owners: dict[str, set[str]] = field(default_factory=dict)  # by study, see _scan

    def one(self, path: Path, patients: dict[str, Secrets]) -> None:
        """Read, clean, check and write one file."""
        dataset = checked_read.read(path)
        beside = pixel_data.clean(dataset)
        risk = burned_in_text.risk(dataset)
        boxes = burned_in_text.boxes(dataset, self.rules, around=bool(risk)) if "PixelData" in dataset else []
        if risk and not boxes and self.strict_pixels:
            raise LeftOut("its pixels may hold burned-in text")
        if boxes:
            _blank(dataset, boxes)
        verdict = self._defaced(path, dataset) if self.faces and "PixelData" in dataset else None
        patient = _patient_of(dataset, self.owners)
        secrets = patients.get(patient) or secrets_of(dataset)
        cleaner = self.cleaners.setdefault(patient, Cleaner(self.pseudonymizer, self.settings, patient, secrets))
        row = {"modality": modality(dataset.get("Modality")), "sop_class": class_name(dataset.SOPClassUID)}
        cleaner.clean(dataset)
        cleaner.done.update(("PixelData", f"{found} removed") for found in beside)
        self._mark(dataset, cleaner, defaced=verdict is not None and verdict.what == DEFACED)
        _meta(dataset)
        raw = _encoded(dataset, cleaner)
        folder = self._folder(cleaner, dataset)
        name = _free(
            self.report.out / folder, self.pseudonymizer.pseudonym("file", str(dataset.SOPInstanceUID), 16)[1:]
        )
        write_bytes(self.report.out / folder / name, raw)
        places = dict(zip(("patient", "study", "series"), folder.parts, strict=True))
        pixels = {"text_in_pixels": risk or "", "blanked_boxes": len(boxes)}
        if verdict is not None:
            self.report.faces[places["series"], verdict.what, verdict.why] += 1
            pixels["face"] = verdict.what
        self.report.written.append({"file": (folder / name).as_posix(), **places, **row, **pixels})

    def _defaced(self, path: Path, dataset: Dataset) -> Verdict:
        """Remove the face from the pixels; LeftOut where there may be one that cannot be removed."""
        assert self.faces is not None
        verdict = self.faces.verdicts.get(path)
        if verdict is None:
            raise LeftOut("it may show a face: its series could not be looked at")
        if verdict.what == LEFT_OUT:
            self.report.faces[self._series_name(dataset), LEFT_OUT, verdict.why] += 1
            raise LeftOut(verdict.why)
        if verdict.what == DEFACED:
            try:
                self.faces.remove(path, dataset)
            except Exception as failed:
                raise LeftOut("a head whose pixels cannot be written anew") from failed
        return verdict

    def _folder(self, cleaner: Cleaner, dataset: Dataset) -> Path:
        study = "study-" + self.pseudonymizer.pseudonym("study", str(dataset.get("StudyInstanceUID") or ""), 8)[1:]
        return Path(cleaner.pseudonym, study, self._series_name(dataset))

    def _series_name(self, dataset: Dataset) -> str:
        return "series-" + self.pseudonymizer.pseudonym("series", str(dataset.get("SeriesInstanceUID") or ""), 8)[1:]

    def _mark(self, dataset: Dataset, cleaner: Cleaner, *, defaced: bool) -> None:
        """Record in the file that it is de-identified and how (PS3.15, E.1.1, steps 6 to 8)."""
        dataset.PatientID = dataset.PatientName = cleaner.pseudonym
        dataset.PatientIdentityRemoved = "YES"
        dataset.LongitudinalTemporalInformationModified = "MODIFIED" if self.settings.shift_dates else "REMOVED"
        dataset.DeidentificationMethod = f"medvfm, DICOM PS3.15 {EDITION} Annex E"
        dataset.DeidentificationMethodCodeSequence = [
            method_item(c) for c in method_codes(self.settings, defaced=defaced)
        ]
        if defaced:
            dataset.RecognizableVisualFeatures = "NO"  # PS3.15, E.3.2


def _refuse_overlap(source: Path, out: Path) -> None:
    if not source.is_dir():
        raise DataError("there is no such folder", where=source)
    inside, target = source.resolve(), out.resolve()
    if target == inside or target.is_relative_to(inside):
        raise DataError("de-identified files never go into the folder that they come from", where=out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError("the output is a new or an empty folder, and this is neither", where=out)


def _files(source: Path) -> list[Path]:
    found = [Path(folder) / name for folder, _, names in os.walk(source) for name in names]
    return sorted(p for p in found if p.is_file())


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing that pydicom says about values, in warnings or in its log, gets out; no value is rejected or repaired."""
    log, settings = logging.getLogger("pydicom"), config.settings
    before = settings.reading_validation_mode, settings.writing_validation_mode, log.disabled
    settings.reading_validation_mode = settings.writing_validation_mode = config.IGNORE
    log.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        settings.reading_validation_mode, settings.writing_validation_mode, log.disabled = before


def _scan(paths: list[Path], console: Console) -> tuple[dict[str, Secrets], dict[str, set[str]]]:
    """From all headers: the identifying values of every patient, and the patients that each study names by an ID."""
    found: dict[str, Secrets] = {}
    owners: dict[str, set[str]] = {}
    nameless: set[tuple[str, str]] = set()
    for path in console.track(paths, len(paths), "headers"):
        try:
            dataset = checked_read.read(path, header_only=True)
            patient, study = _patient_of(dataset), _study_of(dataset)
            mine = secrets_of(dataset)
        except Exception:  # counted with its reason when the file is read whole
            continue
        found.setdefault(patient, mine).update(mine)
        if not study:
            continue
        if patient.startswith(_BY_ID):
            owners.setdefault(study, set()).add(patient)
        else:
            nameless.add((patient, study))
    for patient, study in nameless:
        if len(owners.get(study, ())) == 1:
            found[next(iter(owners[study]))].update(found[patient])
    return found, owners


def _study_of(dataset: Dataset) -> str:
    return str(dataset.get("StudyInstanceUID") or "").strip()


def _patient_of(dataset: Dataset, owners: dict[str, set[str]] | None = None) -> str:
    """What the files of one patient have in common; a file without a PatientID goes with the others of its study."""
    study = _study_of(dataset)
    if owners and study and not str(dataset.get("PatientID") or "").strip() and len(owners.get(study, ())) == 1:
        return next(iter(owners[study]))
    for keywords in (("PatientID",), ("PatientName", "PatientBirthDate"), ("StudyInstanceUID",), ("SOPInstanceUID",)):
        values = [str(dataset.get(k) or "").strip() for k in keywords]
        if values[0]:
            return "\0".join((keywords[0], *values))
    return "nobody"


def _blank(dataset: Dataset, boxes: list[burned_in_text.Box]) -> None:
    try:
        burned_in_text.blank(dataset, boxes)
    except Exception as failed:
        raise LeftOut("its pixels may hold burned-in text, which cannot be blanked") from failed


def _meta(dataset: FileDataset) -> None:
    """New file meta information; the old one may name stations and hold private data. So may the preamble."""
    meta = FileMetaDataset()
    syntax = getattr(dataset.file_meta, "TransferSyntaxUID", None)
    if syntax is None:
        implicit, little = dataset.original_encoding
        if not little and implicit:
            raise LeftOut("an encoding that DICOM does not have")
        syntax = UID("1.2.840.10008.1.2" + ("" if implicit else ".1" if little else ".2"))
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.ImplementationClassUID, meta.ImplementationVersionName = IMPLEMENTATION_UID, "MEDVFM"
    dataset.file_meta, dataset.preamble = meta, b"\0" * 128


def _encoded(dataset: FileDataset, cleaner: Cleaner) -> bytes:
    """The file's bytes, after the search for values that must not be in them."""
    pixels = dataset.get(_PIXEL_DATA)
    header = dataset
    if pixels is not None:
        if cleaner.secrets.left_in(pixels.value or b"", shortest=8):
            raise LeftOut("its compressed pixels hold an identifying value")
        header = FileDataset("", {k: v for k, v in dataset.items() if k != pixels.tag}, b"\0" * 128, dataset.file_meta)
        implicit, little = dataset.original_encoding
        header.set_original_encoding(implicit, little, dataset.original_character_set)
    plain = dataset.file_meta.TransferSyntaxUID
    if plain.is_deflated or plain.is_compressed:  # the search is in the clear
        header.file_meta = copy.deepcopy(dataset.file_meta)
        header.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    if cleaner.secrets.left_in(_bytes(header), allowed=cleaner.dates):
        raise LeftOut("an identifying value is left in its header")
    header.file_meta = dataset.file_meta
    return _bytes(dataset)


def _bytes(dataset: FileDataset) -> bytes:
    made = io.BytesIO()
    dataset.save_as(made, enforce_file_format=True)
    return made.getvalue()


def _free(folder: Path, name: str) -> str:
    """This name, or with a number where the same instance lies in the input twice."""
    tries = (f"{name}{'' if n == 1 else f'_{n}'}.dcm" for n in range(1, 1 << 30))
    return next(t for t in tries if not (folder / t).exists())
