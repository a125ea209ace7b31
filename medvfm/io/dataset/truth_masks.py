"""True masks of a case as one array on the grid of its image, from any supported file format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medvfm.core.case import Case
from medvfm.core.data_card import DataCard, Label, Masks
from medvfm.core.errors import UnreadableImage, nearest
from medvfm.core.image import Image
from medvfm.io.dicom import rtstruct, seg
from medvfm.io.read import image_kind, read_image, read_label

_PICTURES = (".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg")


@dataclass(frozen=True)
class MaskTruthReader:
    """Reads masks as the card describes them into the array that the task needs.

    classes  structures in order: value 1 is the first of them
    kind     semantic: (i, j, k), one structure a voxel, 0 for none of them
             multi_label: (i, j, k, T) of bool
             instances: (i, j, k), a number for each object
    """

    classes: tuple[str, ...]
    kind: str
    labels: Mapping[int, Label] = field(default_factory=dict)
    masks: Masks = field(default_factory=Masks)

    @classmethod
    def of(cls, card: DataCard, classes: Sequence[str], kind: str) -> MaskTruthReader:
        return cls(tuple(classes), kind, dict(card.labels), card.masks)

    def files(self, case: Case) -> tuple[Path, ...]:
        """The files that the truth of a case depends on."""
        if not case.masks:
            raise UnreadableImage(f"{case.case_id} has no mask")
        return tuple(path for name in sorted(case.masks) for path in case.masks[name])

    def key(self) -> str:
        """What the array depends on besides the files."""
        values = sorted((value, label.name) for value, label in self.labels.items())
        return f"truth-{self.kind}-{self.classes}-{values}-{self.masks.kind}-{self.masks.above}"

    def __call__(self, case: Case, image: Image) -> np.ndarray:
        """The truth of a case; refused where it is off the grid of its image or holds what the card does not name."""
        self.files(case)
        if self.kind == "instances":
            if len(case.masks) != 1:
                named = ", ".join(sorted(case.masks))
                raise UnreadableImage(f"{case.case_id}: objects come from one mask, and it has {named}")
            return self._instances(_only(case, next(iter(case.masks.values()))), image)
        layers = self._layers(case, image)
        if self.kind == "multi_label":
            return np.stack([layers.get(name, np.zeros(image.shape_vox, bool)) for name in self.classes], axis=-1)
        found = np.zeros(image.shape_vox, np.uint8 if len(self.classes) < 256 else np.uint16)
        for value, name in enumerate(self.classes, 1):
            if name not in layers:
                continue
            if found[layers[name]].any():
                raise UnreadableImage(
                    f"{case.case_id}: {name} overlaps another structure, and a semantic mask has one per voxel",
                    remedy="task.kind=multi_label keeps both",
                )
            found[layers[name]] = value
        return found

    def _layers(self, case: Case, image: Image) -> dict[str, np.ndarray]:
        """(i, j, k) of bool for each class of the task that has a file or a value."""
        own = {name: files for name, files in case.masks.items() if name in self.classes}
        found = {name: self._united(name, files, image) for name, files in own.items()}
        if "mask" not in case.masks:
            return found
        rest = [name for name in self.classes if name not in own]
        files = case.masks["mask"]
        if self.masks.kind == "labels" and len(files) == 1 and _is_structure_set(files[0]):
            if self.labels:
                self._refuse_unnamed(rest, files[0])
            return found | rtstruct.structure_masks(files[0], image, names=rest, empty=True)
        if self.masks.kind == "grey" or (not self.labels and len(rest) == 1):
            return found | {rest[0]: self._united(rest[0], files, image)} if rest else found
        path = _only(case, files)
        values = {label.name: value for value, label in self.labels.items()}
        named = _read(path, image, {0, *self.labels} if self.labels else None)
        self._refuse_unnamed(rest, path)
        for name in rest:
            found[name] = named == values[name]
        return found

    def _refuse_unnamed(self, names: Sequence[str], path: Path) -> None:
        known = {label.name for label in self.labels.values()}
        for name in names:
            if name not in known:
                raise UnreadableImage(f"no label {name!r} in the card; {nearest(name, known)}", where=path)

    def _united(self, name: str, files: Sequence[Path], image: Image) -> np.ndarray:
        """What is in any of the files of one structure."""
        return np.logical_or.reduce([self._binary(name, path, image) for path in files])

    def _binary(self, name: str, path: Path, image: Image) -> np.ndarray:
        """A file of one structure: what is not 0, or for `grey` what is brighter than the card says.

        Of an RTSTRUCT, the structure of that name; its only one may have another name.
        """
        if self.masks.kind != "grey" and _is_structure_set(path):
            listed = rtstruct.structure_names(path)
            chosen = listed[0] if len(listed) == 1 else name
            return rtstruct.structure_masks(path, image, names=[chosen], empty=True)[chosen]
        if self.masks.kind != "grey":
            return _read(path, image, None) != 0
        grey = read_image(path)
        voxels = grey.voxels if grey.voxels.ndim == 3 else grey.voxels.mean(axis=3)
        if voxels.shape != image.shape_vox:
            raise UnreadableImage(
                f"a mask of {voxels.shape[:2]} pixels for an image of {image.shape_vox[:2]}", where=path
            )
        return voxels > self.masks.above

    def _instances(self, path: Path, image: Image) -> np.ndarray:
        if self.masks.kind == "labels" or not path.is_dir() or image_kind_of_folder(path) == "dicom":
            return _read(path, image, None).astype(np.int32, copy=False)
        found = np.zeros(image.shape_vox, np.int32)
        files = sorted(f for f in path.iterdir() if f.suffix.lower() in _PICTURES)
        if not files:
            raise UnreadableImage("the folder holds no pictures of objects", where=path)
        for number, file in enumerate(files, 1):
            one = read_image(file).voxels
            one = one if one.ndim == 3 else one.max(axis=3)
            if one.shape != image.shape_vox:
                raise UnreadableImage(
                    f"an object of {one.shape[:2]} pixels for an image of {image.shape_vox[:2]}", where=file
                )
            found[(one > 0) & (found == 0)] = number
        return found


def outlines(card: DataCard, classes: Sequence[str]) -> MaskTruthReader | None:
    """Reads those of the classes that the card outlines: in a label map, or in files of their own; None without any."""
    own = {name for layout in card.layouts for name in layout.masks} - {"mask"}
    known = own | {label.name for label in card.labels.values()}
    found = [name for name in classes if name in known]
    return MaskTruthReader.of(card, found, "multi_label") if found else None


def _only(case: Case, files: Sequence[Path]) -> Path:
    if len(files) != 1:
        raise UnreadableImage(f"{case.case_id}: {len(files)} label files where one is expected")
    return files[0]


def _is_structure_set(path: Path) -> bool:
    return path.is_file() and image_kind(path) == "dicom" and rtstruct.is_structure_set(path)


def image_kind_of_folder(path: Path) -> str:
    """`dicom` for a folder without pictures."""
    return "pictures" if any(f.suffix.lower() in _PICTURES for f in path.iterdir()) else "dicom"


def _read(path: Path, image: Image, values: set[int] | None) -> np.ndarray:
    """A label map (i, j, k) on the grid of the image, from any format that holds one."""
    if path.is_file() and image_kind(path) == "dicom":
        if rtstruct.is_structure_set(path):
            raise UnreadableImage("an RTSTRUCT holds named structures, no numbered objects", where=path)
        return seg.read_segmentation(path, image).voxels
    label = read_label(path, image, values=values).voxels
    return label if label.ndim == 3 else label[..., 0]
