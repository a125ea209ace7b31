"""Data cards: what a data set is, and how its files become cases. One YAML each; the loader reads nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from medvfm.core import yaml_source
from medvfm.core.errors import DataCardError, RecipeError, nearest
from medvfm.core.image import UNITS
from medvfm.core.layout import CardSection, Lax, Layout, Names, Number, OptionValue, Scalar

Checked = Literal["verified", "unverified"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Licence(CardSection):
    name: str
    url: str | None = None


class Verified(CardSection):
    """What was confirmed in a source, and what is from memory."""

    licence: Checked = "unverified"
    layout: Checked = "unverified"
    counts: Checked = "unverified"


class Download(CardSection):
    """A file of an open data set; credentialed ones have `instructions` on the card instead."""

    url: str = Field(pattern=r"^https://")
    file: str = Field(description="its name below the data's root")
    sha256: Sha256 | None = None
    md5: str | None = Field(None, pattern=r"^[0-9a-f]{32}$", description="where the publisher gives no sha256")
    unpack: bool = Field(False, description="an archive, unpacked below the root")
    layout: str | None = Field(None, description="the layout that needs it; null: all")


class Code(CardSection):
    """A coded concept: value, scheme and meaning, as DICOM SEG needs them."""

    value: str
    scheme: str = "SCT"
    meaning: str


class Label(CardSection):
    """A value of a label map."""

    name: str
    category: Code | None = Field(None, description="segmented property category, for DICOM SEG")
    type: Code | None = Field(None, description="segmented property type, for DICOM SEG")


class Masks(CardSection):
    """What the files of masks hold."""

    kind: Literal["labels", "instances", "grey"] = Field(
        "labels",
        description="labels: whole numbers that `labels` names, or an RTSTRUCT with structures of these names. "
        "instances: 0, and a number for each object, or a folder with one picture an object. "
        "grey: a picture (PNG or JPEG) whose bright pixels are label 1",
    )
    above: Number = Field(127, description="for grey: pixels above this are label 1")


class Counts(CardSection):
    """What a complete copy holds."""

    cases: int | None = Field(None, ge=1)
    patients: int | None = Field(None, ge=1)


class OfOption(CardSection):
    """What is true of a generated data set only where one of its options is set."""

    truth: str | None = None
    known_flaws: Names = ()


class Generator(CardSection):
    """A data set that is made, not collected."""

    name: str
    options: dict[str, OptionValue] = Field(default_factory=dict, description="each with its default")
    said_of: dict[str, OfOption] = Field(
        default_factory=dict, description="option to what truth and known_flaws say besides where it is set (not 0)"
    )


class DataCard(CardSection):
    """A data set: the statement that a reader needs, and the layouts that the loader needs."""

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    title: str
    version: str = "1"
    statement: str | None = Field(None, description="what it is, in two or three sentences")
    licence: Licence | None = None
    access: Literal["open", "registered", "credentialed", "generated", "local"] = "local"
    citation: str | None = None
    links: Names = ()
    modality: Names = Field((), description="DICOM's letters: CT, MR, CR, DX, US, SM, XC, OP, ...")
    population: str | None = None
    simulated: bool = False
    truth: str | dict[str, str] | None = Field(None, description="how it was made; per split or class where it differs")
    known_flaws: Names = ()
    confounders: Names = ()
    intended_use: str | None = None
    out_of_scope: str | None = None
    verified: Verified = Verified()
    patients: str = Field(
        "known",
        description="known; none; or what stands in for a patient (lesion, image, slide) and is kept together",
    )
    ids: Literal["hidden", "safe"] = Field(
        "hidden",
        description="safe: a case_id says nothing about a person, and stands in a run as it is; hidden: a keyed hash "
        "stands in its place",
    )
    outside: str | None = Field(
        None,
        description="a column of `groups` that says yes (or 1, true) of cases that no question of this card is about, "
        "such as other organs: they stay out of every split, and show how well a model notices what it does not know",
    )
    split_leaks: str | None = Field(
        None,
        description="why the published split of the card is leaky, where it is: `split.from=card` then runs, with this "
        "as a warning, for comparison with published numbers",
    )
    uncertain: Literal["ignore", "zero", "one", "soft"] = Field("ignore", description="what an uncertain label becomes")
    labels: dict[Annotated[int, Lax], Label] = Field(
        default_factory=dict, description="value of the label maps to name"
    )
    masks: Masks = Masks()
    windows: dict[str, Annotated[tuple[Number, Number], Lax]] = Field(
        default_factory=dict, description="organ to [low, high] in the image's unit"
    )
    reading: dict[Literal["channel", "time", "page", "volume", "unit"], Scalar] = Field(
        default_factory=dict,
        description="how image files are read: which channel, time or page; which volume of a DICOM series with "
        "several, by its label or number; the unit: HU of a CT's NIfTI, SUV to compute it from a PET's header",
    )
    counts: dict[str, Counts] = Field(default_factory=dict, description="per split or layout, or `all`")
    checksums: dict[str, Sha256] = Field(default_factory=dict, description="file below the root to its sha256")
    download: Annotated[tuple[Download, ...], Lax] = ()
    instructions: str | None = Field(None, description="how to get the data where a download cannot")
    generator: Generator | None = None
    layouts: Annotated[tuple[Layout, ...], Field(strict=False, min_length=1)]

    @model_validator(mode="after")
    def _consistent(self) -> DataCard:
        names = [layout.name for layout in self.layouts]
        if len(set(names)) != len(names):
            raise ValueError("two layouts have the same name")
        if (self.access == "generated") != (self.generator is not None):
            raise ValueError("access generated and a generator go together")
        called = [label.name for label in self.labels.values()]
        if len(set(called)) != len(called) or 0 in self.labels:
            raise ValueError("labels need names of their own, and 0 is the background")
        _check_reading(self.reading)
        if self.outside is not None and self.outside not in self.group_columns():
            known = nearest(self.outside, self.group_columns())
            raise ValueError(f"outside names no column of groups: {self.outside!r}; {known}")
        for organ, (low, high) in self.windows.items():
            if low >= high:
                raise ValueError(f"the window {organ} must go from a lower to a higher value")
        return self

    def options_with(self, given: Mapping[str, OptionValue], where: str | None = None) -> dict[str, OptionValue]:
        """The generator's options with the recipe's laid over them; refuses those that the card does not declare."""
        known = dict(self.generator.options) if self.generator else {}
        for key, value in given.items():
            if key not in known:
                raise RecipeError(f"the card {self.name} has no option {key!r}; {nearest(key, known)}", where=where)
            wanted = known[key]
            if wanted is not None and not _is_like(value, wanted):
                kind = f"list of {len(wanted)} numbers" if isinstance(wanted, tuple) else type(wanted).__name__
                shown = list(value) if isinstance(value, tuple) else value
                raise RecipeError(f"the option {key!r} is a {kind}, not {shown!r}", where=where)
        laid = {**known, **given}
        return {key: tuple(value) if isinstance(value, list) else value for key, value in laid.items()}

    def told(self, options: Mapping[str, OptionValue]) -> DataCard:
        """The card as it reads for these options of its generator."""
        if self.generator is None:
            return self
        laid = {**self.generator.options, **options}
        more = [said for name, said in self.generator.said_of.items() if laid.get(name)]
        truth = self.truth
        if isinstance(truth, str) or truth is None:
            truth = " ".join(part for part in (truth, *(said.truth for said in more)) if part) or None
        flaws = (*self.known_flaws, *(flaw for said in more for flaw in said.known_flaws))
        return self.model_copy(update={"truth": truth, "known_flaws": flaws})

    def as_data(self) -> dict[str, Any]:
        """Plain data with every default, as a finished run carries it."""
        return self.model_dump(mode="json", by_alias=True)

    def group_columns(self) -> set[str]:
        """Columns that any layout offers for subgroups."""
        return {name for layout in self.layouts for name in layout.groups}

    def synonyms(self) -> dict[str, tuple[str, ...]]:
        """Class to what it is called in words, of the classes that say so."""
        found = {}
        for layout in self.layouts:
            for name, how in layout.classes.items():
                if not isinstance(how, str) and how.synonyms:
                    found[name] = how.synonyms
        return found

    def class_names(self) -> set[str]:
        """Classes that any layout offers; names of labels and of structures with a mask of their own too."""
        found = {name for layout in self.layouts for name in (*layout.classes, *layout.masks)} - {"mask"}
        return found | {label.name for label in self.labels.values()}


def _is_like(value: object, wanted: OptionValue) -> bool:
    """Whether a value is of the type of an option's default; a list of as many numbers, where that is a tuple."""
    if not isinstance(wanted, tuple):
        return isinstance(value, type(wanted)) and isinstance(value, bool) == isinstance(wanted, bool)
    if not isinstance(value, tuple | list) or len(value) != len(wanted):
        return False
    return all(isinstance(number, int | float) and not isinstance(number, bool) for number in value)


def _check_reading(reading: Mapping[Any, Scalar]) -> None:
    for key, value in reading.items():
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if key == "unit" and value not in UNITS:
            raise ValueError(f"no unit {value!r}; {nearest(value, UNITS)}")
        if key == "channel" and not is_number and value != "all":
            raise ValueError(f"reading.channel is a number from 0 on, or all, not {value!r}")
        if key in ("time", "page") and not is_number:
            raise ValueError(f"reading.{key} is a number from 0 on, not {value!r}")
        if key == "volume" and not is_number and not isinstance(value, str):
            raise ValueError(f"reading.volume is a label or a number from 1 on, not {value!r}")


def load_card(path: str | Path) -> DataCard:
    """Read a card; a fault is named with file, line and key."""
    return yaml_source.validated(yaml_source.read(Path(path), DataCardError), DataCard, DataCardError)


def json_schema() -> dict[str, Any]:
    """For editors: `medvfm schema card`."""
    return DataCard.model_json_schema(by_alias=True)
