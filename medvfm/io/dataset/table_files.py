"""Tables and the small files beside images, read as text: CSV, TSV, Parquet, JSON, XML, key-value lines."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from medvfm.core.errors import DataError, MedvfmError
from medvfm.io.formats import bounded_read

LIMIT_BYTES = 2 * bounded_read.GIB  # of a table's text; what is larger comes as Parquet
_SIDE_LIMIT_BYTES = 16 * 2**20
_CHUNK = 2**22
_LIST = "|"


@dataclass(frozen=True)
class RecordTable:
    """Records that hold the wanted columns, and the names of all columns that the file has."""

    columns: tuple[str, ...]
    records: list[dict[str, Any]]


def read_table(
    path: Path,
    *,
    wanted: Collection[str] | None = None,
    delimiter: str | None = None,
    columns: Sequence[str] = (),
    records: str | None = None,
) -> RecordTable:
    """A table; cells of text files stay text, so that 007 is not 7, and an empty cell is "".

    wanted     columns that are kept, where the table has them; None: all
    delimiter  of a text table; None: a tab for .tsv and .txt, else a comma
    columns    their names, where the file has no header
    records    in JSON, the key of the list
    """
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    try:
        if suffix in (".parquet", ".pq"):
            frame = _parquet(path, wanted)
        elif suffix in (".json", ".jsonl"):
            frame = _json(path, suffix, records)
        else:
            frame = _text(path, delimiter or ("\t" if suffix in (".tsv", ".txt") else ","), list(columns))
    except FileNotFoundError:
        raise DataError("no such table", where=path) from None
    except (OSError, ValueError, KeyError, TypeError, pd.errors.ParserError) as broken:
        raise DataError(f"not readable as a table: {str(broken)[:100]}", where=path) from broken
    names = tuple(map(str, frame.attrs.get("columns", frame.columns)))
    frame = frame[[c for c in frame.columns if wanted is None or str(c) in wanted]]
    rows = frame.to_dict("records") if len(frame.columns) else [{}] * len(frame)  # where pandas before 3 has no rows
    return RecordTable(names, [{str(k): v for k, v in row.items()} for row in rows])


def _parquet(path: Path, wanted: Collection[str] | None) -> pd.DataFrame:
    import pyarrow.parquet

    names = pyarrow.parquet.read_schema(path).names
    frame = pd.read_parquet(path, columns=[n for n in names if wanted is None or n in wanted])
    frame.attrs["columns"] = names
    return frame


def _json(path: Path, suffix: str, records: str | None) -> pd.DataFrame:
    text = _content(path, LIMIT_BYTES).decode("utf-8-sig")
    lines = text.splitlines() if suffix == ".jsonl" else []
    data: Any = [json.loads(line) for line in lines if line.strip()] if lines else json.loads(text)
    for key in records.split(".") if records else ():
        data = data[key]
    if not isinstance(data, list):
        raise ValueError("expected a list of rows; `records` names the key that holds it")
    rows = [row if isinstance(row, dict) else {"value": row} for row in data]
    names = list(dict.fromkeys(str(key) for row in rows for key in row))
    return pd.DataFrame({n: pd.Series([_cell(row.get(n)) for row in rows], dtype=object) for n in names})


def _cell(value: Any) -> Any:
    """Lists of plain values as one text, as tables have them; numbers stay as they are."""
    if isinstance(value, list) and not any(isinstance(v, dict | list) for v in value):
        return _LIST.join(str(v) for v in value)
    return "" if value is None else value


def _text(path: Path, delimiter: str, names: list[str]) -> pd.DataFrame:
    content = io.BytesIO(_content(path, LIMIT_BYTES))
    given: dict[str, Any] = {"names": names, "header": None} if names else {}
    if delimiter == "\t":
        given["quoting"] = csv.QUOTE_NONE  # a caption may hold a single quotation mark
    frame = pd.read_csv(
        content, sep=delimiter, dtype=str, na_filter=False, encoding="utf-8-sig", index_col=False, **given
    )
    if not names:
        _refuse_doubled(content, delimiter)
    return frame.rename(columns=lambda name: str(name).strip())


def _refuse_doubled(content: io.BytesIO, delimiter: str) -> None:
    """pandas gives the second column of a name another one, without a word."""
    content.seek(0)
    header = pd.read_csv(
        content, sep=delimiter, dtype=str, na_filter=False, encoding="utf-8-sig", header=None, nrows=1
    ).iloc[0]
    names = [n.strip() for n in header if n.strip()]
    doubled = sorted({n for n in names if names.count(n) > 1})
    if doubled:
        raise ValueError(f"the column {doubled[0]!r} occurs twice")


def _content(path: Path, limit: int) -> bytes:
    parts, size = [], 0
    try:
        with bounded_read.opened(path) as stream:
            while size <= limit and (part := bounded_read.read_up_to(stream, _CHUNK)):
                parts.append(part)
                size += len(part)
    except MedvfmError as error:
        if not path.exists():
            raise FileNotFoundError(path) from None
        raise ValueError(error.what) from error
    if size > limit:
        raise ValueError(f"more than {limit:,} bytes of text")
    return b"".join(parts)


def read_list(path: Path) -> list[str]:
    """The lines of a text file that hold anything."""
    try:
        text = _content(path, LIMIT_BYTES).decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError("no such list", where=path) from None
    except ValueError as broken:
        raise DataError(f"not readable as a list: {broken}", where=path) from broken
    return [line.strip() for line in text.splitlines() if line.strip()]


def read_fields(path: Path) -> dict[str, str]:
    """The fields of a small file of one case, by its suffix; see Join."""
    reader = _SIDE.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"no fields can be read from {path.suffix}; one of: {', '.join(sorted(_SIDE))}", where=path)
    try:
        return reader(_content(path, _SIDE_LIMIT_BYTES))
    except (ValueError, ET.ParseError, RecursionError) as broken:
        raise DataError(f"not readable: {str(broken)[:100]}", where=path) from broken


def _xml(content: bytes) -> dict[str, str]:
    if b"<!ENTITY" in content:
        raise ValueError("XML entities are not read")
    found: dict[str, list[str]] = {}
    _gather(ET.fromstring(content), "", found)
    return {name: _LIST.join(values) for name, values in found.items()}


def _gather(element: ET.Element, place: str, found: dict[str, list[str]]) -> None:
    """Texts and attributes below an element; the root itself is not part of their names, nor are namespaces."""
    for child in element:
        name = re.sub(r"^\{.*\}", "", child.tag) if isinstance(child.tag, str) else ""
        if not name:
            continue  # a comment
        label = f"[{child.attrib['Label']}]" if "Label" in child.attrib else ""
        here = f"{place}/{name}{label}" if place else f"{name}{label}"
        if child.text and child.text.strip():
            found.setdefault(here, []).append(child.text.strip())
        for key, value in child.attrib.items():
            found.setdefault(f"{here}@{key}", []).append(value)
        _gather(child, here, found)


def _plain_json(content: bytes) -> dict[str, str]:
    found: dict[str, str] = {}

    def gather(value: Any, place: str) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                gather(inner, f"{place}/{key}" if place else str(key))
        else:
            found[place] = _LIST.join(map(str, value)) if isinstance(value, list) else str(value)

    gather(json.loads(content.decode("utf-8-sig")), "")
    return found


def _lines(content: bytes) -> dict[str, str]:
    pairs = (line.split(":", 1) for line in content.decode("utf-8-sig").splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _whole_text(content: bytes) -> dict[str, str]:
    return {"text": content.decode("utf-8-sig", errors="replace").strip()}


_SIDE: Mapping[str, Callable[[bytes], dict[str, str]]] = {
    ".xml": _xml,
    ".json": _plain_json,
    ".cfg": _lines,
    ".txt": _whole_text,
}
