"""Export of cases as a raw data set of nnU-Net v2 (its documentation/dataset_format.md), with our splits by patient.

DatasetXXX_NAME/
  imagesTr/CASE_0000.nii.gz, CASE_0001.nii.gz, ...   one file a channel; pictures as CASE_0000.png
  labelsTr/CASE.nii.gz                               values 0 background, 1, 2, ... without gaps
  imagesTs/ labelsTs/                                the test cases, which nnU-Net does not use
  dataset.json  splits_final.json                    the latter belongs into nnUNet_preprocessed/DatasetXXX_NAME
  training.csv  test.csv                             case, patient and truth, for `medvfm evaluate segmentation`
  medvfm.json                                        where everything came from, and what was left out
"""

from __future__ import annotations

import io
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image as pillow

from medvfm.core import geometry
from medvfm.core.case import Case
from medvfm.core.data_card import DataCard
from medvfm.core.errors import DataError, MedvfmError, UnreadableImage
from medvfm.core.image import Image
from medvfm.core.recipe_sections import Split
from medvfm.io import run_directory
from medvfm.io.atomic_write import atomic_write
from medvfm.io.console import SILENT, Console
from medvfm.io.dataset import leakage, splits
from medvfm.io.dataset.cases import CaseTable
from medvfm.io.dataset.truth_masks import MaskTruthReader
from medvfm.io.read import read_image
from medvfm.io.writers.nifti import is_sheared, write_nifti

VOLUME, PICTURE = ".nii.gz", ".png"
NUMBERS = (1, 999)
_APART_MOST = 0.1  # of a voxel, between the channels of a case
_NAMES = {"HU": "CT"}  # the name by which nnU-Net knows to normalise by the intensities of the data set


@dataclass
class Exported:
    """The folder that was written, its cases by part, and those that were left out."""

    folder: Path
    training: list[Case] = field(default_factory=list)
    test: list[Case] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)


def export(
    card: DataCard,
    table: CaseTable,
    reader: MaskTruthReader,
    out: Path,
    *,
    number: int,
    split: Split,
    seed: int = 0,
    folds: int | None = 5,
    strict: bool = False,
    console: Console = SILENT,
) -> Exported:
    """Write the data set below `out`; it appears when it is complete.

    reader  the structures, which become the values 1, 2, ... in its order
    split   of the cases. Its test cases go to imagesTs, and `folds` are made of the patients of the others (None: the
            one fold of training and validation that a run has). A split in folds has no test cases: each fold's own
            are what nnU-Net validates on
    """
    if reader.kind != "semantic":
        raise DataError(
            f"nnU-Net gives each voxel one structure, and the question is of {reader.kind.replace('_', ' ')}",
            where=card.name,
            remedy="export one structure, or structures that do not overlap, as task.kind=semantic",
        )
    low, high = NUMBERS
    if not low <= number <= high:
        raise DataError(f"data set number {number}; from {low} to {high}", where="--number")
    folder = out / f"Dataset{number:03d}_{card.name}"
    if folder.exists():
        raise DataError("there is something already", where=folder, remedy="take another --number or --out")
    parts = _Parts.of(table.cases, split, seed, folds)
    out.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=out))
    try:
        writer = _Writer(part, card, reader, _identifiers([*parts.training, *parts.test]))
        found = Exported(folder, left_out=list(table.left_out))
        todo = [(case, kept, "Tr") for case in parts.training for kept in [found.training]]
        todo += [(case, found.test, "Ts") for case in parts.test]
        for case, kept, suffix in console.track(todo, len(todo), "written"):
            try:
                writer.write(case, suffix)
                kept.append(case)
            except MedvfmError as error:
                if strict:
                    raise
                found.left_out.append((case.case_id, str(error)))
        if not found.training:
            first = found.left_out[0][1] if found.left_out else "the split has none"
            raise DataError(f"no training case can be written: {first}", where=card.name)
        for assigned in parts.apart:  # once more, now that every image has been decoded
            leakage.check([*found.training, *found.test], assigned, writer.pixels)
        writer.finish(found, parts, table.layout, seed)
        part.chmod(0o755)
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return found


@dataclass(frozen=True)
class _Parts:
    """Training and test cases, (train, val) case_ids of nnU-Net's folds, and the splits that must share no pixels."""

    training: list[Case]
    test: list[Case]
    folds: list[tuple[list[str], list[str]]]
    apart: list[Mapping[str, str]]

    @classmethod
    def of(cls, cases: Sequence[Case], split: Split, seed: int, folds: int | None) -> _Parts:
        found = splits.split_cases(cases, split, seed, ())
        if split.leaks == "drop":
            found = [splits.Fold(leakage.drop(cases, fold.assigned)[0], fold.warnings) for fold in found]
        checked = [fold.assigned for fold in found]
        for assigned in checked:
            leakage.check(cases, assigned)
        ordered = sorted(cases, key=lambda case: case.case_id)
        if len(found) > 1:
            return cls(ordered, [], [_without_test(assigned) for assigned in checked], checked)
        assigned = checked[0]
        test = [c for c in ordered if assigned.get(c.case_id) == "test"]
        training = [c for c in ordered if assigned.get(c.case_id) in ("train", "val")]
        if folds is None:
            by_split = {name: [c.case_id for c in training if assigned[c.case_id] == name] for name in ("train", "val")}
            return cls(training, test, [(by_split["train"], by_split["val"])], checked)
        inner = splits.split_cases(training, Split(folds=folds), seed, ())
        return cls(training, test, [_without_test(fold.assigned) for fold in inner], checked)


def _without_test(assigned: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """nnU-Net trains for a fixed time and chooses nothing on its validation cases: they are a fold's test cases."""
    return [c for c, s in assigned.items() if s != "test"], [c for c, s in assigned.items() if s == "test"]


def _identifiers(cases: Sequence[Case]) -> dict[str, str]:
    """case_id to a name that files can have, unique among the cases."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for case in cases:
        plain = re.sub(r"[^A-Za-z0-9_-]+", "_", case.case_id).strip("_") or "case"
        name, count = plain, 1
        while name.lower() in taken:  # as on disks that do not tell case apart
            count += 1
            name = f"{plain}-{count}"
        taken.add(name.lower())
        found[case.case_id] = name
    return found


class _Writer:
    """Writes case after case; the first one settles channels and file type, and the others have to agree."""

    def __init__(self, folder: Path, card: DataCard, reader: MaskTruthReader, name_of: Mapping[str, str]) -> None:
        self.folder, self.card, self.reader, self.name_of = folder, card, reader, name_of
        self.ending = ""
        self.roles: tuple[str, ...] = ()
        self.channels: tuple[str, ...] = ()
        self.pixels: dict[str, list[str]] = {}
        for name in ("imagesTr", "labelsTr", "imagesTs", "labelsTs"):
            (folder / name).mkdir()

    def write(self, case: Case, suffix: str) -> None:
        """Image and label files of a case; nothing of it is written before everything is read."""
        images = self._images(case)
        first = images[0]
        truth = self.reader(case, first)
        ending = PICTURE if all(_is_picture(image) for image in images) else VOLUME
        channels = tuple(name for role, image in zip(case.images, images, strict=True) for name in _names(role, image))
        if not self.ending:
            self.ending, self.channels, self.roles = ending, channels, tuple(case.images)
        if len(channels) != len(self.channels):
            raise UnreadableImage(f"{len(channels)} channels, and the first case has {len(self.channels)}")
        if ending != self.ending and self.ending == PICTURE:
            raise UnreadableImage("no picture of 8 or 16 bits, as the first case is one")
        self.pixels[case.case_id] = [leakage.pixel_key(image.voxels) for image in images]
        name = self.name_of[case.case_id]
        files = [part for image in images for part in (_channels(image) if self.ending == VOLUME else [image])]
        for n, image in enumerate(files):
            self._file(image, self.folder / f"images{suffix}" / f"{name}_{n:04d}{self.ending}")
        label = Image(truth, first.affine, "label", first.has_spacing)
        self._file(label, self.folder / f"labels{suffix}" / f"{name}{self.ending}")

    def _images(self, case: Case) -> list[Image]:
        if self.roles and tuple(case.images) != self.roles:
            wanted, have = ", ".join(self.roles), ", ".join(case.images)
            raise UnreadableImage(f"it has the images {have}, and the first case has {wanted}")
        several = [role for role, paths in case.images.items() if len(paths) > 1]
        if several:
            raise UnreadableImage(f"{several[0]} has several files, and nnU-Net takes one per channel")
        options: dict[Any, Any] = dict(self.card.reading)
        images = [read_image(paths[0], **options) for paths in case.images.values()]
        for role, image in zip(case.images, images, strict=True):
            if is_sheared(image.affine):
                raise UnreadableImage("its grid is sheared (a tilted gantry), which nnU-Net's readers refuse")
            _refuse_another_grid(role, image, images[0])
        return images

    def _file(self, image: Image, path: Path) -> None:
        if self.ending == VOLUME:
            write_nifti(image, path)
            return
        pixels = image.voxels[:, :, 0].swapaxes(0, 1)
        out = io.BytesIO()
        pillow.fromarray(np.ascontiguousarray(pixels)).save(out, format="PNG")
        with atomic_write(path, sync=True) as part:
            part.write_bytes(out.getvalue())

    def finish(self, found: Exported, parts: _Parts, layout: str, seed: int) -> None:
        """The files that describe the data set."""
        if not found.test:
            for name in ("imagesTs", "labelsTs"):
                (self.folder / name).rmdir()
        card, classes = self.card, self.reader.classes
        values = {label.name: value for value, label in self.reader.labels.items()}
        described: dict[str, Any] = {
            "channel_names": {str(n): name for n, name in enumerate(self.channels)},
            "labels": {"background": 0} | {name: n for n, name in enumerate(classes, 1)},
            "numTraining": len(found.training),
            "file_ending": self.ending,
            "name": card.name,
            "description": card.title,
            "licence": card.licence.name if card.licence else None,
            "reference": card.citation,
            "converted_by": "medvfm",
        }
        run_directory.write_json(self.folder / "dataset.json", {k: v for k, v in described.items() if v is not None})
        there = {c.case_id for c in found.training}
        folds = [
            {key: [self.name_of[c] for c in ids if c in there] for key, ids in zip(("train", "val"), fold, strict=True)}
            for fold in parts.folds
        ]
        run_directory.write_json(self.folder / "splits_final.json", folds)
        for cases, suffix, name in ((found.training, "Tr", "training.csv"), (found.test, "Ts", "test.csv")):
            if cases:
                run_directory.write_table(self.folder / name, self._truth(cases, suffix))
        record = {
            "card": card.name,
            "version": card.version,
            "layout": layout,
            "seed": seed,
            "values": [{"name": n, "value": v, "in_card": values.get(n)} for v, n in enumerate(classes, 1)],
            "left_out": [{"case_id": case_id, "reason": reason} for case_id, reason in found.left_out],
        }
        run_directory.write_json(self.folder / "medvfm.json", record)

    def _truth(self, cases: Sequence[Case], suffix: str) -> pd.DataFrame:
        names = [self.name_of[c.case_id] for c in cases]
        return pd.DataFrame(
            {
                "case_id": names,
                "patient_id": [c.owner for c in cases],
                "mask": [f"labels{suffix}/{name}{self.ending}" for name in names],
                "source_case_id": [c.case_id for c in cases],
            }
        )


def _is_picture(image: Image) -> bool:
    return image.shape_vox[2] == 1 and image.voxels.dtype in (np.uint8, np.uint16) and _is_grey_or_rgb(image)


def _is_grey_or_rgb(image: Image) -> bool:
    return image.voxels.ndim == 3 or (image.voxels.shape[3] == 3 and image.voxels.dtype == np.uint8)


def _names(role: str, image: Image) -> list[str]:
    """The names of the channels of an image."""
    if image.unit == "RGB":
        return ["R", "G", "B"] if role == "image" else [f"{role}_{c}" for c in "RGB"]
    count = image.voxels.shape[3] if image.voxels.ndim == 4 else 1
    name = _NAMES.get(image.unit, role)
    return [name] if count == 1 else [f"{name}_{n}" for n in range(count)]


def _channels(image: Image) -> list[Image]:
    if image.voxels.ndim == 3:
        return [image]
    unit = "arbitrary" if image.unit == "RGB" else image.unit
    return [
        Image(np.ascontiguousarray(image.voxels[..., c]), image.affine, unit, image.has_spacing)
        for c in range(image.voxels.shape[3])
    ]


def _refuse_another_grid(role: str, image: Image, first: Image) -> None:
    if image.shape_vox != first.shape_vox:
        raise UnreadableImage(f"{role} is of another size than the first channel, and nnU-Net resamples nothing")
    apart_mm = geometry.greatest_distance_mm(image.affine, first.affine, first.shape_vox)
    if apart_mm > _APART_MOST * min(geometry.spacing_mm(first.affine)):
        raise UnreadableImage(f"{role} lies up to {apart_mm:.3g} mm from the first channel: register them first")
