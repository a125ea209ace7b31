"""From a case to pictures for a model whose own processor resizes them: read, windowed, sliced, and no more."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as pillow

from medvfm.core.case import Case
from medvfm.core.image import Image
from medvfm.core.item import PIXELS
from medvfm.core.recipe_sections import Prepare
from medvfm.core.slice_grid import SliceGrid
from medvfm.io.read import read_image
from medvfm.models.inputs.role_stacks import files_of
from medvfm.models.inputs.slice_stacks import intensity_rule, pictures_of

VERSION = 1  # to be raised when the same settings give other pixels, so that caches start afresh


@dataclass(frozen=True)
class ShownPictures:
    """A case as uint8 pictures (S, C, H, W) at their own size: `pixels` of its first image, `pixels1` of the next.

    C is 1 for gray and 3 for colour, three windows among them unless they are shown `apart`.
    """

    prepare: Prepare
    windows: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    read: Mapping[Any, Any] = field(default_factory=dict)
    roles: tuple[str, ...] = ("image",)
    limit_gib: float = 4.0
    apart: bool = False

    def key(self) -> str:
        """Everything that the pixels depend on besides the file."""
        slices = self.prepare.slices
        parts = [
            VERSION, slices.axis or "axial", slices.count, slices.span, intensity_rule(self.prepare, self.windows),
            self.prepare.invalid, dict(self.read), self.roles, *["apart"] * self.apart,
        ]  # fmt: skip
        return f"shown-{hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:24]}"

    def files(self, case: Case) -> tuple[Path, ...]:
        return tuple(path for own in files_of(case, self.roles).values() for path in own)

    def images(self, case: Case) -> list[Image]:
        return [
            read_image(path, limit_gib=self.limit_gib, nan=self.prepare.invalid, **self.read)
            for path in self.files(case)
        ]

    def arrays(self, images: Sequence[Image], case: Case) -> dict[str, np.ndarray]:
        return {f"{PIXELS}{n or ''}": self._of_image(image) for n, image in enumerate(images)}

    def grid(self, arrays: Mapping[str, np.ndarray]) -> SliceGrid | None:
        """None: answers need no way back to the image."""
        return None

    def _of_image(self, image: Image) -> np.ndarray:
        stack = pictures_of(image, self.prepare, self.windows, apart=self.apart)
        return np.rint(stack * 255).astype(np.uint8)


def counts(arrays: Mapping[str, np.ndarray]) -> list[int]:
    """Of how many pictures each image of a case is."""
    return [len(arrays[name]) for name in _names(arrays)]


def _names(arrays: Mapping[str, np.ndarray]) -> list[str]:
    return sorted((n for n in arrays if n.startswith(PIXELS)), key=lambda n: int(n.removeprefix(PIXELS) or 0))


def as_pillow(arrays: Mapping[str, np.ndarray]) -> list[pillow.Image]:
    """All pictures of a case in colour, one after the other."""
    found = []
    for name in _names(arrays):
        for picture in np.asarray(arrays[name]):
            colour = np.repeat(picture, 3, axis=0) if len(picture) == 1 else picture[:3]
            found.append(pillow.fromarray(np.ascontiguousarray(colour.transpose(1, 2, 0))))
    return found
