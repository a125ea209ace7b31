"""What `medvfm init` finds and what it is told, as records that its parts hand to each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medvfm.core.errors import DataError

NOBODY, EACH_FILE = "none", "file"
# (what is asked, what may be answered; any text where that is empty) to the answer; None where nobody can be asked
Ask = Callable[[str, Sequence[str]], str | None]


@dataclass(frozen=True)
class Told:
    """What the user said: the task, who is the patient (a column, `file`, `none`, or a regular expression with one
    group that finds the patient in a path), and the columns of labels, or the names of the values of masks."""

    task: str | None = None
    patient: str | None = None
    label: str | None = None


@dataclass(frozen=True)
class Files:
    """The files below a folder, as paths relative to it."""

    root: Path
    tables: tuple[str, ...]
    images: tuple[str, ...]
    series: tuple[str, ...]  # folders that hold DICOM files alone, each an image of its own
    passed_by: int
    within: tuple[str, ...] = ()  # the files of these folders, for tables that name them one by one


@dataclass(frozen=True)
class Column:
    """A column of a table: its distinct values in the order in which they come, and how often each does."""

    name: str
    counts: Mapping[str, int]
    empty: int

    @property
    def usable(self) -> bool:
        """Whether a template of a card can name it."""
        return bool(self.name) and not set(self.name) & set("{}:")


@dataclass(frozen=True)
class MaskPair:
    """How the file of a mask follows from that of its image: both patterns share the field {case}."""

    images: str
    masks: str
    examples: tuple[tuple[str, str], ...]  # (image, mask)
    lonely: int  # images without a mask


@dataclass
class Proposal:
    """What stands in the card's layout and in the recipe; `notes` are the comments above each key."""

    task: str
    source: tuple[str, str]  # (table or files, its name or pattern)
    image: str
    case_id: str
    patient: str  # a template, or `none`
    mask: str | None = None
    joins: list[tuple[str, str, str]] = field(default_factory=list)  # (table, its column, template that must equal it)
    extract: list[tuple[str, str]] = field(default_factory=list)
    classes: dict[str, dict[str, object]] = field(default_factory=dict)
    kind: str | None = None
    labels: dict[int, str] = field(default_factory=dict)
    masks_kind: str = "labels"
    groups: dict[str, tuple[str, bool]] = field(default_factory=dict)
    split: tuple[str, dict[str, str]] | None = None
    words: dict[str, str] = field(default_factory=dict)
    repeated: str | None = None
    size_px: int | None = None
    is_volume: bool = False
    notes: dict[str, list[str]] = field(default_factory=dict)

    def note(self, key: str, text: str) -> None:
        self.notes.setdefault(key, []).append(text)


def unclear(what: str, remedy: str, where: object = None) -> DataError:
    """What cannot be seen and nobody can be asked."""
    return DataError(what, where=where, remedy=remedy)
