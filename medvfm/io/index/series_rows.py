"""From facts of files to rows of the index: one per DICOM series, one for every other file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from medvfm.core.plurals import plural
from medvfm.io.dicom import series as dicom_series
from medvfm.io.dicom.series import FileFacts, Volume
from medvfm.io.index.file_facts import Entry
from medvfm.io.index.identity_tokens import Known

# column and type, in the order of the table
COLUMNS: Mapping[str, str] = {
    "path": "string",
    "first_file": "string",
    "format": "string",
    "patient": "string",
    "study": "string",
    "series": "string",
    "modality": "string",
    "body_part": "string",
    "files": "Int64",
    "slices": "Int64",
    "volumes": "Int64",
    "size_i": "Int64",
    "size_j": "Int64",
    "size_k": "Int64",
    "spacing_i_mm": "Float64",
    "spacing_j_mm": "Float64",
    "spacing_k_mm": "Float64",
    "orientation": "string",
    "transfer_syntax": "string",
    "problems": "string",
}
# objects that are no images: reports, structures, plans, presentation states, registrations, curves
_WITHOUT_PIXELS = (
    *("SR", "KO", "PR", "RTSTRUCT", "RTPLAN", "RTRECORD", "RTINTENT", "REG", "FID", "RWV", "DOC", "PLAN"),
    *("ECG", "HD", "EPS", "AU", "RESP", "SMR", "ANN", "M3D", "STAIN"),
)
_NAMED = 3  # kinds of problem of one series that are reported


def table_of(entries: Mapping[str, Entry], known: Known | None) -> pd.DataFrame:
    """The table, by path. `known` hides what names a patient; None shows everything as it is."""
    series: dict[str, list[FileFacts]] = {}
    rows: list[dict[str, object]] = []
    for name, entry in entries.items():
        if entry.dicom is not None and entry.dicom.series_uid:
            series.setdefault(entry.dicom.series_uid, []).append(entry.dicom)
        else:
            rows.append(_file_row(name, entry))
    rows += [_series_row(files) for files in series.values()]
    rows.sort(key=lambda row: (str(row["path"]), str(row["series"])))
    for row in rows:
        for column in ("path", "first_file", "modality", "body_part", "problems"):
            row[column] = _shown(row[column], column, known)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype(dict(COLUMNS))


def _shown(value: object, column: str, known: Known | None) -> str | None:
    if not value:
        return None
    text = os.fsencode(str(value)).decode(errors="backslashreplace")
    if known is None:
        return text
    if column == "problems":  # our own words, and now and then the name of a file, which is no word of letters alone
        return " ".join(word if word.isalpha() else known.safe(word, "/") for word in text.split(" "))
    return known.safe(text, "/" if column in ("path", "first_file") else " ")


def _file_row(name: str, entry: Entry) -> dict[str, object]:
    facts = entry.dicom
    problem = entry.problem if facts is None else facts.problem
    found: dict[str, object] = {
        "path": name, "first_file": name, "format": entry.kind or None, "series": None, "modality": None,
        "body_part": None, "files": 1, "slices": None, "volumes": None,
        "problems": "; ".join(filter(None, (problem, *entry.notes))),
    }  # fmt: skip
    if facts is not None:
        found |= _of_headers([facts])
    if entry.shape_vox is not None:
        found |= _grid(entry.shape_vox, entry.spacing_mm, entry.orientation)
        found |= {"slices": entry.shape_vox[2] * entry.volumes, "volumes": entry.volumes}
    elif facts is not None and facts.problem is None:
        volumes = dicom_series.volumes_of([facts])
        found |= _shared(volumes, [facts]) | {"slices": facts.frames, "volumes": len(volumes)}
        found["problems"] = "; ".join(filter(None, ("it states no SeriesInstanceUID", _problems(volumes, 1))))
    return found


def _series_row(files: Sequence[FileFacts]) -> dict[str, object]:
    volumes = dicom_series.volumes_of(files)
    images = [v for v in volumes if v.shape_vox is not None]
    told = [_problems(volumes, len(files)), *_contradictions(files)]
    return {
        "path": _place([f.path for f in files]),
        "first_file": min(f.path for f in files).as_posix(),
        "format": "dicom",
        **_of_headers(files),
        "files": len(files),
        "slices": sum(f.frames for f in files if f.problem is None) or None,
        "volumes": len(images) or None,
        **_shared(images, files),
        "problems": "; ".join(filter(None, told)),
    }


def _of_headers(files: Sequence[FileFacts]) -> dict[str, object]:
    first = files[0]
    syntaxes = sorted({f.transfer_syntax for f in files if f.transfer_syntax})
    return {
        "patient": first.patient_id or None,
        "study": first.study_uid or None,
        "series": first.series_uid or None,
        "modality": first.modality,
        "body_part": first.body_part,
        "transfer_syntax": ", ".join(syntaxes) or None,
    }


def _place(paths: Sequence[Path]) -> str:
    """The file, or the folder that holds all of them."""
    if len(paths) == 1:
        return paths[0].as_posix()
    return Path(os.path.commonpath({path.parent for path in paths})).as_posix()


def _shared(volumes: Sequence[Volume], files: Sequence[FileFacts]) -> dict[str, object]:
    """Size, spacing and orientation, each where all volumes of the series have the same; of pictures, the pixels."""
    shapes = {v.shape_vox for v in volumes}
    spacings: set[tuple[float | None, ...] | None] = {_rounded(v.spacing_mm) for v in volumes}
    orientations = {v.orientation for v in volumes}
    if spacings == {None}:
        pixels = {_rounded(p.spacing_mm) for f in files if f.problem is None for p in f.planes}
        spacings = {None if p is None else (p[1], p[0], None) for p in pixels}
    return _grid(_only(shapes), _only(spacings), _only(orientations))


def _rounded(spacing_mm: Sequence[float] | None) -> tuple[float, ...] | None:
    return None if spacing_mm is None else tuple(round(s, 4) for s in spacing_mm)


def _only(values: set[Any]) -> Any:
    return next(iter(values)) if len(values) == 1 else None


def _grid(
    shape_vox: Sequence[int] | None, spacing_mm: Sequence[float | None] | None, orientation: str | None
) -> dict[str, object]:
    sizes = shape_vox or (None,) * 3
    spacings = [None if s is None else round(s, 4) for s in spacing_mm or (None,) * 3]
    named = {f"size_{axis}": size for axis, size in zip("ijk", sizes, strict=True)}
    return named | {f"spacing_{a}_mm": s for a, s in zip("ijk", spacings, strict=True)} | {"orientation": orientation}


def _problems(volumes: Sequence[Volume], files: int) -> str:
    """Each kind of problem once, with how many files it concerns where not all."""
    counts: Counter[str] = Counter()
    for volume in volumes:
        no_image = volume.problem == dicom_series.NO_PIXELS and volume.modality in _WITHOUT_PIXELS
        if volume.problem is not None and not no_image:
            counts[volume.problem] += len(volume.paths)
    told = [p if n == files else f"{n} of {files} files: {p}" for p, n in counts.most_common(_NAMED)]
    more = len(counts) - _NAMED
    return "; ".join([*told, *([f"and {plural(more, 'other problem')}"] if more > 0 else [])])


def _contradictions(files: Sequence[FileFacts]) -> list[str]:
    """What one series cannot be: of two patients or studies, or with an instance that comes twice."""
    found = []
    for what, values in (("patients", {f.patient_id for f in files}), ("studies", {f.study_uid for f in files})):
        if len(values - {""}) > 1:
            found.append(f"its files name {len(values - {''})} {what}")
    instances = Counter(f.instance_uid for f in files if f.instance_uid)
    twice = sum(count > 1 for count in instances.values())
    if twice:
        found.append(f"{plural(twice, 'SOPInstanceUID')} in more than one file")
    return found
