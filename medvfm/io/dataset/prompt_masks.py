"""Masks that another program has drawn, as prompts: found by case, on the grid of the image, in the task's numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from medvfm.core.case import Case
from medvfm.core.errors import UnreadableImage
from medvfm.core.image import Image
from medvfm.core.plurals import some
from medvfm.core.slice_grid import SliceGrid
from medvfm.io.dataset import mask_values
from medvfm.io.dataset.file_endings import masks_of
from medvfm.io.dicom import seg
from medvfm.io.formats.voxel_values import label_values
from medvfm.io.read import image_kind, on_grid_of, read_image


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
        found = [path for name in case.names for path in self._masks.get(name, ())]
        if len(found) > 1:
            named = " and ".join(f.name for f in found)
            raise UnreadableImage(f"two masks of this case, {named}", where=case.case_id, remedy="keep one of them")
        return found[0] if found else None

    def strangers(self, cases: Sequence[Case]) -> list[str]:
        """Names of masks in the folder that belong to none of the cases."""
        return sorted(set(self._masks) - {name for case in cases for name in case.names})

    @cached_property
    def _masks(self) -> dict[str, list[Path]]:
        return masks_of(self.folder)

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
        values = label_values(voxels) - {0}
        numbers = dict(enumerate(self.classes, 1))
        if values <= set(self.names):
            meant = self.names
        elif len(self.classes) == 1 and len(values) == 1:
            meant = {next(iter(values)): self.classes[0]}
        elif values <= set(numbers):
            meant = numbers
        else:
            named = ", ".join(f"{v} {n}" for v, n in sorted(self.names.items()))
            named = f"the card names {named}" if named else f"the task has {len(self.classes)} structures"
            what = f"a mask with the values {some(sorted(values))}, and {named}"
            raise UnreadableImage(what, where=path, remedy="write the values that the card names")
        return mask_values.without_values(voxels, meant, self.classes).astype(np.int64)
