"""Everything about a data set that can be wrong before a model sees it: files, labels, geometry, counts, leakage."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medvfm.core.array import Array
from medvfm.core.case import SPLITS, Case
from medvfm.core.data_card import DataCard, Label, Masks
from medvfm.core.errors import MedvfmError
from medvfm.core.image import Image
from medvfm.core.plurals import plural
from medvfm.core.protocols import Reading
from medvfm.engine import case_reading
from medvfm.io.console import Console
from medvfm.io.dataset import contradictions, leakage
from medvfm.io.dataset.cases import CaseTable
from medvfm.io.dataset.safe_paths import Inside
from medvfm.io.dataset.truth_masks import MaskTruthReader
from medvfm.io.read import read_image
from medvfm.io.rendering import windowing as pictures

THUMB_PX = 24
LISTED = 20
DRAWN = 8  # structures with files of their own, on one picture


@dataclass(frozen=True)
class Look:
    """What one case turned out to be: shapes for the statistics, a thumbnail for likeness.

    structures  voxels of each structure that its masks hold; objects: how many, where each has a number
    pixels      a key of the decoded pixels of each image
    """

    shape_vox: tuple[int, int, int]
    spacing_mm: tuple[float, float, float] | None
    unit: str
    thumbnail: Array
    repairs: tuple[str, ...]
    structures: Mapping[str, int]
    objects: int | None
    pixels: tuple[str, ...]
    uids: tuple[str, ...]


@dataclass(frozen=True)
class Looker:
    """Reads a case's images and masks; runs in loader workers."""

    reading: Reading
    labels: Mapping[int, Label]
    masks: Masks

    def key(self) -> str:
        return "look"

    def files(self, case: Case) -> Sequence[Path]:
        return [*case.files, *(path for files in case.masks.values() for path in files)]

    def __call__(self, case: Case) -> Look:
        images = [read_image(path, **self.reading) for path in case.files]
        first = images[0]
        structures, objects = self._truth(case, first) if case.masks else ({}, None)
        return Look(
            first.shape_vox,
            first.spacing_mm,
            first.unit,
            _thumbnail(first),
            tuple(repair for image in images for repair in image.repairs),
            structures,
            objects,
            tuple(leakage.pixel_key(image.voxels) for image in images),
            tuple(sorted({uid for image in images for uid in _uids(image)})),
        )

    def outlined(self, case: Case, image: Image) -> tuple[Array | None, dict[int, str]]:
        """What may be drawn on a picture, with names: labels (i, j, k), or (i, j, k, T) booleans; None without masks.

        Objects have no names.
        """
        if not case.masks:
            return None, {}
        if self.masks.kind == "instances":
            return self._read((), "instances", case, image), {}
        if set(case.masks) == {"mask"}:
            kind, names = "semantic", tuple(label.name for label in self.labels.values()) or ("mask",)
        else:
            kind, names = "multi_label", tuple(sorted(set(case.masks) - {"mask"}))[:DRAWN]
        return self._read(names, kind, case, image), dict(enumerate(names, 1))

    def _truth(self, case: Case, image: Image) -> tuple[dict[str, int], int | None]:
        """Voxels of each structure, and the number of objects; refused where the masks are not as the card says."""
        if self.masks.kind == "instances":
            found = self._read((), "instances", case, image)
            return {}, len(np.unique(found[found > 0]))
        named = tuple(label.name for label in self.labels.values())
        if set(case.masks) == {"mask"}:
            names = named or ("mask",)
            counts = np.bincount(self._read(names, "semantic", case, image).ravel(), minlength=len(names) + 1)
            return dict(zip(names, counts[1:].tolist(), strict=True)), None
        names = tuple(sorted(set(case.masks) - {"mask"})) + (named if "mask" in case.masks else ())
        # one by one: structures with files of their own may overlap, and a hundred of a CT would fill the memory
        return {n: int(self._read((n,), "multi_label", case, image).sum()) for n in dict.fromkeys(names)}, None

    def _read(self, classes: tuple[str, ...], kind: str, case: Case, image: Image) -> Array:
        return MaskTruthReader(classes, kind, self.labels, self.masks)(case, image)


def _uids(image: Image) -> list[str]:
    """Of the study and the series that an image is of, as its header says."""
    stated = image.header.get("uids")
    return [uid for name, uid in stated.items() if name in ("study", "series")] if isinstance(stated, dict) else []


def _thumbnail(image: Image) -> Array:
    """The middle slice, averaged down and standardised: (THUMB_PX ** 2,)."""
    picture = pictures.slice_pictures(image, count=1)[0].mean(axis=0)
    rows = np.array_split(np.arange(picture.shape[0]), min(THUMB_PX, picture.shape[0]))
    columns = np.array_split(np.arange(picture.shape[1]), min(THUMB_PX, picture.shape[1]))
    small = np.array([[picture[np.ix_(r, c)].mean() for c in columns] for r in rows], dtype=np.float32)
    padded = np.zeros((THUMB_PX, THUMB_PX), np.float32)
    padded[: small.shape[0], : small.shape[1]] = small
    flat = padded.ravel() - padded.mean()
    return flat / (np.linalg.norm(flat) or 1.0)


@dataclass
class Findings:
    """errors stop (exit 2); warnings are for a person to judge. `looks` belongs to the readable cases, in order.

    Kept apart so that a page can be made that names nobody: left_out (case_id, reason), leaks and contradictions (name
    cases), copies and twins (case_id, case_id); faults and notes name no case.
    """

    left_out: list[tuple[str, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    copies: list[tuple[str, str]] = field(default_factory=list)
    twins: list[tuple[str, str]] = field(default_factory=list)
    contradictions: list[str] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)

    @property
    def errors(self) -> list[str]:
        return [f"{case_id}: {reason}" for case_id, reason in self.left_out] + self.faults + self.leaks

    @property
    def warnings(self) -> list[str]:
        alike = [f"{one} and {other} are more alike than images of different patients are" for one, other in self.twins]
        same = [f"{one} and {other} have the same pixels and different patients" for one, other in self.copies]
        return self.notes + self.contradictions + same[:LISTED] + alike[:LISTED]


def check(card: DataCard, table: CaseTable, console: Console, workers: int, root: Path | None = None) -> Findings:
    """Read every case and compare with what the card says; `root` is where the files lie whose checksums it has."""
    found = Findings(notes=list(table.warnings), left_out=list(table.left_out))
    looks = _looks(table.cases, Looker(card.reading, card.labels, card.masks), console, workers)
    for case in table.cases:
        look = looks[_files(case)]
        if isinstance(look, str):
            found.left_out.append((case.case_id, look))
        else:
            found.cases.append(case)
            found.looks.append(look)
    if root is not None:
        _checksums(found, card, root)
    _labels(found, table.cases)
    _groups(found, card, table)
    _masks(found)
    _counts(found, card, table)
    _leaks(found, table.cases, card.split_leaks)
    return found


def _looks(cases: Sequence[Case], looker: Looker, console: Console, workers: int) -> dict[Hashable, Look | str]:
    """What is in the files of each case, or why it cannot be read: once where several cases (questions) share them."""
    first = {_files(case): case for case in reversed(cases)}
    found = case_reading.prepared(list(first.values()), looker, workers, strict=False)
    return dict(zip(first, console.track(found, len(first), "read"), strict=True))


def _files(case: Case) -> Hashable:
    return case.files, tuple(sorted(case.masks.items()))


def _checksums(found: Findings, card: DataCard, root: Path) -> None:
    inside = Inside(root)
    for name, wanted in card.checksums.items():
        try:
            with inside.path(name).open("rb") as file:
                have = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            found.faults.append(f"{name}: the card has its checksum, and it cannot be read")
            continue
        if have != wanted:
            found.faults.append(f"{name}: not the file that the card means: its sha256 is {have}, and not {wanted}")


def _labels(found: Findings, cases: Sequence[Case]) -> None:
    names = sorted({name for case in cases for name in case.targets})
    for name in names:
        values = np.array([case.target(name) for case in cases])
        known = values[~np.isnan(values)]
        if not len(known):
            found.faults.append(f"class {name}: no case has a known label")
            continue
        if len(known) < len(values):
            missing = len(values) - len(known)
            found.notes.append(f"class {name}: {missing:,} of {plural(len(values), 'case')} without a label")
        positive, negative = int((known > 0.5).sum()), int((known < 0.5).sum())
        if len(set(known)) == 1:
            found.notes.append(f"class {name}: every known label is {known[0]:g}")
        elif min(positive, negative) <= 1:
            which = f"{positive} positive" if positive <= negative else f"{negative} negative"
            few = f"only {which} case among {len(known):,} with a label"
            found.notes.append(f"class {name}: {few}: too few to learn from or to measure")
        else:
            _label_in_each_split(found, name, cases)


def _label_in_each_split(found: Findings, name: str, cases: Sequence[Case]) -> None:
    """A split of the card in which a class has one label alone cannot be measured."""
    for split in SPLITS:
        known = [value for case in cases if case.split == split and not math.isnan(value := case.target(name))]
        for is_some, called in ((any(v > 0.5 for v in known), "positive"), (any(v < 0.5 for v in known), "negative")):
            if known and not is_some:
                found.notes.append(f"class {name}: no {called} case in {split}")


def _groups(found: Findings, card: DataCard, table: CaseTable) -> None:
    """How many cases have no value in the columns for subgroups."""
    layout = next((entry for entry in card.layouts if entry.name == table.layout), None)
    declared = () if layout is None else layout.groups
    for name in dict.fromkeys([*declared, *sorted({n for case in table.cases for n in case.groups})]):
        missing = sum(case.groups.get(name) in (None, "") for case in table.cases)
        if missing == len(table.cases):
            found.notes.append(f"column {name}: no case has a value")
        elif missing:
            found.notes.append(f"column {name}: {missing:,} of {plural(len(table.cases), 'case')} without a value")


def _masks(found: Findings) -> None:
    """What is missing: right in many sets, and a wrong folder in others."""
    without = sum(not case.masks for case in found.cases)
    if 0 < without < len(found.cases):
        found.notes.append(f"{without:,} of {plural(len(found.cases), 'case')} without a mask")
    asked = [look for look in found.looks if look.structures or look.objects is not None]
    empty = sum(not (any(look.structures.values()) or look.objects) for look in asked)
    if empty:
        found.notes.append(f"{plural(empty, 'mask')} of {len(asked):,} without any structure")
    for name in dict.fromkeys(name for look in asked for name in look.structures):
        if not any(look.structures.get(name) for look in asked) and empty < len(asked):
            found.notes.append(f"structure {name}: no mask holds it")


def _counts(found: Findings, card: DataCard, table: CaseTable) -> None:
    layouts = {layout.name for layout in card.layouts}
    for split, wanted in card.counts.items():
        if split in layouts - {table.layout}:
            continue
        part = [c for c in table.cases if split in ("all", table.layout, c.split)]
        have = {"cases": len(part), "patients": len({c.owner for c in part})}
        for name, number in (("cases", wanted.cases), ("patients", wanted.patients)):
            if number is not None and have[name] != number:
                found.notes.append(
                    f"{'' if split == 'all' else f'{split}: '}{have[name]} {name}, and a complete copy has {number}"
                )


def _leaks(found: Findings, cases: Sequence[Case], known: str | None) -> None:
    """known: why the card says that its split is leaky, which is then no fault of this copy."""
    assigned = {c.case_id: str(c.split) for c in cases if c.split is not None}
    split = [c for c in cases if c.split is not None]
    if split and known is not None:
        found.notes.append(f"its own split leaks: {known}")
    elif split:
        pixels = {case.case_id: look.pixels for case, look in zip(found.cases, found.looks, strict=True)}
        uids = {case.case_id: look.uids for case, look in zip(found.cases, found.looks, strict=True)}
        for refuse in (
            lambda: leakage.patients(split, assigned),
            lambda: leakage.studies(split, assigned, uids),
            lambda: leakage.refuse(leakage.identical(split, assigned, pixels), assigned),
        ):
            try:
                refuse()
            except MedvfmError as leak:
                found.leaks.append(str(leak))
    seen = {case.case_id: look.pixels for case, look in zip(found.cases, found.looks, strict=True)}
    found.contradictions = [
        *contradictions.labels_apart(found.cases, seen),
        *contradictions.masks_apart(found.cases, seen),
        *contradictions.turned_apart(found.cases),
    ]
    found.copies = _copies(found.cases, found.looks)
    found.twins = [pair for pair in _alike(found.cases, found.looks) if pair not in found.copies]


def _copies(cases: Sequence[Case], looks: Sequence[Look]) -> list[tuple[str, str]]:
    """Pairs of cases with the same pixels that belong to different patients: each case with the first of its kind."""
    first: dict[str, Case] = {}
    found = []
    for case, look in zip(cases, looks, strict=True):
        for key in look.pixels:
            other = first.setdefault(key, case)
            if other.owner != case.owner:
                found.append((other.case_id, case.case_id))
    return sorted(set(found))


def _alike(cases: Sequence[Case], looks: Sequence[Look]) -> list[tuple[str, str]]:
    """Pairs of different patients more alike than images of different patients are: twins of one image.

    The measure is the correlation of thumbnails. Of each case's greatest likeness to another patient, what lies beyond
    the upper quartile by more than 6 interquartile ranges (of Fisher's z) and above 0.995 is named.
    """
    if len(looks) < 10 or len(looks) > 20_000:
        return []
    thumbs = np.stack([look.thumbnail for look in looks])
    owners = np.array([case.owner for case in cases])
    best, partner = np.zeros(len(looks)), np.zeros(len(looks), dtype=int)
    for row in range(len(looks)):
        likeness = thumbs @ thumbs[row]
        likeness[owners == owners[row]] = -1
        partner[row] = int(np.argmax(likeness))
        best[row] = likeness[partner[row]]
    z = np.arctanh(np.clip(best, -0.9999999, 0.9999999))
    low, high = np.percentile(z, [25, 75])
    odd = np.flatnonzero((z > high + 6 * (high - low)) & (best > 0.995))
    pairs = (sorted((cases[int(r)].case_id, cases[int(partner[r])].case_id)) for r in odd)
    return sorted({(one, other) for one, other in pairs})
