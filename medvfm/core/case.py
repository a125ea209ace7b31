"""A case: one row of the cases table, with its images, truth, text and groups."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from medvfm.core.errors import DataError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Case:
    """A row of the cases table. It names files; nothing is read until an adapter prepares it.

    images   role (`image`, `t1`, `prior`, `lateral`, ...) to its files: one file, one DICOM series folder, or several
    targets  class to 0 or 1 (or between, where the card's policy makes uncertain labels soft); NaN is unknown
    masks    `mask`, or one entry a class for multi-label masks: its files on the grid of the image, one or several
             that are united
    groups   columns that subgroups and attribute baselines use (sex, age, scanner, ...)
    turns    questions and answers of a conversation before its last question, which is `question`
    stem     what the names of its files in a run begin with: no two cases of a run have the same
    """

    case_id: str
    patient_id: str | None
    images: Mapping[str, tuple[Path, ...]]
    targets: Mapping[str, float] = field(default_factory=dict)
    masks: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    text: str | None = None
    question: str | None = None
    answer: str | None = None
    question_type: str | None = None
    image_id: str | None = None
    study_id: str | None = None
    study_date: str | None = None
    laterality: str | None = None
    split: str | None = None
    groups: Mapping[str, str | float] = field(default_factory=dict)
    turns: tuple[tuple[str, str], ...] = ()
    stem: str = ""

    @property
    def files(self) -> tuple[Path, ...]:
        """Every image file or folder of the case, roles in order."""
        return tuple(path for role in sorted(self.images) for path in self.images[role])

    @property
    def owner(self) -> str:
        """Who must not be split: the patient; where the card has no patients the image, of which several questions are
        cases, or the case itself."""
        return next(name for name in (self.patient_id, self.image_id, self.case_id) if name is not None)

    @property
    def names(self) -> tuple[str, ...]:
        """What a table or a folder beside the images may call the case: its id, the stem of its files, its paths."""
        return tuple(dict.fromkeys([self.case_id, *([self.stem] if self.stem else []), *map(str, self.files)]))

    def unit_key(self, unit: str) -> str:
        """The exam, side or patient that this case belongs to, at the level `unit`."""
        exam = self.study_id or self.owner
        keys = {"image": self.case_id, "patient": self.owner, "exam": f"{self.owner}|{exam}"}
        keys["side"] = f"{keys['exam']}|{self.laterality}"
        return keys[unit]

    def target(self, name: str) -> float:
        """0, 1, soft, or NaN where the label is unknown."""
        return float(self.targets.get(name, math.nan))


def refuse_doubled_ids(cases: Iterable[Case]) -> None:
    """A case_id names one case."""
    seen: set[str] = set()
    doubled = sorted({c.case_id for c in cases if c.case_id in seen or seen.add(c.case_id)})  # type: ignore[func-returns-value]
    if doubled:
        raise DataError(f"{len(doubled)} case_id occur more than once: {', '.join(doubled[:5])}")
