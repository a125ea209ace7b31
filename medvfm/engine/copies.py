"""The pixels of cases that look like a case of somebody else, so that copies in two splits are found in any format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medvfm.core.case import Case
from medvfm.engine import loading
from medvfm.engine.context import RunContext
from medvfm.io.dataset import leakage
from medvfm.io.read import read_image


@dataclass(frozen=True)
class _PixelKeys:
    """`leakage.pixel_key` of every image of a case; see core.protocols.Preparer."""

    read: Mapping[Any, Any]

    def key(self) -> str:
        return "pixels"

    def files(self, case: Case) -> Sequence[Path]:
        return case.files

    def __call__(self, case: Case) -> list[str]:
        return [leakage.pixel_key(read_image(path, **self.read).voxels) for path in case.files]


def pixels(cases: Sequence[Case], learner: Any, around: RunContext) -> leakage.Pixels:
    """case_id to the pixel keys of those of the learner's `cases` that may be a copy of another patient's case.

    Copies look the same once they are prepared for the model. Cases that do are decoded once more, in full.
    """
    alike: dict[str, list[Case]] = {}
    for case, mark in zip(cases, learner.marks(around), strict=True):
        if mark is not None:
            alike.setdefault(mark, []).append(case)
    doubtful = [case for group in alike.values() if len({c.owner for c in group}) > 1 for case in group]
    preparer = learner.adapter.preparer
    reader = _PixelKeys({**preparer.read, "nan": preparer.prepare.invalid})
    found = loading.prepared(doubtful, reader, around.workers, strict=False)
    return {case.case_id: keys for case, keys in zip(doubtful, found, strict=True) if not isinstance(keys, str)}
