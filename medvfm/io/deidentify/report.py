"""The report of a de-identification, in counts and new names: no value of a patient, no old file name."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import UID

from medvfm.io.atomic_write import atomic_write
from medvfm.io.deidentify.dataset import DeidentifySettings
from medvfm.io.deidentify.profile import EDITION

_METHOD_CODES = {  # PS3.16, CID 7050
    "113100": "Basic Application Confidentiality Profile",
    "113102": "Clean Recognizable Visual Features Option",
    "113104": "Clean Structured Content Option",
    "113105": "Clean Descriptors Option",
    "113107": "Retain Longitudinal Temporal Information Modified Dates Option",
    "113108": "Retain Patient Characteristics Option",
    "113111": "Retain Safe Private Option",
}
_COLUMNS = ("file", "patient", "study", "series", "modality", "sop_class", "text_in_pixels", "blanked_boxes", "face")


@dataclass
class Report:
    """What was done: counts, and the files by their new names. No value of any patient, no old file name."""

    out: Path
    files: int = 0
    written: list[dict[str, object]] = field(default_factory=list)
    left_out: list[tuple[int, str]] = field(default_factory=list)  # running number in the sorted folder, reason
    done: Counter[tuple[str, str]] = field(default_factory=Counter)
    patients: int = 0
    mixed_studies: int = 0  # whose files name several patients: their dates move apart
    faces: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # new series name, what was done, why: files

    @property
    def flagged(self) -> list[dict[str, object]]:
        return [row for row in self.written if row["text_in_pixels"] and not row["blanked_boxes"]]

    @property
    def blanked(self) -> list[dict[str, object]]:
        return [row for row in self.written if row["blanked_boxes"]]


def method_codes(settings: DeidentifySettings, *, defaced: bool = False) -> list[str]:
    """The codes of the profile and of the options that were used.

    Defacing is 113102 and not 113101: Clean Pixel Data says of burned-in text that it was removed (PS3.15, E.3.1).
    """
    used = {
        "113100": True,
        "113102": defaced,
        "113104": settings.keep_text,
        "113105": settings.keep_text,
        "113107": settings.shift_dates,
        "113108": settings.characteristics,
        "113111": bool(settings.safe_private),
    }
    return [code for code, on in used.items() if on]


def method_item(value: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", _METHOD_CODES[value]
    return item


def modality(value: object) -> str:
    """A modality as a report may name it: two or three capitals."""
    text = str(value or "").strip()
    return text if text.isalnum() and len(text) <= 9 and text.isupper() else ""


def class_name(uid: UID) -> str:
    return uid.name if uid.startswith("1.2.840.10008.") and uid.name != uid else "private"


def write_report(report: Report, settings: DeidentifySettings) -> None:
    """deidentified.csv with a row for each file, deidentified.json with what was done."""
    table = io.StringIO(newline="")
    rows = csv.DictWriter(table, _COLUMNS)
    rows.writeheader()
    rows.writerows(sorted(report.written, key=lambda row: str(row["file"])))
    write_bytes(report.out / "deidentified.csv", table.getvalue().encode())
    attributes: dict[str, dict[str, int]] = {}
    for (keyword, what), count in sorted(report.done.items()):
        attributes.setdefault(keyword, {})[what] = count
    defaced = any(done == "defaced" for _, done, _ in report.faces)
    summary = {
        "profile": f"DICOM PS3.15 {EDITION} Annex E, table E.1-1",
        "options": [_METHOD_CODES[c] for c in method_codes(settings, defaced=defaced)],
        "dates": "shifted by whole days, the same for all files of a patient" if settings.shift_dates else "removed",
        "files": report.files,
        "written": len(report.written),
        "patients": report.patients,
        "studies_of_several_patients": report.mixed_studies,
        "left_out": dict(Counter(reason for _, reason in report.left_out).most_common()),
        "left_out_numbers": {str(number): reason for number, reason in report.left_out},
        "text_may_stand_in_pixels": [row["file"] for row in report.flagged],
        "blanked": [row["file"] for row in report.blanked],
        "faces": [
            {"series": series, "done": done, **({"why": why} if why else {}), "files": count}
            for (series, done, why), count in sorted(report.faces.items())
        ],
        "attributes": attributes,
    }
    write_bytes(report.out / "deidentified.json", (json.dumps(summary, indent=1) + "\n").encode())


def write_bytes(path: Path, raw: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as part:
        part.write_bytes(raw)
