"""Prepared images and true masks of cases: read once in loader workers, memory-mapped from the cache after that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medvfm.core.case import Case
from medvfm.core.slice_grid import SliceGrid
from medvfm.engine import loading
from medvfm.engine.context import RunContext
from medvfm.io.cache import ArrayCache
from medvfm.io.dataset.truth_masks import TruthReader
from medvfm.models.inputs.volumes import PreparedVolume, VolumePreparer


@dataclass(frozen=True)
class _Reader:
    """Reads image and mask of a case in one go; see core.protocols.Preparer."""

    volumes: VolumePreparer
    truth: TruthReader

    def key(self) -> str:
        return f"{self.volumes.key()}-{self.truth.key()}"

    def files(self, case: Case) -> Sequence[Path]:
        return [*self.volumes.files(case), *self.truth.files(case)]

    def __call__(self, case: Case) -> dict[str, np.ndarray]:
        images = self.volumes.images(case)
        truth = self.truth(case, images[0])
        prepared = self.volumes.of_images(images, case.case_id)
        place = np.array([*images[0].shape_vox, images[0].has_spacing, *images[0].affine.ravel()], np.float64)
        found = {"pixels": prepared.pixels, "truth": truth, "place": place}
        if prepared.grid.is_resampled:  # else the truth on the model's grid is a view of the truth
            found["model_truth"] = np.ascontiguousarray(prepared.grid.to_model(truth, linear=False))
        return found


class MaskStore:
    """Rows of cases as what a segmenter sees, and their truth on the grid of the image."""

    def __init__(self, volumes: VolumePreparer, truth: TruthReader) -> None:
        self.volumes = volumes
        self._reader, self._arrays = _Reader(volumes, truth), ArrayCache("volumes")
        self._keyed: list[tuple[Case, str]] = []

    def read(self, cases: Sequence[Case], around: RunContext) -> tuple[list[Case], list[tuple[str, str]]]:
        """Read what the cache lacks; the cases that can be used, and (case_id, reason) of the others."""
        keyed = loading.content_keys(cases, self._reader, around.strict)
        missing = [(case, key) for case, key in keyed.readable if not self._arrays.has(self._name(key, "pixels"))]
        bad: dict[str, str] = {}
        if missing:
            for case, key, item in loading.made(missing, self._reader, around, "images and masks read"):
                if isinstance(item, str):
                    bad[case.case_id] = item
                    continue
                for part in sorted(item, key=lambda part: part == "pixels"):  # pixels last: they say that all is there
                    self._arrays.put(self._name(key, part), item[part])
        self._keyed = [(case, key) for case, key in keyed.readable if case.case_id not in bad]
        return [case for case, _ in self._keyed], [*keyed.left_out, *bad.items()]

    def marks(self, around: RunContext) -> list[str | None]:
        """`leakage.fingerprint` of each row."""
        return loading.marks(self._keyed, self._reader, around)

    def __len__(self) -> int:
        return len(self._keyed)

    def case(self, row: int) -> Case:
        return self._keyed[row][0]

    def grid(self, row: int) -> SliceGrid:
        shape_vox, affine, has_spacing = self.place(row)
        prepare = self.volumes.prepare
        return SliceGrid.of(shape_vox, affine, has_spacing, prepare.slices.axis or "native", prepare.spacing)

    def place(self, row: int) -> tuple[tuple[int, int, int], np.ndarray, bool]:
        """Shape, affine, and whether the file states a size, of the image that a row came from."""
        found = self._array(row, "place")
        i, j, k = (int(n) for n in found[:3])
        return (i, j, k), np.array(found[4:]).reshape(4, 4), bool(found[3])

    def item(self, row: int, *, with_truth: bool) -> PreparedVolume:
        """A case as the segmenter sees it; the truth of a case that is predicted stays away, unless it is a prompt."""
        grid = self.grid(row)
        truth = None
        if with_truth:
            truth = (
                self._array(row, "model_truth") if grid.is_resampled else grid.to_model(self.truth(row), linear=False)
            )
        return PreparedVolume(self.case(row).case_id, self._array(row, "pixels"), grid, truth)

    def truth(self, row: int) -> np.ndarray:
        """(i, j, k), or (i, j, k, T) for multi-label masks, on the grid of the image."""
        return self._array(row, "truth")

    def _array(self, row: int, part: str) -> np.ndarray:
        case, key = self._keyed[row]
        return self._arrays.get_or_make(self._name(key, part), lambda: self._reader(case)[part])

    def _name(self, key: str, part: str) -> str:
        return f"{self._reader.key()}-{key}-{part}"
