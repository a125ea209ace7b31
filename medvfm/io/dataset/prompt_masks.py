"""Masks that another program has drawn, as prompts: found by case, on the grid of the image, in the task's numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medvfm.core.case import Case
from medvfm.core.errors import UnreadableImage
from medvfm.core.image import Image
from medvfm.core.slice_grid import SliceGrid
from medvfm.io.dicom import seg
from medvfm.io.read import image_kind, on_grid_of, read_image

ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".png", ".tif", ".tiff", ".bmp", ".dcm")
_LISTED = 6


@dataclass(frozen=True)
class PromptMasks:
    """A folder of label maps that are named after their cases, such as the masks/ of a run.

    classes  structures in order: value 1 is the first of them
    names    what the card calls the values of label maps
    """

    folder: Path
    classes: tuple[str, ...]
    kind: str
    names: Mapping[int, str] = field(default_factory=dict)

    def file(self, case: Case) -> Path | None:
        """The mask of a case; refused where there are two."""
        names = [name for name in case.names if "/" not in name]
        found = [f for name in names for end in ENDINGS if (f := self.folder / f"{name}{end}").is_file()]
        if len(found) > 1:
            named = " and ".join(f.name for f in found)
            raise UnreadableImage(f"two masks of this case, {named}", where=case.case_id, remedy="keep one of them")
        return found[0] if found else None

    def strangers(self, cases: Sequence[Case]) -> list[str]:
        """Names of masks in the folder that belong to none of the cases."""
        known = {name for case in cases for name in case.names}
        stems = {f.name.removesuffix(end) for f in self.folder.iterdir() for end in ENDINGS if f.name.endswith(end)}
        stems = {s for s in stems if f"{s.removesuffix('.nii')}" == s}
        return sorted(s for s in stems if s not in known and not s.startswith("."))

    def read(self, case: Case, grid: SliceGrid) -> np.ndarray:
        """(i, j, k) whole numbers on the grid of the image: structures by their place in `classes`, or objects."""
        path = self.file(case)
        if path is None:
            raise UnreadableImage(f"no mask of this case in {self.folder.name}", where=case.case_id)
        empty = np.broadcast_to(np.uint8(0), grid.source_shape_vox)
        image = Image(empty, grid.source_affine, has_spacing=grid.spacing_mm is not None)
        if image_kind(path) == "dicom":
            label = seg.read_segmentation(path, image)
        else:
            label = on_grid_of(read_image(path, label=True), image, path)
        voxels = label.voxels if label.voxels.ndim == 3 else label.voxels[..., 0]
        return voxels.astype(np.int64) if self.kind == "instances" else self._numbered(voxels, path)

    def _numbered(self, voxels: np.ndarray, path: Path) -> np.ndarray:
        """Values as the card has them, else 1 to the number of classes; of one structure, any single value."""
        values = [int(v) for v in np.unique(voxels) if v != 0]
        places = {name: place for place, name in enumerate(self.classes, 1)}
        if set(values) <= set(self.names):
            meant = {v: places.get(self.names[v], 0) for v in values}
        elif len(self.classes) == 1 and len(values) == 1:
            meant = {values[0]: 1}
        elif set(values) <= set(places.values()):
            meant = {v: v for v in values}
        else:
            told = ", ".join(map(str, values[:_LISTED])) + (", ..." if len(values) > _LISTED else "")
            named = ", ".join(f"{v} {n}" for v, n in sorted(self.names.items()))
            named = f"the card names {named}" if named else f"the task has {len(self.classes)} structures"
            what = f"a mask with the values {told}, and {named}"
            raise UnreadableImage(what, where=path, remedy="write the values that the card names")
        found = np.zeros(voxels.shape, np.int64)
        for value, place in meant.items():
            found[voxels == value] = place
        return found
