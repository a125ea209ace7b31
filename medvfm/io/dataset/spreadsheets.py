"""The first sheet of an Excel workbook (.xlsx) as rows of text, as its cells show them."""

from __future__ import annotations

import datetime
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

from medvfm.core.errors import DataError
from medvfm.io.dataset.text_tables import TextRows, refuse_doubled
from medvfm.io.formats import bounded_read

MAGIC = b"PK\x03\x04"
OLD_MAGIC = b"\xd0\xcf\x11\xe0"  # .xls, and any workbook with a password
LIMIT_BYTES = 2 * bounded_read.GIB  # of its parts when unpacked
_EXACT = 10**15  # a cell keeps fifteen digits of a number
_ZEROS = re.compile(r"0+")


def read_rows(path: Path, headings: list[str] | None = None) -> TextRows:
    """The rows of the first sheet that holds anything. 7 in a cell that shows 007 is `007`."""
    import openpyxl

    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as parts, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of styles and extensions that say nothing about values
            if sum(part.file_size for part in parts.infolist()) > LIMIT_BYTES:
                raise DataError(f"more than {LIMIT_BYTES:,} bytes when unpacked", where=path)
            book = openpyxl.load_workbook(file, read_only=True, data_only=True)
            name, rows, notes = _first_sheet(book, path)
            found = _table(rows, path, headings)
            if any("" in row for row in found.rows):
                _refuse_unknown_formulas(openpyxl.load_workbook(file, read_only=True)[name], found, path)
    except (zipfile.BadZipFile, KeyError, ValueError, AttributeError, IndexError, TypeError) as broken:
        raise DataError(f"not readable as an Excel workbook: {str(broken)[:100]}", where=path) from broken
    return TextRows(found.headings, found.rows, found.lines, "", notes)


def _first_sheet(book: Any, path: Path) -> tuple[str, list[list[str]], tuple[str, ...]]:
    """Name and rows of the first sheet with a value, and a note on further ones."""
    for number, sheet in enumerate(book.worksheets):
        rows = [[_text(cell, path) for cell in row] for row in sheet.iter_rows()]
        if any(any(row) for row in rows):
            further = len(book.worksheets) - number - 1
            note = f"{path.name}: read from the sheet {sheet.title!r}; {further} after it are not read"
            return sheet.title, rows, (note,) if further else ()
    raise DataError("the table is empty", where=path)


def _table(rows: list[list[str]], path: Path, headings: list[str] | None) -> TextRows:
    first = 0
    if headings is None:
        first = next(n for n, row in enumerate(rows) if any(row))
        headings = [cell.strip() for cell in rows[first]]
        while headings and not headings[-1]:
            headings.pop()
        refuse_doubled(headings, f"{path}, row {first + 1}")
        first += 1
    kept, lines = [], []
    for number, row in enumerate(rows[first:], first + 1):
        if not any(cell.strip() for cell in row):
            continue
        if any(row[len(headings) :]):
            better = next((n for n, r in enumerate(rows, 1) if n > first and _looks_like_headings(r, len(headings))), 0)
            raise DataError(
                "a value in a column that has no heading",
                where=f"{path}, row {number}",
                remedy=f"row {better} looks like the headings: take out the rows above it, and save"
                if better and better > first
                else "give every column a heading in the first row",
            )
        kept.append((row + [""] * len(headings))[: len(headings)])
        lines.append(number)
    return TextRows(headings, kept, lines, "")


def _looks_like_headings(row: list[str], least: int) -> bool:
    """Whether a row holds words, one in each column and each once, as the headings of a table do."""
    cells = [cell.strip() for cell in row]
    while cells and not cells[-1]:
        cells.pop()
    return (
        len(cells) >= max(2, least)
        and all(cells)
        and len(set(cells)) == len(cells)
        and not any(character.isdigit() for cell in cells for character in cell)
    )


def _refuse_unknown_formulas(sheet: Any, found: TextRows, path: Path) -> None:
    """A formula that no program has computed looks as an empty cell does."""
    rows = dict(zip(found.lines, found.rows, strict=True))
    for number, row in enumerate(sheet.iter_rows(values_only=True), 1):
        for cell, value, name in zip(row, rows.get(number, []), found.headings, strict=False):
            if isinstance(cell, str) and cell.startswith("=") and not value:
                raise DataError(
                    f"the formula in column {name!r} has no stored value",
                    where=f"{path}, row {number}",
                    remedy="open the workbook in Excel and save it, or replace formulas by their values",
                )


def _text(cell: Any, path: Path) -> str:
    value = cell.value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | float):
        return _number(value, getattr(cell, "number_format", "General"), cell, path)
    if isinstance(value, datetime.datetime):
        return value.date().isoformat() if value.time() == datetime.time() else value.isoformat(sep=" ")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value)


def _number(value: float, form: str, cell: Any, path: Path) -> str:
    if value != int(value):
        return repr(value)
    if abs(value) >= _EXACT:
        raise DataError(
            "a number of more than fifteen digits, of which Excel keeps fifteen",
            where=f"{path}, row {cell.row}",
            remedy="enter identifiers as text, in a column of the format Text",
        )
    whole = str(int(value))
    return whole.zfill(len(form)) if value >= 0 and _ZEROS.fullmatch(form) else whole
