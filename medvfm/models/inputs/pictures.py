"""From a case to the one picture that a generator of images learns from or answers to, in loader workers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from medvfm.core.case import Case
from medvfm.core.degradation import Degradation
from medvfm.core.errors import UnreadableImage
from medvfm.core.image import Image
from medvfm.core.protocols import TruthReader
from medvfm.core.recipe_sections import Prepare
from medvfm.core.slice_grid import SliceGrid
from medvfm.io.dataset.truth_masks import MaskTruthReader
from medvfm.io.read import read_image
from medvfm.io.rendering import windowing
from medvfm.models.inputs.contract import InputContract, Interpolation
from medvfm.models.inputs.edges import canny
from medvfm.models.inputs.slice_stacks import intensity_rule

GROWN_PX = 2
VERSION = 1  # to be raised when the same settings give other pixels, so that caches start afresh


@dataclass(frozen=True)
class PicturePreparer:
    """A case as one picture (C, H, W) float32 in [0, 1], C 1 for gray and 3 for colour: `pixels`.

    Pictures are fitted into `size_px` with borders, aspect ratio kept. Of a volume it is the slice in the middle of
    `prepare.slices.span`. A case without images, which asks for one to be made, has no arrays.

    spatial  `edges`: also `mask` (1, H, W), 1 on the edges of the picture (Canny), channels averaged.
             `mask`: also `mask` (1, H, W), 1 where any structure is; a case without masks shows none.
             `around`: also `mask`, grown by GROWN_PX, and `around`, the picture with that region in middle gray; a case
             that shows none gets a square at a place that its case_id decides
             `degraded`: also `degraded`, the picture as `degradation` spoils it, and where `outlines` reads some
             `lesions` (1, H, W), 1 where any structure is
    outlines  reads which structures a mask shows, (i, j, k, T); None: whatever of a mask is not 0
    """

    size_px: tuple[int, int]
    prepare: Prepare
    windows: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    read: Mapping[Any, Any] = field(default_factory=dict)
    role: str = "image"
    limit_gib: float = 4.0
    spatial: Literal["", "mask", "around", "edges", "degraded"] = ""
    outlines: TruthReader | None = None
    degradation: Degradation = field(default_factory=Degradation)

    @property
    def contract(self) -> InputContract:
        return InputContract(self.size_px, "pad", interpolation="bilinear", origin="medvfm")

    def key(self) -> str:
        """Everything that the pixels depend on besides the file."""
        slices = self.prepare.slices
        rule = intensity_rule(self.prepare, self.windows)
        parts = [VERSION, self.spatial, self.size_px, slices.axis or "axial", slices.span, rule, self.prepare.invalid]
        if self.spatial and self.outlines is not None:
            parts.append(self.outlines.key())
        if self.spatial == "degraded":
            parts.append(self.degradation.key())
        text = json.dumps([*parts, dict(self.read), self.role], sort_keys=True, default=str)
        return f"picture-{hashlib.sha256(text.encode()).hexdigest()[:24]}"

    def files(self, case: Case) -> tuple[Path, ...]:
        if not case.images:
            return ()
        if self.role not in case.images:
            raise UnreadableImage(f"{case.case_id} has no image in the role {self.role!r}")
        reads = self.spatial in ("mask", "around") or (self.spatial == "degraded" and self.outlines is not None)
        masks = [path for name in sorted(case.masks) for path in case.masks[name]] if reads else []
        return (*case.images[self.role], *masks)

    def images(self, case: Case) -> list[Image]:
        """The first image of a case in the role."""
        return [
            read_image(path, limit_gib=self.limit_gib, nan=self.prepare.invalid, **self.read)
            for path in self.files(case)[:1]
        ]

    def arrays(self, images: Sequence[Image], case: Case) -> dict[str, np.ndarray]:
        """`pixels` (C, H, W), and what `spatial` adds."""
        if not images:
            return {}
        pixels = self.of_image(images[0])
        if not self.spatial:
            return {"pixels": pixels}
        if self.spatial == "edges":
            return {"pixels": pixels, "mask": canny(pixels.mean(0))[None].astype(np.float32)}
        if self.spatial == "degraded":
            found = {"pixels": pixels, "degraded": self.degradation.of_case(pixels, case.case_id)}
            return found if self.outlines is None else found | {"lesions": self._mask(images[0], case)}
        mask = self._mask(images[0], case)
        if self.spatial == "mask":
            return {"pixels": pixels, "mask": mask}
        region = grown(mask) if mask.any() else square(case.case_id, self.size_px)
        return {"pixels": pixels, "mask": region, "around": np.where(region > 0, np.float32(0.5), pixels)}

    def _mask(self, image: Image, case: Case) -> np.ndarray:
        """(1, H, W) float32 of 0 and 1."""
        if not case.masks:
            return np.zeros((1, *self.size_px), np.float32)
        reader = self.outlines or MaskTruthReader(tuple(sorted(case.masks)), "multi_label")
        layers = reader(case, image)
        united = replace(image, voxels=np.asarray(layers.any(-1), np.uint8), unit="label", header={})
        return (self._fitted(united, (0.0, 1.0), "nearest") > 0.5).astype(np.float32)

    def grid(self, arrays: Mapping[str, np.ndarray]) -> SliceGrid | None:
        """None: an image that is made needs no way back."""
        return None

    def of_image(self, image: Image) -> np.ndarray:
        """(C, H, W) of an image that has been read; other channels than 1 or 3 become one gray by their mean."""
        return self._fitted(image, intensity_rule(self.prepare, self.windows), "bilinear")

    def _fitted(self, image: Image, intensity: Any, interpolation: Interpolation) -> np.ndarray:
        slices = self.prepare.slices
        one = middle_slice(image, slices.axis or "axial", slices.span, intensity)
        with torch.inference_mode():
            return replace(self.contract, interpolation=interpolation).fit(torch.from_numpy(one)[None])[0].numpy()


def middle_slice(image: Image, plane: str, span: tuple[float, float], intensity: Any) -> np.ndarray:
    """(C, H, W) float32 in [0, 1], C 1 or 3: the picture, or of a volume the slice in the middle of the span."""
    stack = windowing.slice_pictures(image, plane=plane, count=1, span=span, intensity=intensity)
    one = stack[0] if stack.shape[1] in (1, 3) else stack[0].mean(0, keepdims=True)
    return np.ascontiguousarray(one)


def grown(mask: np.ndarray) -> np.ndarray:
    """(1, H, W) with everything within GROWN_PX: the border of what is drawn must lie inside."""
    side = 2 * GROWN_PX + 1
    return torch.nn.functional.max_pool2d(torch.from_numpy(mask)[None], side, 1, GROWN_PX)[0].numpy()


def square(case_id: str, size_px: tuple[int, int]) -> np.ndarray:
    """(1, H, W): a square of a quarter of the shorter side, inside the middle half of the picture."""
    rng = np.random.default_rng([*case_id.encode()])
    side = max(1, min(size_px) // 4)
    top, left = (int(rng.integers(s // 4, max(3 * s // 4 - side, s // 4) + 1)) for s in size_px)
    found = np.zeros((1, *size_px), np.float32)
    found[:, top : top + side, left : left + side] = 1
    return found
