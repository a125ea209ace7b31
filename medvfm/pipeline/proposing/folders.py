"""Which tables and images lie in a folder."""

from __future__ import annotations

import os
from pathlib import Path

from medvfm.core.errors import DataError
from medvfm.io.dataset.file_endings import IMAGES, without_ending
from medvfm.io.dataset.input_cases import TABLES
from medvfm.io.dicom.read import is_dicom
from medvfm.pipeline.proposing.found import Files

MOST = 1_000_000
_DICOM = (".dcm", ".dicom", "")
_NOT_LOOKED_INTO = ("runs", "__pycache__", "__MACOSX")


def look(folder: Path) -> Files:
    """The files below a folder by their kinds, in order; hidden ones and folders of runs are passed by.

    A folder that holds several DICOM files and nothing else is one image, its series, unless a table names its files.
    """
    if not folder.is_dir():
        raise DataError("no such folder", where=folder)
    tables, images, series, within, passed_by, seen = [], [], [], [], 0, 0
    for where, inner, names in os.walk(folder):
        inner[:] = sorted(n for n in inner if not n.startswith(".") and n not in _NOT_LOOKED_INTO)
        names = sorted(n for n in names if not n.startswith("."))
        seen += len(names)
        if seen > MOST:
            raise DataError(f"more than {MOST:,} files", where=folder, remedy="give a folder of one study, or a table")
        below = Path(where).relative_to(folder)
        here = [(below / name).as_posix() for name in names]
        dicom = [p for p in here if Path(p).suffix.lower() in _DICOM and is_dicom(folder / p)]
        if len(dicom) > 1 and len(dicom) == len(here) and below.parts:
            series.append(below.as_posix())
            within += dicom
            continue
        for path in here:
            if path.lower().endswith((*TABLES, ".json")):
                tables.append(path)
            elif path in dicom or _is_picture(path):
                images.append(path)
            else:
                passed_by += 1
    return Files(folder, tuple(tables), tuple(images), tuple(series), passed_by, tuple(within))


def _is_picture(path: str) -> bool:
    name = Path(path).name
    return without_ending(name, [e for e in IMAGES if e not in (".dcm", ".dicom")]) is not None
