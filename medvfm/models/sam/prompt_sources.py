"""Sources of the prompts of a slice: the truth, a table of boxes or points, masks of another model, a detector."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from scipy import ndimage

from medvfm.core.capabilities import Shown
from medvfm.core.case import Case
from medvfm.core.errors import DataError
from medvfm.core.item import Item
from medvfm.core.plurals import plural, some
from medvfm.io.dataset.prompt_masks import PromptMasks
from medvfm.io.dataset.table_files import read_table
from medvfm.nn import prompts
from medvfm.nn.prompts import Prompts

Kind = Literal["box", "point", "points", "mask"]
_NUMBERS = ("slice", "x0", "y0", "x1", "y1", "x", "y", "positive")  # columns of a table of prompts


@dataclass(frozen=True, eq=False)
class ObjectPrompt:
    """The prompt of one object in a slice.

    value   the structure's value (1 for the first class), or the object's number
    box_px  (4,) x0, y0, x1, y1; None without a box
    points  (P, 3) x, y and label (1 on the object, 0 off it)
    mask    (H, W) of bool, a mask as the prompt
    truth   (H, W) of bool, for corrective clicks; None where no truth is used
    """

    value: int
    box_px: np.ndarray | None = None
    points: np.ndarray | None = None
    mask: np.ndarray | None = None
    truth: np.ndarray | None = None


class PromptSource(Protocol):
    """`oracle` describes what the prompts take from the truth, in words; None where they take nothing."""

    @property
    def oracle(self) -> str | None: ...

    def objects(self, item: Item, s: int) -> list[ObjectPrompt]:
        """The prompts of all objects in slice `s`."""
        ...


class GivenPrompts(PromptSource, Protocol):
    """Prompts of a file or a folder, which may fit the cases or not."""

    def check(self, asked: Sequence[Case], known: Sequence[Case], shown: Shown) -> list[str]:
        """See core.capabilities.PromptedAdapter."""
        ...

    def remarks(self, shown: Shown) -> list[str]: ...


def as_prompts(objects: Sequence[ObjectPrompt], size_px: tuple[int, int]) -> Prompts:
    """The prompts of objects in one picture, batched; the picture is the batch's first."""
    count = len(objects)
    boxes = np.full((count, 4), math.nan, np.float32)
    longest = max((len(a.points) for a in objects if a.points is not None), default=0)
    points, labels = np.zeros((count, longest, 2), np.float32), np.full((count, longest), prompts.NO_POINT, np.int64)
    for row, one in enumerate(objects):
        if one.box_px is not None:
            boxes[row] = one.box_px
        if one.points is not None:
            points[row, : len(one.points)], labels[row, : len(one.points)] = one.points[:, :2], one.points[:, 2]
    masks = None
    if any(a.mask is not None for a in objects):
        stack = np.stack([np.zeros(size_px, bool) if a.mask is None else a.mask for a in objects])
        masks = torch.from_numpy(np.where(stack, 10.0, -10.0).astype(np.float32))
    return Prompts(
        torch.zeros(count, dtype=torch.long),
        torch.from_numpy(boxes) if np.isfinite(boxes).any() else None,
        torch.from_numpy(points) if longest else None,
        torch.from_numpy(labels) if longest else None,
        masks,
    )


def structures(truth: np.ndarray, kind: str, per: str) -> list[tuple[int, np.ndarray]]:
    """(value, mask (H, W)) of every object in a slice of the truth: (H, W) whole numbers, or (T, H, W) of bool.

    per  `class`: all of a structure in a slice is one object; `component`: each connected part of it is
    """
    if truth.ndim == 3:
        found = [(i + 1, layer > 0) for i, layer in enumerate(truth) if layer.any()]
    else:
        found = [(int(v), truth == v) for v in np.unique(truth) if v > 0]
    if kind == "instances" or per == "class":
        return found
    parts = []
    for value, mask in found:
        labels, count = ndimage.label(mask)
        parts += [(value, labels == number) for number in range(1, count + 1)]
    return parts


def around(labels: np.ndarray, prompt: Kind, kind: str, per: str) -> list[ObjectPrompt]:
    """A prompt around, in or of every object in a slice of labels; see `structures`."""
    found = []
    for value, mask in structures(labels, kind, per):
        if prompt == "box":
            found.append(ObjectPrompt(value, box_px=prompts.box_of(mask)))
        elif prompt == "mask":
            found.append(ObjectPrompt(value, box_px=prompts.box_of(mask), mask=mask))
        else:
            point = np.array([[*prompts.centre_of(mask), prompts.POSITIVE]], np.float32)
            found.append(ObjectPrompt(value, points=point))
    return found


@dataclass(frozen=True)
class FromTruth:
    """Prompts that are derived from the truth: results are labelled as an oracle's.

    prompt      box, point (the centre of the object), points (the centre, then corrections), mask
    kind, per   as in `structures`
    extent      slice: a box for each slice; volume: one box for all slices that a structure lies in
    jitter_px   largest displacement of a side of a box, sampled uniformly
    """

    prompt: Kind
    kind: str
    per: str = "class"
    extent: str = "slice"
    jitter_px: float = 0.0
    clicks: int = 1
    seed: int = 0

    @property
    def oracle(self) -> str:
        what = {
            "box": "a box" if not self.jitter_px else f"a box off by up to {self.jitter_px:g} px",
            "point": "a click",
            "points": f"{self.clicks} clicks, each after the first a correction by the truth",
            "mask": "the mask itself",
        }[self.prompt]
        if self.prompt == "box" and self.extent == "volume":
            return f"oracle prompt: {what} a volume and structure"
        return (
            f"oracle prompt: {what} an object"
            if self.kind == "instances"
            else f"oracle prompt: {what} a slice and structure"
        )

    def objects(self, item: Item, s: int) -> list[ObjectPrompt]:
        if item.truth is None:
            raise DataError(f"prompts come from the truth, and {item.case_id} has none", remedy="adapter.prompts.from")
        truth = np.asarray(item.truth[..., s, :, :])
        rng = np.random.default_rng([self.seed, zlib.crc32(item.case_id.encode()), s])
        boxes = self._volume_boxes(item.truth) if self.extent == "volume" else {}
        found = []
        for value, mask in structures(truth, self.kind, self.per):
            one = ObjectPrompt(value, truth=mask)
            if self.prompt == "mask":
                one = replace(one, mask=mask, box_px=prompts.box_of(mask))
            elif self.prompt == "box":
                box = boxes.get(value, prompts.box_of(mask))
                assert box is not None  # structures are not empty
                jittered = prompts.jittered(box[None], (mask.shape[0], mask.shape[1]), rng, px=self.jitter_px)
                one = replace(one, box_px=jittered[0])
            else:
                one = replace(one, points=np.array([[*prompts.centre_of(mask), prompts.POSITIVE]], np.float32))
            found.append(one)
        return found

    def _volume_boxes(self, truth: np.ndarray) -> dict[int, np.ndarray]:
        """Value to the box (4,) around all of a structure, seen along the slices."""
        if truth.ndim == 4:
            flat = {t + 1: layer.any(0) for t, layer in enumerate(truth)}
        else:
            flat = {int(v): (truth == v).any(0) for v in np.unique(truth) if v > 0}
        return {value: box for value, mask in flat.items() if (box := prompts.box_of(mask)) is not None}


@dataclass(frozen=True, eq=False)
class FromTable:
    """Prompts from a table (CSV, Excel, Parquet or JSON), one row a box or a point.

    Columns: case_id; slice (from 0, in the order in which slices are shown; may be left out for 2D images); label (a
    class's name, or an object's number); x0, y0, x1, y1 or x, y in pixels of the slice, with an optional `positive` of
    0 for a point off the object. Points of one case, slice and label are one prompt. With resampling
    (prepare.spacing) pixels are those of the resampled slice.

    A prompt that lies outside of its image is refused; a box that reaches beyond it is cut at the border, and said.
    """

    rows: dict[tuple[str, int], list[ObjectPrompt]]
    name: str = "the table"
    oracle: str | None = None
    _cut: dict[str, None] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path, classes: Sequence[str], kind: str) -> FromTable:
        if not file.is_file():
            raise DataError("no such file of prompts", where=file.name, remedy="adapter.prompts.file")
        table = read_table(file, numbers=_NUMBERS)
        found: dict[tuple[str, int], list[ObjectPrompt]] = {}
        for number, row in enumerate(table.records):
            where = f"{file.name}, {table.place(number)}"
            s = _number(row.get("slice") or 0, "slice", where)
            if s < 0 or s != int(s):
                raise DataError(f"slice is {row['slice']!r}: slices are counted from 0", where=where)
            here = found.setdefault((str(_needed(row, "case_id", where)), int(s)), [])
            value = _value(row.get("label"), classes, kind, where)
            if row.get("x0") not in (None, ""):
                box = np.array([_number(row.get(c), c, where) for c in ("x0", "y0", "x1", "y1")], np.float32)
                if box[2] < box[0] or box[3] < box[1]:
                    raise DataError(f"a box with x1 < x0 or y1 < y0: {box.tolist()}", where=where)
                here.append(ObjectPrompt(value, box_px=box))
                continue
            label = prompts.NEGATIVE if str(row.get("positive", "1")) in ("0", "0.0", "False") else prompts.POSITIVE
            point = np.array([[_number(row.get(c), c, where) for c in ("x", "y")] + [label]], np.float32)
            before = next((a for a in here if a.value == value and a.points is not None), None)
            if before is None:
                here.append(ObjectPrompt(value, points=point))
            else:
                assert before.points is not None
                here[here.index(before)] = replace(before, points=np.concatenate([before.points, point]))
        return cls(found, file.name)

    def objects(self, item: Item, s: int) -> list[ObjectPrompt]:
        slices, height, width = (int(n) for n in item.pixels.shape[1:])
        called = self._called(item.case)
        beyond = [there for name, there in self.rows if name == called and there >= slices]
        if beyond:
            raise DataError(f"{self._of(item)} lies on slice {beyond[0]}, and its slices are 0 to {slices - 1}",
                            remedy=_COUNTED)  # fmt: skip
        return [self._inside(one, item, (width, height)) for one in self.rows.get((called or "", s), [])]

    def _called(self, case: Case) -> str | None:
        """What the table calls a case; None where it has no prompt."""
        return next((name for name in case.names if name in self._names), None)

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(name for name, _ in self.rows)

    def _of(self, item: Item) -> str:
        return f"a prompt of {item.case_id} in {self.name}"

    def _inside(self, one: ObjectPrompt, item: Item, size_px: tuple[int, int]) -> ObjectPrompt:
        """The prompt, its box cut at the border of the image (width, height)."""
        last = np.array(size_px, np.float32) - 1
        size = f"{size_px[0]} x {size_px[1]} pixels"
        if one.points is not None and ((one.points[:, :2] < -0.5) | (one.points[:, :2] > last + 0.5)).any():
            raise DataError(f"{self._of(item)} is a point outside of its image of {size}", remedy=_COUNTED)
        if one.box_px is None:
            return one
        if (one.box_px[:2] > last).any() or (one.box_px[2:] < 0).any():
            raise DataError(f"{self._of(item)} is a box outside of its image of {size}: {one.box_px.tolist()}",
                            remedy=_COUNTED)  # fmt: skip
        cut = one.box_px.clip(0, np.tile(last, 2))
        if np.abs(cut - one.box_px).max() > 1:  # a last column that is counted as the first one outside
            self._cut[item.case_id] = None
        return replace(one, box_px=cut)

    def check(self, asked: Sequence[Case], known: Sequence[Case], shown: Shown) -> list[str]:
        without = [shown(case.case_id) for case in asked if self._called(case) is None]
        strangers = sorted(map(shown, self._names.difference(*(case.names for case in known))))
        if asked and len(without) == len(asked):
            whose = f"it names {some(sorted(self._names))}, and asked for are {some([c.case_id for c in asked])}"
            remedy = "case_id in the table of prompts is that of the cases"
            raise DataError(f"no prompt in {self.name}: {whose}", remedy=remedy)
        found = [f"Prompts in {self.name} for no case: {some(strangers)}."]
        return found[: len(strangers)] + have_none(without, self.name)

    def remarks(self, shown: Shown) -> list[str]:
        if not self._cut:
            return []
        cut = some(sorted(map(shown, self._cut)))
        return [f"Boxes in {self.name} that reach beyond the image, cut at its border: {cut}."]


_COUNTED = "x counts columns and y rows from 0, slices from 0 in the order in which they are shown"


def have_none(case_ids: Sequence[str], where: str) -> list[str]:
    if not case_ids:
        return []
    have = "has" if len(case_ids) == 1 else "have"
    return [f"{plural(len(case_ids), 'case')} {have} no prompt in {where}, so that nothing is found: {some(case_ids)}."]


def _needed(row: dict[str, Any], name: str, where: str) -> Any:
    if row.get(name) in (None, ""):
        raise DataError(f"no {name}", where=where)
    return row[name]


def _number(value: Any, name: str, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{name} is {value!r}, not a number", where=where)
    return number


def _value(label: Any, classes: Sequence[str], kind: str, where: str) -> int:
    if kind == "instances":
        return int(_number(label, "label", where))
    if label in classes:
        return list(classes).index(label) + 1
    if label in (None, "") and len(classes) == 1:
        return 1
    raise DataError(f"label {label!r} is none of the classes {', '.join(classes)}", where=where)


@dataclass(frozen=True, eq=False)
class FromMasks:
    """Boxes or points from label maps of another model, in the space of the patient like every mask."""

    masks: PromptMasks
    prompt: Kind
    kind: str
    per: str = "class"
    oracle: str | None = None
    _empty: dict[str, None] = field(default_factory=dict)

    def objects(self, item: Item, s: int) -> list[ObjectPrompt]:
        return around(self._labels(item)[s], self.prompt, self.kind, self.per)

    def _labels(self, item: Item) -> np.ndarray:
        """(S, H, W) on the model's grid; the last case's are kept, since slices of a case come one after the other."""
        kept: tuple[str, np.ndarray] | None = self.__dict__.get("_kept")
        if kept is None or kept[0] != item.case_id:
            labels = self.masks.read(item.case, item.grid)
            if not labels.any():
                self._empty[item.case_id] = None
            kept = (item.case_id, item.grid.to_model(labels, linear=False))
            object.__setattr__(self, "_kept", kept)
        return kept[1]

    def check(self, asked: Sequence[Case], known: Sequence[Case], shown: Shown) -> list[str]:
        folder = self.masks.folder.name
        without = [case.case_id for case in asked if self.masks.file(case) is None]
        if without:
            what = f"{plural(len(without), 'case')} of {len(asked)} without a mask in {folder}: {some(without)}"
            raise DataError(
                what, remedy="each mask is named after its case, as in CASE_ID.nii.gz; an empty one will do"
            )
        strangers = sorted(map(shown, self.masks.strangers(known)))
        return [f"Masks in {folder} for no case: {some(strangers)}."] if strangers else []

    def remarks(self, shown: Shown) -> list[str]:
        return have_none(sorted(map(shown, self._empty)), f"the masks of {self.masks.folder.name}")


class DetectorPrompts(Protocol):
    def boxes(self, picture: np.ndarray) -> list[tuple[str, np.ndarray, float]]:
        """Name, box (4,) in pixels and score of each detection in a picture (C, H, W) in [0, 1]."""
        ...


@dataclass(frozen=True, eq=False)
class FromDetector:
    """Boxes of a detector. `names` maps its class names to structures; boxes of other names are ignored. Objects of the
    kind instances are numbered by descending score."""

    detector: DetectorPrompts
    names: dict[str, int]
    numbered: bool = False
    oracle: str | None = None

    def objects(self, item: Item, s: int) -> list[ObjectPrompt]:
        found = self.detector.boxes(np.asarray(item.pixels[:, s], np.float32))
        wanted = [(self.names[name], box) for name, box, _ in found if name in self.names]
        return [
            ObjectPrompt(number if self.numbered else value, box_px=box)
            for number, (value, box) in enumerate(wanted, 1)
        ]
