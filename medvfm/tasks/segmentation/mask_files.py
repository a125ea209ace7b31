"""Predicted masks as files that viewers and archives open, and how much they hold of each structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from medvfm.core import geometry
from medvfm.core.array import Array
from medvfm.core.case import Case
from medvfm.core.data_card import Label
from medvfm.core.protocols import Preparer, Record
from medvfm.core.slice_grid import SliceGrid
from medvfm.io.dataset import mask_values
from medvfm.io.rendering import overlays
from medvfm.io.run_directory import write_bytes
from medvfm.io.writers import masks
from medvfm.io.writers.dicom_seg import write_segmentation
from medvfm.models.inputs.slice_stacks import intensity_rule

FORMATS = ("nifti", "dicom-seg", "png")


def write(
    mask: Array,
    case: Case,
    place: masks.Place,
    preparer: Preparer,
    labels: Mapping[int, Label],
    classes: Sequence[str],
    kind: str,
    folder: Path,
    form: str,
    model: str,
) -> list[Path]:
    """One file, or one a structure where structures may overlap. `labels`: the value of each class in files to its
    coded name, in the order of the classes."""
    filed = mask_values.with_values(mask, tuple(labels)) if kind == "semantic" else mask
    folder.mkdir(parents=True, exist_ok=True)
    stem = case.stem
    if form == "dicom-seg":
        names = dict(labels)
        if kind == "instances":
            names = {int(v): Label(name=f"{classes[0]} {int(v)}") for v in np.unique(mask) if v}
        source = preparer.files(case)[0]
        return [write_segmentation(filed, source, names, folder / f"{stem}.dcm", model="medvfm", version=model)]
    if form == "png":
        named = {place: label.name.replace("_", " ") for place, label in enumerate(labels.values(), 1)}
        shown = named if kind != "instances" else None
        rule = intensity_rule(preparer.prepare, preparer.windows)
        picture = overlays.three_planes(preparer.images(case)[0], None, mask, intensity=rule, names=shown)
        write_bytes(folder / f"{stem}.png", overlays.png(picture))
        return [folder / f"{stem}.png"]
    return masks.write_case(folder, stem, filed, place, classes)


def sizes(
    mask: Array,
    affine: Array,
    has_size: bool,
    classes: Sequence[str],
    kind: str,
    files: Sequence[Path],
    values: Sequence[int],
) -> list[Record]:
    """A row a structure: its size in ml (voxels where no size is known, objects for instances), its file, and the value
    that stands for it there. `values`: of the classes in files."""
    scale = geometry.voxel_volume_mm3(affine) / 1000 if has_size else 1.0
    found: list[Record] = []
    for number, name in enumerate(classes):
        if kind == "multi_label":
            size = float(mask[..., number].sum()) * scale
        elif kind == "instances":
            size = float(len(np.setdiff1d(np.unique(mask), 0)))
        else:
            size = float((mask == number + 1).sum()) * scale
        unit = "objects" if kind == "instances" else "ml" if has_size else "voxels"
        file = files[number] if len(files) > 1 else files[0]
        value = _value(number, values, kind, file)
        found.append({"target": name, "size": size, "unit": unit, "file": file.as_posix(), "value": value})
    return found


def _value(number: int, values: Sequence[int], kind: str, file: Path) -> int | None:
    """What stands for a class in a file: its value, its segment's number in DICOM SEG, 1 in a file of its own; nothing
    for objects, which are many, and in pictures."""
    if kind == "instances":
        return None
    if file.suffix == ".dcm":
        return sorted(values).index(values[number]) + 1
    return 1 if kind == "multi_label" else values[number]


def agreed(masks_of_folds: Sequence[Array], classes: int, kind: str) -> Array:
    """The mask that most folds predict at each voxel; of equals the lower value. Objects come from the first fold."""
    if len(masks_of_folds) == 1 or kind == "instances":
        return masks_of_folds[0]
    if kind == "multi_label":
        return np.mean(masks_of_folds, axis=0) > 0.5
    best = np.zeros(masks_of_folds[0].shape, masks_of_folds[0].dtype)
    most = np.zeros(best.shape, np.int16)
    for value in range(classes + 1):
        votes = np.stack([mask == value for mask in masks_of_folds]).sum(axis=0, dtype=np.int16)
        higher = votes > most
        best[higher], most[higher] = value, votes[higher]
    return best


def place_of(grid: SliceGrid) -> masks.Place:
    """Shape, affine, and whether the file states a size, of the image that a grid came from."""
    return grid.source_shape_vox, grid.source_affine, grid.spacing_mm is not None
