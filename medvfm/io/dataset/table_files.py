"""The one reader of tables: CSV and its kin, Excel, Parquet, JSON; every row as it stands, or refused by its number."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from medvfm.core.errors import DataError, MedvfmError
from medvfm.io.dataset import spreadsheets, text_tables
from medvfm.io.formats import bounded_read

LIMIT_BYTES = 2 * bounded_read.GIB  # of a table's text; what is larger comes as Parquet
LIST = "|"
_CHUNK = 2**22
_HEAD_BYTES = 8
_COMMA = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")
_NUMBER = re.compile(r"[+-]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+")


@dataclass(frozen=True)
class RecordTable:
    """Records that hold the wanted columns, and the names of all columns that the file has.

    lines  where each record stands: its line in a text file, as editors count, else its row
    mark   what stands between the cells of a text file
    notes  what was guessed about the file, for the user to check
    """

    columns: tuple[str, ...]
    records: list[dict[str, Any]]
    lines: Sequence[int]
    counted: str = "row"
    mark: str = ""
    notes: tuple[str, ...] = ()

    def place(self, record: int) -> str:
        """`line 7`, of the record of that number."""
        return f"{self.counted} {self.lines[record]}"


def with_points(cells: Sequence[Any], mark: str, column: str, place: Callable[[int], str]) -> list[Any]:
    """The cells of a column of numbers, with decimal points where they have decimal commas.

    Between semicolons a comma is a decimal one; in a table cut by commas none is. Elsewhere 1,234 may be a thousand and
    more: a column that leaves it open is refused. What is no number stays, for the one who needs numbers to refuse.
    """
    texts = [cell.strip() if isinstance(cell, str) else "" for cell in cells]
    commas = [n for n, text in enumerate(texts) if _COMMA.fullmatch(text)]
    if not commas or mark == ",":
        return list(cells)
    points = any("." in text and _NUMBER.fullmatch(text) for text in texts)
    if points or (mark != ";" and all(_THOUSANDS.fullmatch(texts[n]) for n in commas)):
        raise DataError(
            f"in column {column!r} the comma of {texts[commas[0]]!r} may be one of decimals or of thousands",
            where=place(commas[0]),
            remedy="write numbers with a decimal point and nothing between thousands",
        )
    chosen = set(commas)
    return [texts[n].replace(",", ".") if n in chosen else cell for n, cell in enumerate(cells)]


def read_table(
    path: Path,
    *,
    wanted: Collection[str] | None = None,
    delimiter: str | None = None,
    columns: Sequence[str] = (),
    records: str | None = None,
    numbers: Collection[str] = (),
) -> RecordTable:
    """A table; cells of text files and of workbooks stay text, so that 007 is not 7, and an empty cell is "".

    wanted     columns that are kept, where the table has them; None: all
    delimiter  of a text table; None: found among comma, semicolon and tab
    columns    their names, where the file has no header
    records    in JSON, the key of the list
    numbers    columns that hold numbers, where a decimal comma becomes a point
    """
    try:
        found = _read(path, wanted, delimiter, list(columns) or None, records)
    except FileNotFoundError:
        raise DataError("no such table", where=path) from None
    except (OSError, ValueError, KeyError, TypeError) as broken:
        raise DataError(f"not readable as a table: {str(broken)[:100]}", where=path) from broken
    pointed = {
        c: with_points([row[c] for row in found.records], found.mark, c, lambda n: f"{path}, {found.place(n)}")
        for c in found.columns
        if c in numbers and (wanted is None or c in wanted)
    }
    rows = [{**row, **{c: cells[n] for c, cells in pointed.items()}} for n, row in enumerate(found.records)]
    return replace(found, records=rows) if pointed else found


def _read(
    path: Path, wanted: Collection[str] | None, delimiter: str | None, columns: list[str] | None, records: str | None
) -> RecordTable:
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if path.is_dir():
        raise DataError("a folder, and a table is needed", where=path)
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith(b"PAR1") or suffix in (".parquet", ".pq"):
        return _of_frame(_parquet(path, wanted), wanted)
    if suffix in (".json", ".jsonl"):
        return _of_frame(_json(path, suffix, records), wanted)
    if head.startswith(spreadsheets.OLD_MAGIC) or suffix in (".xls", ".ods"):
        raise DataError(
            "an old workbook, one with a password, or one of another program",
            where=path,
            remedy="save it as .xlsx without a password, or as CSV UTF-8",
        )
    if head.startswith(spreadsheets.MAGIC):
        return _of_rows(spreadsheets.read_rows(path, columns), wanted, "row")
    rows = text_tables.read_rows(content(path, LIMIT_BYTES), path, mark=delimiter, headings=columns)
    return _of_rows(rows, wanted, "line")


def _of_rows(found: text_tables.TextRows, wanted: Collection[str] | None, counted: str) -> RecordTable:
    """Columns without a heading, such as the row numbers that pandas writes, are no columns."""
    kept = [(n, name) for n, name in enumerate(found.headings) if name and (wanted is None or name in wanted)]
    records = [{name: row[n] for n, name in kept} for row in found.rows]
    names = tuple(name for name in found.headings if name)
    return RecordTable(names, records, found.lines, counted, found.mark, found.notes)


def _of_frame(frame: pd.DataFrame, wanted: Collection[str] | None) -> RecordTable:
    names = tuple(map(str, frame.attrs.get("columns", frame.columns)))
    frame = frame[[c for c in frame.columns if wanted is None or str(c) in wanted]]
    rows = frame.to_dict("records") if len(frame.columns) else [{}] * len(frame)  # where pandas before 3 has no rows
    return RecordTable(names, [{str(k): v for k, v in row.items()} for row in rows], range(1, len(rows) + 1))


def _parquet(path: Path, wanted: Collection[str] | None) -> pd.DataFrame:
    import pyarrow.parquet

    names = pyarrow.parquet.read_schema(path).names
    text_tables.refuse_doubled(names, path)
    frame = pd.read_parquet(path, columns=[n for n in names if wanted is None or n in wanted])
    frame.attrs["columns"] = names
    return frame


def _json(path: Path, suffix: str, records: str | None) -> pd.DataFrame:
    text = content(path, LIMIT_BYTES).decode("utf-8-sig")
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
        return LIST.join(str(v) for v in value)
    return "" if value is None else value


def content(path: Path, limit: int) -> bytes:
    """The bytes of a file, packed with gzip or not; no more than `limit`."""
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
