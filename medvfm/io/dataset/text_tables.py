"""Tables as text: which letters, which mark between cells, and rows that fit their headings or are refused by line."""

from __future__ import annotations

import csv
import io
import itertools
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medvfm.core.errors import DataError

MARKS = {",": "a comma", ";": "a semicolon", "\t": "a tab"}
_SAMPLED = 20  # rows that are looked at to find the mark between cells
_BOMS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_NOT_IN_CP1252 = b"\x81\x8d\x8f\x90\x9d"
GUESSED = (
    "{name}: its letters are not UTF-8; read as Windows-1252, as Excel saves them in Western Europe. "
    "If names look wrong, save the table as CSV UTF-8"
)
_SEP_LINE = re.compile(r"^sep=(.)\r?\n?$", re.IGNORECASE)  # how Excel notes the mark in a first line of its own


@dataclass(frozen=True)
class TextRows:
    """Rows as wide as their headings, and the line of the file, as an editor counts, in which each begins."""

    headings: list[str]
    rows: list[list[str]]
    lines: list[int]
    mark: str
    notes: tuple[str, ...] = ()


def read_rows(content: bytes, path: Path, *, mark: str | None = None, headings: list[str] | None = None) -> TextRows:
    """The rows of a text table.

    mark      what stands between cells; None: found among comma, semicolon and tab
    headings  where the file has none itself
    """
    encoding, notes = encoding_of(content, path)
    lines = _Lines(content, encoding)
    skipped = 0
    if first := _SEP_LINE.match(next(iter(lines), "")):
        mark, skipped = mark or first.group(1), 1
    mark = mark or _found_mark(lines, skipped, headings)
    rows = _parsed(lines, mark, skipped, path, headings)
    if headings is None:
        try:
            line, headings = next(rows)
        except StopIteration:
            raise DataError("the table is empty", where=path) from None
        headings = [name.strip() for name in headings]
        refuse_doubled(headings, f"{path}, line {line}")
    kept, places = [], []
    for line, row in rows:
        if len(row) != len(headings):
            raise _misfit(row, headings, mark, f"{path}, line {line}")
        kept.append(row)
        places.append(line)
    while kept and not any(cell.strip() for cell in kept[-1]):  # the empty rows that spreadsheets leave at the end
        kept.pop()
        places.pop()
    return TextRows(headings, kept, places, mark, notes)


def refuse_doubled(headings: list[str], where: object) -> None:
    """A heading names one column."""
    named = [name for name in headings if name]
    doubled = sorted({name for name in named if named.count(name) > 1})
    if doubled:
        raise DataError(f"the column {doubled[0]!r} occurs twice", where=where, remedy="give each column its own name")


def encoding_of(content: bytes, path: Path) -> tuple[str, tuple[str, ...]]:
    """The name of the encoding, and a note where it was guessed."""
    for mark, name in _BOMS:
        if content.startswith(mark):
            return name, ()
    head = content[:4096]
    if b"\0" in head:
        odd, even = head[1::2].count(0), head[::2].count(0)
        if max(odd, even) < len(head) // 4:
            raise DataError("holds binary data and no text", where=path, remedy="save it as CSV UTF-8 or as .xlsx")
        return ("utf-16-le" if odd > even else "utf-16-be"), ()
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        if any(byte in content for byte in _NOT_IN_CP1252):
            raise DataError(
                "its letters are neither UTF-8 nor Windows-1252", where=path, remedy="save it as CSV UTF-8 or as .xlsx"
            ) from None
        return "cp1252", (GUESSED.format(name=path.name),)
    return "utf-8", ()


@dataclass(frozen=True)
class _Lines:
    """The lines of a text, from the start each time, their ends as they are."""

    content: bytes
    encoding: str

    def __iter__(self) -> Iterator[str]:
        return iter(io.TextIOWrapper(io.BytesIO(self.content), self.encoding, newline=""))


def _found_mark(lines: _Lines, skipped: int, headings: list[str] | None) -> str:
    """The mark that cuts most rows into as many cells as the headings; of equals the one that makes more cells."""
    best, found = (0.0, 1), ","
    for mark in MARKS:
        try:
            with _long_fields():
                reader = csv.reader(itertools.islice(lines, skipped, None), delimiter=mark)
                rows = list(itertools.islice((row for row in reader if row), _SAMPLED + 1))
        except csv.Error:
            continue
        width = len(headings) if headings else len(rows[0]) if rows else 0
        body = rows if headings else rows[1:]
        if width < 2:
            continue
        fitting = sum(len(row) == width for row in body) / len(body) if body else 1.0
        if (fitting, width) > best:
            best, found = (fitting, width), mark
    return found


def _parsed(
    lines: _Lines, mark: str, skipped: int, path: Path, headings: list[str] | None
) -> Iterator[tuple[int, list[str]]]:
    """Line and cells of each row. Between tabs a quotation mark may be a letter as any other: it is one, unless
    all rows are closed by their marks, and as many as without them or the only ones that fit."""
    if mark != "\t":
        return _records(lines, mark, skipped, path, quoted=True)
    plain = list(_records(lines, mark, skipped, path, quoted=False))
    if any('"' in line for line in lines):
        try:
            quoted = list(_records(lines, mark, skipped, path, quoted=True))
        except DataError:
            quoted = []
        if _fit(quoted, headings) and (len(quoted) == len(plain) or not _fit(plain, headings)):
            return iter(quoted)
    return iter(plain)


def _fit(rows: list[tuple[int, list[str]]], headings: list[str] | None) -> bool:
    widths = {len(row) for _, row in rows} | ({len(headings)} if headings else set())
    return len(widths) == 1


def _records(lines: _Lines, mark: str, skipped: int, path: Path, *, quoted: bool) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(
        itertools.islice(lines, skipped, None),
        delimiter=mark,
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        strict=True,
    )
    begins = skipped + 1
    while True:
        try:
            with _long_fields():
                row = next(reader, None)
        except csv.Error as broken:
            raise _misquoted(str(broken), path, begins, reader.line_num + skipped) from broken
        if row is None:
            return
        if row:
            yield begins, row
        begins = reader.line_num + skipped + 1


@contextmanager
def _long_fields() -> Iterator[None]:
    """A cell may be long, such as the runs of a mask; the limit of csv is one for the whole process."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _misquoted(broken: str, path: Path, begins: int, ends: int) -> DataError:
    if "end of data" in broken:
        what = "a quotation mark opens here, and none closes it"
        return DataError(what, where=f"{path}, line {begins}", remedy="close it, or take it away")
    return DataError(
        "a quotation mark stands within a quoted cell",
        where=f"{path}, line {ends}",
        remedy="write it twice, or take the quotation marks around the cell away",
    )


def _misfit(row: list[str], headings: list[str], mark: str, where: str) -> DataError:
    many = len(row) > len(headings)
    what = f"{len(row)} cells for {len(headings)} columns"
    called = MARKS.get(mark, repr(mark))
    if not many:
        return DataError(what, where=where, remedy=f"an empty cell still needs {called} before or after it")
    if not any(cell.strip() for cell in row[len(headings) :]):
        return DataError(what, where=where, remedy=f"the row ends in {called} too many: take it away")
    numbers = mark == "," and any(re.fullmatch(r"\s*[+-]?\d+\s*", cell) for cell in row)
    remedy = (
        "numbers with a decimal comma need a point, or a table cut by semicolons; a comma within a text needs "
        "quotation marks around the cell"
        if numbers
        else f"{called} within a text needs quotation marks around the cell"
    )
    return DataError(what, where=where, remedy=remedy)
