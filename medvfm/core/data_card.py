"""Data cards: what a data set is, and how its files become cases. One YAML each; the loader reads nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from medvfm.core import yaml_source
from medvfm.core.errors import DataCardError, RecipeError, nearest

Lax = Field(strict=False)
Names = Annotated[tuple[str, ...], Lax]
Number = Annotated[float, Field(allow_inf_nan=False)]
Scalar = str | int | float | bool | None
Checked = Literal["verified", "unverified"]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)


class Licence(Section):
    name: str
    url: str | None = None


class Verified(Section):
    """What was confirmed in a source, and what is from memory."""

    licence: Checked = "unverified"
    layout: Checked = "unverified"
    counts: Checked = "unverified"


class Download(Section):
    """A file of an open data set; credentialed ones have `instructions` on the card instead."""

    url: str = Field(pattern=r"^https://")
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    file: str
    unpack: bool = False


class Code(Section):
    """A coded concept: value, scheme and meaning, as DICOM SEG needs them."""

    value: str
    scheme: str = "SCT"
    meaning: str


class Label(Section):
    """A value of a label map."""

    name: str
    category: Code | None = None
    type: Code | None = None


class Class(Section):
    """How a class is read from a row.

    `column` with `positive`, `negative` and `uncertain` values, or `contains`: a column that lists several findings
    (separated by `separator`), where the class is positive if its name is among them. Any other value is unknown.
    """

    column: str
    positive: Annotated[tuple[Scalar, ...], Lax] = (1, "1", "1.0", True)
    negative: Annotated[tuple[Scalar, ...], Lax] = (0, "0", "0.0", False)
    uncertain: Annotated[tuple[Scalar, ...], Lax] = (-1, "-1", "-1.0")
    contains: str | None = None
    separator: str = "|"
    description: str | None = None


class Group(Section):
    """A column for subgroups and attribute baselines: `value` is a template; `map` renames; `bands` cut numbers."""

    value: str
    number: bool = False
    map: dict[str, str] = Field(default_factory=dict)
    bands: Annotated[tuple[Number, ...], Lax] = ()
    pattern: str | None = Field(None, description="a regular expression whose first group is the value")


class Join(Section):
    """A second table whose columns are added where the template `on` of the row equals its column `key`."""

    table: str
    key: str
    on: str


class Layout(Section):
    """One way in which the files lie, and how they become cases.

    Rows come from `table` (one file, or split to file), or from `files`, a path pattern whose {fields} match one path
    part each: `images/{case_id}.nii.gz`. All other values are templates over a row's columns and fields:
    `images/{Image Index}`. `when` names paths that must exist for this layout to be the one.
    """

    name: str
    when: Names = ()
    table: str | dict[Literal["train", "val", "test", "all"], str] | None = None
    records: str | None = Field(None, description="in a JSON table, the key that holds the list of rows")
    files: str | None = None
    join: Annotated[tuple[Join, ...], Lax] = ()
    keep: dict[str, Annotated[tuple[Scalar, ...], Lax]] = Field(
        default_factory=dict, description="rows with these values"
    )
    case_id: str = "{case_id}"
    patient_id: str = "{patient_id}"
    patient_pattern: str | None = Field(None, description="a regular expression; its first group is the patient")
    images: dict[str, str | Names] = {"image": "{image}"}
    masks: dict[str, str] = Field(default_factory=dict)
    split: str | None = None
    splits: dict[str, Literal["train", "val", "test"]] = Field(default_factory=dict, description="their names for ours")
    study_id: str | None = None
    study_date: str | None = None
    laterality: str | None = None
    text: str | None = None
    question: str | None = None
    answer: str | None = None
    question_type: str | None = None
    image_id: str | None = None
    groups: dict[str, str | Group] = Field(default_factory=dict)
    classes: dict[str, str | Class] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_source(self) -> Layout:
        if (self.table is None) == (self.files is None):
            raise ValueError("a layout has either a table or a pattern of files")
        return self


class Counts(Section):
    """What a complete copy holds."""

    cases: int | None = None
    patients: int | None = None


class Generator(Section):
    """A data set that is made, not collected."""

    name: str
    options: dict[str, Scalar] = Field(default_factory=dict, description="each with its default")


class DataCard(Section):
    """A data set: the statement that a reader needs, and the layouts that the loader needs."""

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    title: str
    version: str
    statement: str = Field(description="what it is, in two or three sentences")
    licence: Licence
    access: Literal["open", "registered", "credentialed", "generated", "local"]
    citation: str | None = None
    links: Names = ()
    modality: Names = ()
    population: str | None = None
    simulated: bool = False
    truth: str | dict[str, str] = Field(description="how the truth was made; per split where it differs")
    known_flaws: Names = ()
    confounders: Names = ()
    intended_use: str | None = None
    out_of_scope: str | None = None
    verified: Verified = Verified()
    patients: Literal["known", "none"] = "known"
    uncertain: Literal["ignore", "zero", "one", "soft"] = "ignore"
    labels: dict[Annotated[int, Lax], Label] = Field(default_factory=dict)
    windows: dict[str, Annotated[tuple[Number, Number], Lax]] = Field(default_factory=dict)
    reading: dict[str, Any] = Field(
        default_factory=dict, description="channel, time, page, unit: as io.read takes them"
    )
    spacing_from: Literal["file", "none"] = "file"
    counts: dict[str, Counts] = Field(default_factory=dict, description="per split, or `all`")
    download: Annotated[tuple[Download, ...], Lax] = ()
    instructions: str | None = None
    generator: Generator | None = None
    layouts: Annotated[tuple[Layout, ...], Lax] = Field(min_length=1)

    def options_with(self, given: Mapping[str, Scalar], where: str | None = None) -> dict[str, Scalar]:
        """The generator's options with the recipe's laid over them; refuses those that the card does not declare."""
        known = dict(self.generator.options) if self.generator else {}
        for key, value in given.items():
            if key not in known:
                raise RecipeError(f"the card {self.name} has no option {key!r}; {nearest(key, known)}", where=where)
            wanted = type(known[key])
            if known[key] is not None and not (
                isinstance(value, wanted) and isinstance(value, bool) == (wanted is bool)
            ):
                raise RecipeError(f"the option {key!r} is a {wanted.__name__}, not {value!r}", where=where)
        return {**known, **given}

    def group_columns(self) -> set[str]:
        """Columns that any layout offers for subgroups."""
        return {name for layout in self.layouts for name in layout.groups}

    def class_names(self) -> set[str]:
        """Classes that any layout offers; label names too."""
        return {name for layout in self.layouts for name in layout.classes} | {v.name for v in self.labels.values()}


def load_card(path: str | Path) -> DataCard:
    """Read a card; a fault is named with file, line and key."""
    return yaml_source.validated(yaml_source.read(Path(path), DataCardError), DataCard, DataCardError)


def json_schema() -> dict[str, Any]:
    """For editors: `medvfm schema card`."""
    return DataCard.model_json_schema(by_alias=True)


def fields_of(template: str) -> list[str]:
    """The column names in a template's braces."""
    return [name for _, name, _, _ in Formatter().parse(template) if name]
