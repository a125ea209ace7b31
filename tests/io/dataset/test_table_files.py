"""Tables as users save them: every cell as it stands, or the file refused by the line that an editor shows."""

from __future__ import annotations

import gzip

import openpyxl
import pandas as pd
import pytest

from medvfm.core.errors import DataError
from medvfm.io.dataset.table_files import read_table

ROWS = [{"case_id": "001", "name": "Müller", "x": "0.5"}, {"case_id": "002", "name": "Łoś", "x": "0.25"}]
TEXT = "case_id,name,x\n001,Müller,0.5\n002,Łoś,0.25\n"


def saved(folder, text, encoding="utf-8", name="t.csv"):
    file = folder / name
    file.write_bytes(text.encode(encoding))
    return file


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_letters_marks_and_ends_of_lines_are_found(tmp_path, encoding, mark, end):
    text = TEXT.replace(",", mark).replace("\n", end)
    found = read_table(saved(tmp_path, text, encoding))
    assert found.records == ROWS and found.columns == ("case_id", "name", "x")
    assert [found.place(n) for n in (0, 1)] == ["line 2", "line 3"] and not found.notes


def test_a_guess_is_said_and_bytes_that_are_no_text_are_refused(tmp_path):
    found = read_table(saved(tmp_path, TEXT.replace("Łoś", "Sørensen"), "cp1252"))
    assert found.records[1]["name"] == "Sørensen"
    assert len(found.notes) == 1 and "Windows-1252" in found.notes[0] and "t.csv" in found.notes[0]
    for content in (b"case_id,x\n\x81\x8d,1\n", bytes(range(256)) * 40):
        (tmp_path / "t.csv").write_bytes(content)
        with pytest.raises(DataError, match="UTF-8"):
            read_table(tmp_path / "t.csv")


def test_excels_first_line_an_index_of_pandas_and_empty_rows_at_the_end(tmp_path):
    assert read_table(saved(tmp_path, "sep=;\r\ncase_id;x\r\n001;a,b\r\n;\r\n;\r\n")).records == [
        {"case_id": "001", "x": "a,b"}
    ]
    pd.DataFrame(ROWS).to_csv(tmp_path / "i.csv")
    assert read_table(tmp_path / "i.csv").records == ROWS
    packed = tmp_path / "t.csv.gz"
    packed.write_bytes(gzip.compress(TEXT.encode()))
    assert read_table(packed).records == ROWS


def test_quotation_marks(tmp_path):
    found = read_table(saved(tmp_path, 'case_id,text,x\na,"one, ""two""\nthree",1\nb,5" disk,2\n'))
    assert [row["text"] for row in found.records] == ['one, "two"\nthree', '5" disk']
    assert [found.place(n) for n in (0, 1)] == ["line 2", "line 4"]
    tabs = read_table(saved(tmp_path, 'case_id\ttext\na\t"Quote is open\nb\tc"\n'))  # a letter as any other
    assert [row["text"] for row in tabs.records] == ['"Quote is open', 'c"']
    tabs = read_table(saved(tmp_path, 'case_id\ttext\na\t"one\ntwo"\nb\t"say ""x"""\n'))  # as Excel saves them
    assert [row["text"] for row in tabs.records] == ["one\ntwo", 'say "x"']
    long = "1 2 " * 60_000  # runs of a mask, more than csv takes by itself
    assert read_table(saved(tmp_path, f"case_id,runs\na,{long}\n")).records[0]["runs"] == long


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("case_id,x,y\nc0,0,15,1\nc1,0,25,0\n", r"line 2: 4 cells for 3 columns; numbers with a decimal comma"),
        ("case_id,x,y\nc0,1,0\nc1,0,25,0\n", r"line 3: 4 cells"),
        ("case_id,x,y\nc0,1,0\n\nc1,0\n", r"line 4: 2 cells for 3 columns; an empty cell still needs a comma"),
        ("case_id;x\nc0;1;0\n", r"line 2: 3 cells for 2 columns; a semicolon within"),
        ("case_id,x\nc0,1\nc1,0,\n", r"line 3: 3 cells for 2 columns; the row ends in a comma too many: take it away"),
        ("case_id,x\nc0,1,\n", r"line 2: 3 cells"),
        ('case_id,text,x\nc0,"a\nb",1\nc1,d,e,1\n', r"line 4: 4 cells"),
        ('case_id,text\nc0,"open\nc1,d\n', r"line 2: a quotation mark opens here"),
        ('case_id,text\nc0,a\nc1,"say "no" twice"\n', r"line 3: a quotation mark stands within"),
        ("case_id,x,x\nc0,1,0\n", r"line 1: the column 'x' occurs twice"),
        ("case_id, x ,x\nc0,1,0\n", r"line 1: the column 'x' occurs twice"),
        ("", "the table is empty"),
        ("\n\n", "the table is empty"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_by_its_line(tmp_path, text, said):
    with pytest.raises(DataError, match=said):
        read_table(saved(tmp_path, text))


def test_a_decimal_comma_is_a_point_where_it_can_be_nothing_else(tmp_path):
    table = lambda text, mark=";": read_table(saved(tmp_path, text.replace(";", mark)), numbers=["x", "y"])  # noqa: E731
    values = lambda found: [row["x"] for row in found.records]  # noqa: E731
    assert values(table("case_id;x\na,1;0,15\nb,2;-3\nc;1,5e-3\n")) == ["0.15", "-3", "1.5e-3"]
    assert table("case_id;x\na,1;0,15\n").records[0]["case_id"] == "a,1"  # no column of numbers
    assert values(table("case_id;x\na;1,234\n")) == ["1.234"]  # between semicolons a comma is a decimal one
    assert values(table("case_id;x\na;1,234\nb;0,5\n", "\t")) == ["1.234", "0.5"]
    assert values(table("case_id;x\na;0,5\nb;many\n")) == ["0.5", "many"]  # for the one who needs numbers to refuse
    for text, mark in (
        ("case_id;x\na;0.5\nb;0,5\n", ";"),
        ("case_id;x\na;1,234\nb;1,5\nc;1.5\n", ";"),
        ("case_id;x\na;1,234\nb;12,345\n", "\t"),
    ):
        with pytest.raises(DataError, match=r"line [23].*'x'.*decimals or of thousands"):
            table(text, mark)
    assert values(read_table(saved(tmp_path, 'case_id,x\na,"1,5"\n'), numbers=["x"])) == ["1,5"]


def workbook(path, *rows, **more):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    for cell, (value, form) in more.items():
        book.active[cell] = value
        book.active[cell].number_format = form
    book.save(path)
    return path


def test_a_workbook_reads_as_its_cells_show(tmp_path):
    import datetime

    rows = (["case_id", "x", "day", None], ["001", 0.5, datetime.date(2020, 1, 2)], [None], [None, 1.0, True])
    found = read_table(workbook(tmp_path / "t.xlsx", *rows, A4=(7, "000")))
    assert found.records == [
        {"case_id": "001", "x": "0.5", "day": "2020-01-02"},
        {"case_id": "007", "x": "1", "day": "TRUE"},
    ]
    assert [found.place(n) for n in (0, 1)] == ["row 2", "row 4"]
    (tmp_path / "t.csv").write_bytes((tmp_path / "t.xlsx").read_bytes())
    assert read_table(tmp_path / "t.csv").records == found.records  # what it is, not what it is called


def test_a_workbook_that_says_too_little_is_refused(tmp_path):
    def refused(*rows, **more):
        with pytest.raises(DataError) as error:
            read_table(workbook(tmp_path / "t.xlsx", *rows, **more))
        return str(error.value)

    head = ["case_id", "x"]
    assert "row 3" in refused(head, ["a", 1], ["b", 1, 2]) and "no heading" in refused(head, ["a", 1], ["b", 1, 2])
    assert "row 1" in refused(["x", "x"], [1, 2])
    assert "row 2" in refused(head, ["a", "=1/3"]) and "formula" in refused(head, ["a", "=1/3"])
    assert "fifteen" in refused(head, [12345678901234567, 1])
    assert "empty" in refused()
    for content, said in ((b"\xd0\xcf\x11\xe0" + bytes(600), "save it as .xlsx"), (b"PK\x03\x04" + bytes(99), "Excel")):
        (tmp_path / "t.xlsx").write_bytes(content)
        with pytest.raises(DataError, match=said):
            read_table(tmp_path / "t.xlsx")


def test_several_sheets_are_said(tmp_path):
    book = openpyxl.Workbook()
    book.create_sheet("scores").append(["case_id", "x"])
    book["scores"].append(["a", 1])
    book.create_sheet("more").append(["other"])
    book.save(tmp_path / "t.xlsx")
    found = read_table(tmp_path / "t.xlsx")
    assert found.records == [{"case_id": "a", "x": "1"}] and "'scores'" in found.notes[0]
