"""Facts of one file for the index, from its header: DICOM here, other formats in image_headers.py. No identity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from medvfm.io import patient_hashes
from medvfm.io.dicom import pixel_format, series
from medvfm.io.dicom.geometry import Plane
from medvfm.io.dicom.header import Header
from medvfm.io.dicom.pixel_format import PixelFormat
from medvfm.io.dicom.series import FileFacts
from medvfm.io.index import identity_tokens, journal
from medvfm.io.index.identity_tokens import Token

# what one process is given, the names of files by their places in the journal, and what it gives back: their data by
# place, as they are and packed for the journal
Task = tuple["Describer", Path, Mapping[str, str]]
Block = tuple[dict[str, dict[str, Any]], bytes]
_HASHED = {"patient_id": "", "study_uid": "uid", "series_uid": "uid", "instance_uid": "uid"}


@dataclass(frozen=True)
class Entry:
    """One file of the tree. `dicom` is there where it is a DICOM file; else size and place as its header has them.

    tokens  the words that identify its patient, as keyed hashes
    """

    kind: str
    problem: str | None = None
    notes: tuple[str, ...] = ()
    shape_vox: tuple[int, ...] | None = None
    spacing_mm: tuple[float, ...] | None = None
    orientation: str | None = None
    volumes: int = 1
    dicom: FileFacts | None = None
    tokens: tuple[Token, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Describer:
    """Describes files as JSON data, here or in another process. Without `identifiers`, IDs become keyed hashes."""

    key: bytes = field(repr=False)
    identifiers: bool
    limit_gib: float = 4.0

    def __call__(self, path: Path) -> dict[str, Any]:
        """The data of an Entry; empty for what is no image and does not claim to be one by its name."""
        try:
            scanned = series.scan(path, self.limit_gib)
            if scanned is not None:
                return self._dicom(path, *scanned)
            from medvfm.io.index import image_headers

            return image_headers.described(path)
        except OSError as error:
            return {"kind": "", "problem": f"cannot be read ({error.strerror or type(error).__name__})"}
        except Exception as error:  # whatever a damaged file makes the code trip over
            return {"kind": "", "problem": f"damaged file ({type(error).__name__})"}

    def _dicom(self, path: Path, facts: FileFacts, header: Header | None, form: PixelFormat | None) -> dict[str, Any]:
        data = {k: v for k, v in vars(facts).items() if k != "path"}
        if header is not None and form is not None and facts.problem is None:
            data["problem"] = pixel_format.missing(header, form)
        data["planes"] = [{k: v for k, v in vars(plane).items() if v is not None} for plane in facts.planes]
        if self.identifiers:
            return {"kind": "dicom", "dicom": data}
        for name, kind in _HASHED.items():
            data[name] = _hashed(data[name], self.key, kind)
        for plane in data["planes"]:
            plane["frame_of_reference"] = _hashed(plane["frame_of_reference"], self.key, "uid")
        if header is None:
            with path.open("rb") as file:
                values = identity_tokens.values_in_bytes(file.read(identity_tokens.HEAD_BYTES))
        else:
            values = identity_tokens.values_of(header)
        return {"kind": "dicom", "dicom": data, "tokens": identity_tokens.tokens_of(values, self.key)}


@lru_cache(1 << 14)  # the files of a series share them
def _hashed(value: str, key: bytes, kind: str) -> str:
    return patient_hashes.hashed(value, key, kind) if value else ""


def described(task: Task) -> Block:
    """What one process does of an index, for some files below a root."""
    describer, root, names = task
    block = {place: describer(root / name) for place, name in names.items()}
    return block, journal.packed(block)


def entry_of(data: Mapping[str, Any], path: Path) -> Entry:
    """The entry that data describe, which may have been through JSON: lists as tuples."""
    found: dict[str, Any] = {k: _frozen(v) for k, v in data.items() if k != "dicom"}
    if "dicom" in data:
        facts = data["dicom"] | {"path": path, "planes": tuple(map(_plane, data["dicom"]["planes"]))}
        found["dicom"] = FileFacts(**facts)
    return Entry(**found)


def _plane(data: Mapping[str, Any]) -> Plane:
    return Plane(**{k: _frozen(v) if isinstance(v, list | dict) else v for k, v in data.items()})


def _frozen(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_frozen, value))
    return {k: _frozen(v) for k, v in value.items()} if isinstance(value, dict) else value
