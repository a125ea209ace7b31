"""From a case to the pictures that a 2D model takes, in loader workers: read, window, slice, resize."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medvfm.core.case import Case
from medvfm.core.errors import UnreadableImage
from medvfm.core.image import Image
from medvfm.core.recipe_sections import Prepare
from medvfm.core.slice_grid import SliceGrid
from medvfm.io.read import read_image
from medvfm.io.rendering import windowing
from medvfm.models.inputs.contract import InputContract

VERSION = 3  # to be raised when the same settings give other pixels, so that caches start afresh


@dataclass(frozen=True)
class SliceStackPreparer:
    """A case as (S, C, h, w) float16 pictures in [0, 1], resized by the model's contract, not yet normalised.

    C is 1 for gray images and 3 for colour; S is 1 for 2D images. Half precision resolves a 2000th of the window, eight
    times finer than the 8 bits that the models were trained on, and keeps the cache small.

    apart  three windows are three gray pictures of a slice, one after the other, and not its colours
    """

    contract: InputContract
    prepare: Prepare
    windows: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    read: Mapping[Any, Any] = field(default_factory=dict)
    role: str = "image"
    limit_gib: float = 4.0
    apart: bool = False

    def key(self) -> str:
        """Everything that the pixels depend on besides the file."""
        slices = self.prepare.slices
        shape = {k: v for k, v in self.contract.as_record().items() if k not in ("mean", "std", "scale", "origin")}
        parts = [
            VERSION,
            shape,
            slices.axis or "axial",
            slices.count,
            slices.span,
            intensity_rule(self.prepare, self.windows),
            self.prepare.invalid,
        ]
        text = json.dumps([*parts, dict(self.read), self.role, *["apart"] * self.apart], sort_keys=True, default=str)
        return f"pictures-{hashlib.sha256(text.encode()).hexdigest()[:24]}"

    def files(self, case: Case) -> tuple[Path, ...]:
        if self.role not in case.images:
            raise UnreadableImage(f"{case.case_id} has no image in the role {self.role!r}")
        return case.images[self.role]

    def images(self, case: Case) -> list[Image]:
        """The images of a case in the role."""
        return [
            read_image(path, limit_gib=self.limit_gib, nan=self.prepare.invalid, **self.read)
            for path in self.files(case)
        ]

    def arrays(self, images: Sequence[Image], case: Case) -> dict[str, np.ndarray]:
        """`pixels`: the slices of all images of the case, one after the other."""
        found = [self.of_image(image) for image in images]
        channels = max(f.shape[1] for f in found)
        return {"pixels": np.concatenate([np.repeat(f, channels // f.shape[1], axis=1) for f in found])}

    def grid(self, arrays: Mapping[str, np.ndarray]) -> SliceGrid | None:
        """None: scores need no way back to the image."""
        return None

    def of_image(self, image: Image) -> np.ndarray:
        """(S, C, h, w) of an image that has been read."""
        stack = pictures_of(image, self.prepare, self.windows, apart=self.apart)
        with torch.inference_mode():
            return self.contract.fit(torch.from_numpy(stack)).half().numpy()


def pictures_of(
    image: Image, prepare: Prepare, windows: Mapping[str, tuple[float, float]], *, apart: bool = False
) -> np.ndarray:
    """(S, C, h, w) in [0, 1]: the slices that a recipe asks for, in its windows. apart: see SliceStackPreparer."""
    slices = prepare.slices
    stack = windowing.slice_pictures(
        image,
        plane=slices.axis or "axial",
        count=slices.count,
        span=slices.span,
        intensity=intensity_rule(prepare, windows),
    )
    several = apart and isinstance(prepare.windows, tuple) and len(prepare.windows) == 3
    return stack.reshape(-1, 1, *stack.shape[2:]) if several else stack


def intensity_rule(prepare: Prepare, windows: Mapping[str, tuple[float, float]]) -> Any:
    """The rule of io.pictures.intensity_range that a recipe's windows mean; names of the card's windows come first."""
    wanted = prepare.windows
    if isinstance(wanted, str) and wanted in windows:
        return windows[wanted]
    return "auto" if wanted is None else wanted


def as_batch(arrays: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
    """Cases of different numbers of slices as one batch: pictures (sum of S, C, h, w) and counts (B,)."""
    channels = max(a.shape[1] for a in arrays)
    wide = [a if a.shape[1] == channels else np.repeat(a, channels // a.shape[1], axis=1) for a in arrays]
    return {
        "pictures": torch.from_numpy(np.concatenate(wide)),
        "counts": torch.tensor([len(a) for a in arrays]),
    }
