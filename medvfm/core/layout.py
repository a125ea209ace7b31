"""Layouts: the part of a data card that says how files become cases.

A layout takes rows from a `table`, from a pattern of `files` or from `arrays`; each row is a set of named fields.
`join` adds fields from another table or from a small file of each case, `extract` cuts fields out of others by a
regular expression. Everything else is a template over those fields, as `images/{Image Index}`, and a field that a table
has under our own name (case_id, patient_id, image, mask, text, question, answer, ...) needs no mention at all.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Lax = Field(strict=False)
Names = Annotated[tuple[str, ...], Lax]
Number = Annotated[float, Field(allow_inf_nan=False)]
Scalar = str | int | float | bool | None
Values = Annotated[tuple[Scalar, ...], Lax]
OptionValue = Scalar | Annotated[tuple[Number, ...], Lax]  # of a generated data set: a word, a number, several numbers
SplitName = Literal["train", "val", "test"]

_FIELD = re.compile(r"\{([^{}:]+)(?::([^{}]*))?\}")


def fields_of(template: str) -> list[str]:
    """The names in a template's braces."""
    return [match.group(1) for match in _FIELD.finditer(template)]


def pieces_of(template: str) -> list[tuple[str, str | None, str | None]]:
    """(text before, field, its regular expression) in order; the last piece has no field. For patterns of files."""
    found, at = [], 0
    for match in _FIELD.finditer(template):
        found.append((template[at : match.start()], match.group(1), match.group(2)))
        at = match.end()
    return [*found, (template[at:], None, None)]


def _template(text: str) -> str:
    left = _FIELD.sub("", text)
    if "{" in left or "}" in left:
        raise ValueError("a brace without its partner; write fields as {name}")
    return text


def _named(value: Any) -> Any:
    """`[sex, site]` for `{sex: "{sex}", site: "{site}"}`."""
    return (
        {v: f"{{{v}}}" for v in value} if isinstance(value, list) and all(isinstance(v, str) for v in value) else value
    )


def _columns(value: Any) -> Any:
    """`[lesion]` for `{lesion: lesion}`."""
    return {v: v for v in value} if isinstance(value, list) and all(isinstance(v, str) for v in value) else value


Template = Annotated[str, BeforeValidator(lambda v: _template(v) if isinstance(v, str) else v)]
SHORT = "; a list of names where fields and ours are called the same"


class CardSection(BaseModel):
    """A part of the card: frozen, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)


class Class(CardSection):
    """How a class is read from a field: by its value, or by what it lists.

    Values are compared as text, so that 1, 1.0 and "1" are the same. An empty field is unknown unless it is listed.
    """

    column: str = Field(description="the field that holds it")
    positive: Values = (1, "True", "true", "TRUE")
    negative: Values = (0, "False", "false", "FALSE")
    uncertain: Values = Field((-1,), description="what the card's `uncertain` policy is for")
    other: Literal["refuse", "negative", "positive", "unknown"] = Field("refuse", description="any other value")
    contains: str | Names | None = Field(None, description="positive if any of these is among the listed findings")
    separator: str = Field("|", description="between listed findings")
    description: str | None = None
    synonyms: Names = Field((), description="what it is called where a model is asked in words")


class Group(CardSection):
    """A column for subgroups and attribute baselines."""

    value: Template
    number: bool = Field(False, description="a number, such as an age, and not a name")
    map: dict[str, str] = Field(default_factory=dict, description="values, or bands, to better names")
    bands: Annotated[tuple[Number, ...], Lax] = Field((), description="cuts that make bands of numbers")


class Join(CardSection):
    """Fields from a second table (`table`, `key`, `on`), or from a small file of each case (`file`).

    Files: .xml (fields are paths of tags, `object/name`, with [Label] for a Label attribute and @x for attribute x;
    several of the same are separated by `|`), .json, .txt (the field `text`), .cfg (lines of `Key: value`).
    """

    table: str | None = None
    key: str | Names | None = Field(None, description="column of that table, or several, any of which may match")
    on: Template | None = Field(None, description="template over the row that must equal the key")
    columns: Names = Field((), description="names of the columns, where the table has no header")
    delimiter: str | None = Field(None, description="of the table; null: found among comma, semicolon and tab")
    file: Template | None = None
    required: bool = Field(False, description="rows without an entry are left out; else the joined fields are empty")

    @model_validator(mode="after")
    def _one_source(self) -> Join:
        if (self.table is None) == (self.file is None):
            raise ValueError("a join has either a table or a file")
        if self.table is not None and (self.key is None or self.on is None):
            raise ValueError("a join with a table needs key and on")
        return self


class Extract(CardSection):
    """Fields cut out of others: each named group of `pattern`, searched in `value`, becomes a field.

    A row in which the pattern is not found is left out and counted.
    """

    value: Template
    pattern: str

    @model_validator(mode="after")
    def _groups(self) -> Extract:
        try:
            names = re.compile(self.pattern).groupindex
        except re.error as broken:
            raise ValueError(f"not a regular expression: {broken}") from None
        if not names:
            raise ValueError("the pattern needs named groups, as in (?P<patient>[0-9]+)")
        return self


class Arrays(CardSection):
    """Images as arrays in an .npz or HDF5 file: written out once, as PNG (2D) or NIfTI (3D), in the cache.

    Each row has case_id (`train_000001`), split, image and label; or label_0, label_1, ... where there are several.
    `{split}` stands for the split's name, in names of files and of arrays.
    """

    file: str
    images: str = Field("{split}_images", description="name of the array (n, height, width[, 3]) or (n, d, h, w)")
    labels: str = Field("{split}_labels", description="name of the array (n,) or (n, classes)")
    labels_file: str | None = Field(None, description="the file of the labels; null: that of the images")
    splits: Annotated[tuple[SplitName, ...], Lax] = ("train", "val", "test")
    names: dict[SplitName, str] = Field(default_factory=dict, description="our names of the splits to theirs")


class RunLengths(CardSection):
    """Masks that a column of a table holds as text: start and length of each run of pixels, by turns.

    Each is written out once, as a PNG in the cache, whose path becomes the field `mask`. An empty cell is no mask.
    """

    column: str
    size_px: Annotated[tuple[int, int], Field(strict=False, description="(height, width) of the pictures")]
    order: Literal["down", "across"] = Field("down", description="columns or rows one after the other")
    start: Literal["absolute", "relative"] = Field(
        "absolute", description="absolute: counted from 1; relative: from the end of the run before, the first from 0"
    )
    nothing: Values = Field((), description="values of a picture on which there is nothing: its mask is empty")


class Layout(CardSection):
    """One way in which the files lie, and how they become cases."""

    name: str = "table"
    when: Names = Field((), description="paths or globs that must exist for this layout to be the one")
    table: str | dict[SplitName, str] | None = Field(
        None,
        description="CSV, TSV, Excel (.xlsx), Parquet or JSON, text packed with gzip or not; a glob for a table in "
        "parts; one a split where they come apart. The field `row` counts the rows of a table",
    )
    delimiter: str | None = Field(None, description="of the table; null: found among comma, semicolon and tab")
    columns: Names = Field((), description="names of the columns, where the table has no header")
    records: str | None = Field(None, description="in a JSON table, the key that holds the list of rows")
    embedded: str | None = Field(None, description="a Parquet column that holds image files, {bytes, path}")
    files: str | None = Field(
        None,
        description="a pattern of paths: {field} matches within one part of a path, {field:[0-9]+} what the expression "
        "allows, * anything; each path found is a row, its own name in the field `path`",
    )
    arrays: Arrays | None = None
    join: Annotated[tuple[Join, ...], Lax] = ()
    extract: Annotated[tuple[Extract, ...], Lax] = ()
    keep: dict[str, Values] = Field(default_factory=dict, description="field to the values whose rows are cases")
    repeated: Literal["refuse", "any", "majority"] = Field(
        "refuse",
        description="several rows with one case_id: any: a class is positive if it is so in one of them; majority: "
        "in more than half, and a tie is uncertain; texts stand one after the other",
    )
    case_id: Template = "{case_id}"
    patient_id: Template = Field("{patient_id}", description="also what stands in for a patient; see `patients`")
    images: Annotated[dict[str, Template | Names], BeforeValidator(_named)] = Field(
        {"image": "{image}"},
        description="role to its file, its DICOM folder, or several; a glob must match one; {} for cases of text alone"
        + SHORT,
    )
    masks: Annotated[dict[str, Template], BeforeValidator(_named)] = Field(
        default_factory=dict,
        description="`mask`, or the name of each structure that has a file of its own; where the card's masks are "
        "`grey`, a glob may match several, which are united" + SHORT,
    )
    run_lengths: RunLengths | None = None
    split: Template | None = None
    splits: dict[str, SplitName] = Field(default_factory=dict, description="their names of the splits to ours")
    split_lists: dict[SplitName, str] = Field(
        default_factory=dict, description="text files that list cases, one a line"
    )
    split_key: Template | None = Field(None, description="what is listed there; null: the case_id")
    study_id: Template | None = None
    study_date: Template | None = None
    laterality: Template | None = Field(None, description="L or R; left and right are understood")
    text: Template | None = None
    question: Template | None = None
    answer: Template | None = None
    question_type: Template | None = None
    turns: Template | None = Field(
        None,
        description="a field with a conversation, as LLaVA's JSON and ShareGPT have it, {from, value} or {role, "
        "content}: its last question and answer are those of the case, what was said before is shown with it",
    )
    image_id: Template | None = Field(None, description="what the questions on one image share")
    groups: Annotated[dict[str, Template | Group], BeforeValidator(_named)] = Field(
        default_factory=dict, description="columns for subgroups" + SHORT
    )
    classes: Annotated[dict[str, str | Class], BeforeValidator(_columns)] = Field(
        default_factory=dict, description="class to its field, or how it is read from one" + SHORT
    )

    @model_validator(mode="after")
    def _consistent(self) -> Layout:
        if sum(source is not None for source in (self.table, self.files, self.arrays)) != 1:
            raise ValueError("a layout has either a table, a pattern of files, or arrays")
        if self.table is None and (self.records or self.columns or self.delimiter or self.embedded):
            raise ValueError("records, columns, delimiter and embedded belong to a table")
        if self.run_lengths and (self.table is None or "mask" in self.masks):
            raise ValueError("run_lengths belong to a table, and give the mask themselves")
        if self.files is not None:
            for _, name, expression in pieces_of(_template(self.files)):
                _compiles(expression or "", name)
        if self.split_lists and self.split:
            raise ValueError("split and split_lists exclude each other")
        return self


def _compiles(expression: str, name: str | None) -> None:
    try:
        re.compile(expression)
    except re.error as broken:
        raise ValueError(f"{{{name}}} holds no regular expression: {broken}") from None
