"""A tree of DICOM files to a table of series, headers only."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom

from medvfm.io.index.folder import index
from tests.benchmarks import scans
from tests.benchmarks.measure import Row, fastest

SERIES, SLICES = 40, 100
WORKLOAD = (
    f"{SERIES * SLICES:,} CT files of {SERIES} series, headers of a hundred elements, to a table of series; "
    "files, size, spacing and modality of every series equal"
)
FACTS = (
    "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "Modality", "BodyPartExamined", "Rows",
    "Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness",
)  # fmt: skip


def rows(folder: Path) -> Iterator[Row]:
    """Beside one process that reads the same facts with pydicom."""
    tree, small = folder / "tree", np.zeros((32, 32), np.int16)
    for series in range(SERIES):
        scans.write_ct_series(tree / f"series{series:03d}", [small] * SLICES, series)
    files = sorted(p for p in tree.rglob("*") if p.is_file())
    table, journal = folder / "series.csv", folder / ".series.csv.progress"

    def ours() -> pd.DataFrame:
        journal.unlink(missing_ok=True)
        index(tree, table, identifiers=True)
        return pd.read_csv(table)

    def plain() -> dict[str, list[pydicom.Dataset]]:
        found: dict[str, list] = {}
        for file in files:
            header = pydicom.dcmread(file, stop_before_pixels=True)
            facts = {name: header.get(name) for name in FACTS}
            facts["TransferSyntaxUID"] = header.file_meta.TransferSyntaxUID
            found.setdefault(facts["SeriesInstanceUID"], []).append(facts)
        return found

    def floor() -> int:
        total = 0
        for file in files:
            number = os.open(file, os.O_RDONLY)
            total += len(os.pread(number, 1 << 14, 0))
            os.close(number)
        return total

    equal = _same(ours(), plain())
    found = fastest({"medvfm": ours, "pydicom": plain, "floor": floor}, 5)
    limit = {"limit": found["floor"], "limit_name": "the first 16 KiB of every file read"}
    yield Row("header_index", WORKLOAD, "pydicom, one process", found["medvfm"], found["pydicom"], 1.7, equal, **limit)


def _same(table: pd.DataFrame, headers: dict[str, list]) -> bool:
    ours = Counter(
        (r.series, r.files, r.modality, r.size_i, r.size_j, r.size_k, r.spacing_i_mm, r.spacing_j_mm, r.spacing_k_mm)
        for r in table.itertuples()
    )
    theirs = Counter()
    for uid, facts in headers.items():
        first, along = facts[0], sorted(f["ImagePositionPatient"][2] for f in facts)
        row, column = map(float, first["PixelSpacing"])
        step = round((along[-1] - along[0]) / (len(along) - 1), 4)
        size = (first["Columns"], first["Rows"], len(facts))
        theirs[(uid, len(facts), first["Modality"], *size, column, row, step)] += 1
    return ours == theirs
