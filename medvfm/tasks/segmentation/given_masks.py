"""Masks that users hand in, from a table or a folder, and what their values mean beside each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from medvfm.core.array import Array
from medvfm.core.errors import MedvfmError, PredictionError, nearest
from medvfm.core.image import Image
from medvfm.core.plurals import some
from medvfm.io.dataset.file_endings import MASKS, masks_of
from medvfm.io.dataset.mask_values import Names, without_values
from medvfm.io.dataset.prediction_tables import GivenTable, Table, read_table
from medvfm.io.dicom import seg as dicom_seg
from medvfm.io.formats.voxel_values import label_values
from medvfm.io.read import image_kind, read_image, read_label
from medvfm.tasks.segmentation import mask_words

MASK = "mask"
_BINARY = {1, 255}  # how programs write what is and what is not
_UNNAMED_MOST = 40  # values without names: more are a picture or probabilities, no mask


def as_table(source: Table, what: str) -> GivenTable:
    """A table with case_id and `mask`, a path to each file; of a folder, its masks named after their cases."""
    if isinstance(source, str | Path) and Path(source).is_dir():
        return _of_folder(Path(source))
    table = read_table(source, what)
    if MASK not in table:
        raise PredictionError("no column mask", where=table.where, remedy="it names the file of each case's mask")
    empty = table.frame.index[table.unknown(MASK)].tolist()
    if empty:
        raise PredictionError("no mask is named", where=table.place(int(empty[0])), remedy="name it, or drop the row")
    base = Path(source).parent if isinstance(source, str | Path) else Path()
    files = [str(base / str(mask)) for mask in table.frame[MASK]]
    return GivenTable(table.frame.assign(mask=files), table.where, table.places, table.mark, table.notes)


def _of_folder(folder: Path) -> GivenTable:
    by_case = masks_of(folder)
    if not by_case:
        raise PredictionError("the folder holds no masks", where=folder, remedy=f"known are {', '.join(MASKS)}")
    for case_id, files in by_case.items():
        if len(files) > 1:
            names = ", ".join(file.name for file in files)
            raise PredictionError(
                f"{len(files)} masks of the case {case_id}: {names}", where=folder, remedy="keep the one that is meant"
            )
    frame = pd.DataFrame({"case_id": list(by_case), MASK: [str(files[0]) for files in by_case.values()]})
    return GivenTable(frame, str(folder), [files[0].name for files in by_case.values()])


def files_of(table: GivenTable) -> dict[str, Path]:
    """The mask of each case."""
    return {case_id: Path(mask) for case_id, mask in zip(table.frame["case_id"], table.frame[MASK], strict=True)}


def read_mask(path: Path, truth: Image | None = None) -> Image:
    """A mask as it stands, on the grid of the truth where that is given."""
    if not path.exists():
        raise PredictionError("no such file", where=path)
    if path.is_file() and image_kind(path) == "dicom":
        return dicom_seg.read_segmentation(path, truth)
    return read_image(path, label=True) if truth is None else read_label(path, truth)


@dataclass(frozen=True)
class Named:
    """What a user says of values: names of those of the truth, of the predictions where theirs differ, names of 1, 2,
    ... alone, and values that are background."""

    labels: Names
    predicted: Names
    classes: tuple[str, ...]
    background: frozenset[int]


@dataclass(frozen=True, eq=False)
class Meaning:
    """Names of the values of truth and predictions, and the structures that are scored, in order."""

    truth: Names
    predictions: Names
    targets: tuple[str, ...]
    background: frozenset[int] = frozenset()

    def of_truth(self, mask: Image, where: Path) -> Array:
        """(i, j, k) 1, 2, ... for each target."""
        return self._mapped(mask, self.truth, where, "truth")

    def of_prediction(self, mask: Image, where: Path) -> Array:
        return self._mapped(mask, self.predictions, where, "predictions")

    def _mapped(self, mask: Image, names: Names, where: Path, what: str) -> Array:
        names = _by_segments(mask, names)
        unnamed = label_values(mask.voxels) - {0, *names, *self.background}
        if unnamed:
            known = ", ".join(f"{value} {name}" for value, name in sorted(names.items())[:8])
            option = "--labels" if what == "truth" else "--predicted-labels"
            raise PredictionError(
                f"holds the values {some(sorted(unnamed))}, which nobody named; named are {known}",
                where=where,
                remedy=f"{option} names the values of {what} (VALUE=NAME,... or a card), --background those of none",
            )
        return without_values(mask.voxels, names, self.targets)


def _by_segments(mask: Image, names: Names) -> Names:
    """Of a DICOM SEG the names of its own segments, where they are those that are asked for: its numbers begin at 1
    whatever the values of the card are."""
    own = _segments(mask)
    return own if set(own.values()) & set(names.values()) else names


def settle(truth: Sequence[Path], predictions: Sequence[Path], named: Named) -> tuple[Meaning, list[str]]:
    """What values mean, by the user's words, else by what the files of both sides hold; and what was concluded."""
    if named.labels:
        targets = tuple(dict.fromkeys(name for _, name in sorted(named.labels.items())))
        strange = [name for name in named.classes if name not in targets]
        if strange:
            choices = nearest(strange[0], targets)
            raise PredictionError(f"--labels names no {strange[0]!r}; {choices}", where="--classes")
        rest = [name for name in targets if named.classes and name not in named.classes]
        notes = [f"Named, and not scored: {', '.join(rest)}."] if rest else []
        predicted, scored = named.predicted or named.labels, named.classes or targets
        _refuse_strange(predicted, scored, targets)
        return Meaning(named.labels, predicted, scored, named.background), notes
    numbered = dict(enumerate(named.classes, 1))
    if len(named.classes) > 1 or (numbered and named.predicted):
        _refuse_strange(named.predicted or numbered, named.classes, named.classes)
        return Meaning(numbered, named.predicted or numbered, named.classes, named.background), []
    true, given = (_contents(files) for files in (truth, predictions))
    found = [set(contents.files) - named.background for contents in (true, given)]
    both = found[0] | found[1]
    binary = all(len(values) < 2 for values in found) and both <= _BINARY and 255 in both
    if binary and not named.predicted and (found[0] or numbered):
        return _binary(found, named)
    if numbered:
        return Meaning(numbered, numbered, named.classes, named.background), []
    torn = [n for n in true.segments if given.segments.get(n, true.segments[n]) != true.segments[n]]
    if torn:
        names = f"{', '.join(sorted(true.segments[torn[0]]))!r} and {', '.join(sorted(given.segments[torn[0]]))!r}"
        raise PredictionError(
            f"segment {torn[0]} of truth and predictions are {names}", remedy="--classes names those that are scored"
        )
    return _unnamed(true, given, named), []


def _refuse_strange(predicted: Names, scored: Sequence[str], known: Sequence[str]) -> None:
    """A name that the truth lacks, where predictions lack one that is scored: most likely it is misspelt. Programs that
    draw more than the truth holds name all that is scored, and more."""
    own = set(predicted.values())
    without = [name for name in scored if name not in own]
    strange = [name for _, name in sorted(predicted.items()) if name not in known]
    if strange and without:
        raise PredictionError(
            f"no structure {strange[0]!r}; {nearest(strange[0], known)}",
            where="--predicted-labels",
            remedy=f"predictions have no value for {without[0]!r}: call structures as the truth does, or leave out "
            "names that it lacks (--background takes their values)",
        )


def _binary(found: Sequence[set[int]], named: Named) -> tuple[Meaning, list[str]]:
    """One structure on both sides, whatever number stands for it."""
    true, given = (next(iter(values), None) for values in found)
    name = named.classes[0] if named.classes else f"label {true}"
    says = " and ".join(f"{v} in the {what}" for v, what in ((true, "truth"), (given, "predictions")) if v)
    names = [{255 if value is None else value: name} for value in (true, given)]
    return Meaning(names[0], names[1], (name,), named.background), [
        f"Masks hold one value, {says}: taken as one structure, {name}."
    ]


def _unnamed(true: _Contents, given: _Contents, named: Named) -> Meaning:
    """Each value of the truth is a structure of its own, and predictions hold no other."""
    values, theirs = (set(contents.files) - named.background for contents in (true, given))
    if not values:
        raise PredictionError("no true mask holds a structure", remedy="--labels says what predictions hold")
    if len(values) > _UNNAMED_MOST:
        raise PredictionError(
            f"the true masks hold {len(values)} values: {some(sorted(values))}",
            remedy="of masks, --labels names them (a card, or VALUE=NAME,...); pictures and probabilities are no masks",
        )
    _refuse_background(true, given, values, theirs)
    names = {value: f"label {value}" for value in sorted(values)}
    if values == _BINARY and not true.beside_others & _BINARY:
        raise PredictionError(
            f"true masks hold one value, and not the same: {_places(true, values)}",
            where="truth",
            remedy=f"if both mean the same: {mask_words.line(values, theirs)}; if not: --labels 1=NAME,255=OTHER",
        )
    if not named.predicted and theirs - values:
        raise PredictionError(
            f"{_places(given, theirs - values)}, and no true mask does: {_places(true, values)}",
            where="predictions",
            remedy=mask_words.remedy(values, theirs),
        )
    if named.predicted and (strange := set(named.predicted.values()) - set(names.values())):
        raise PredictionError(
            f"the truth has no name {min(strange)!r}", where="--predicted-labels", remedy="--labels names its values"
        )
    return Meaning(names, named.predicted or names, tuple(names.values()), named.background)


def _refuse_background(true: _Contents, given: _Contents, values: set[int], theirs: set[int]) -> None:
    """Masks without a 0, whose lowest value surrounds everything: as a structure it would be one that is found."""
    lowest = min(values)
    if true.zero or len(values) < 2 or set(true.borders) != {lowest}:
        return
    raise PredictionError(
        f"no true mask holds 0, and {lowest} fills the borders of all: it looks like the background",
        where=true.files[lowest],
        remedy=mask_words.of_background(lowest, values - {lowest}, theirs, zero=given.zero),
    )


def _places(contents: _Contents, values: set[int]) -> str:
    """`c2.nii.gz holds 255, c1.nii.gz holds 1`: the first file of each value."""
    by_file: dict[Path, list[int]] = defaultdict(list)
    for value in sorted(values):
        by_file[contents.files[value]].append(value)
    return some([f"{path.name} holds {', '.join(map(str, held[:8]))}" for path, held in by_file.items()])


@dataclass
class _Contents:
    """What masks hold: values other than 0 with the first file of each, those that stand beside others in one file, the
    names that DICOM SEG give their segments, the value of most voxels at the border of each mask, and whether any has a
    0."""

    files: dict[int, Path] = field(default_factory=dict)
    beside_others: set[int] = field(default_factory=set)
    segments: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    borders: list[int] = field(default_factory=list)
    zero: bool = False


def _contents(files: Sequence[Path]) -> _Contents:
    """Of all masks; one that cannot be read is named, with its reason, where it is measured, unless none can be."""
    found, reasons = _Contents(), list[MedvfmError]()
    for path in files:
        try:
            mask = read_mask(path)
        except MedvfmError as reason:
            reasons.append(reason)
            continue
        held = label_values(mask.voxels)
        found.zero |= 0 in held
        found.borders.append(_at_border(mask.voxels))
        values = held - {0}
        for value in values:
            found.files.setdefault(value, path)
        found.beside_others.update(values if len(values) > 1 else ())
        for number, name in _segments(mask).items():
            found.segments[number].add(name)
    if reasons and not found.borders:
        raise reasons[0]
    return found


def _at_border(voxels: Array) -> int:
    """The value of most voxels on the outer faces; an axis of one slice has none."""
    faces = [voxels.take([0, -1], axis).ravel() for axis in range(voxels.ndim) if voxels.shape[axis] > 1]
    values, counts = np.unique(np.concatenate(faces or [voxels.ravel()]), return_counts=True)
    return int(values[counts.argmax()])


def _segments(mask: Image) -> dict[int, str]:
    own = mask.header.get("segments")
    return {int(n): str(name) for n, name in own.items() if name} if isinstance(own, dict) else {}
