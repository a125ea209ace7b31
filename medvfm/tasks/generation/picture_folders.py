"""Folders of pictures or volumes of any size, grey and colour, as sets: in the order of their names, one by one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medvfm.core.array import Array
from medvfm.core.errors import MedvfmError, PredictionError, UnreadableImage
from medvfm.core.image import Image
from medvfm.core.plurals import some
from medvfm.core.slice_grid import SliceGrid
from medvfm.io.dataset.file_endings import IMAGES, without_ending
from medvfm.io.read import read_image
from medvfm.io.rendering import windowing

LEAST = 2  # images of a set
BATCH = 32
_ENDINGS = tuple(ending for ending in IMAGES if ending != ".zip")


@dataclass(frozen=True)
class PictureFolder:
    """The pictures below a folder: names of cases, which are the files' without endings, and the files."""

    folder: Path
    case_ids: tuple[str, ...]
    files: tuple[Path, ...]

    def batches(self, most: int = BATCH) -> Iterator[Tensor]:
        """Pictures (n, c, h, w) or volumes (n, c, s, h, w) float32 in [0, 1], neighbours of one size and kind together,
        all in order.

        UnreadableImage names the first file that is no image, or a volume where the first is a picture.
        """
        waiting: list[Tensor] = []
        dimensions = 0
        for file in self.files:
            picture = read_picture(file)
            dimensions = dimensions or picture.ndim
            if picture.ndim != dimensions:
                what, others = ("a volume", "pictures") if picture.ndim == 4 else ("a picture", "volumes")
                raise UnreadableImage(f"{what} among {others}", where=file, remedy="compare one kind at a time")
            if waiting and (picture.shape != waiting[0].shape or len(waiting) == most):
                yield torch.stack(waiting)
                waiting = []
            waiting.append(picture)
        if waiting:
            yield torch.stack(waiting)

    def images(self) -> Tensor | None:
        """(n, c, h, w) or (n, c, s, h, w) all at once, read anew: grey as colour where there is colour; None where
        sizes differ."""
        found = list(self.batches())
        if len({batch.shape[2:] for batch in found}) > 1:
            return None
        channels = max(batch.shape[1] for batch in found)
        return torch.cat([batch.expand(-1, channels, *batch.shape[2:]) for batch in found])


def pictures_in(folder: Path) -> PictureFolder:
    """The pictures of a folder and of those inside it; refused where there are fewer than 2 of them."""
    files = [f for f in sorted(folder.rglob("*")) if f.is_file() and without_ending(f.name, _ENDINGS) is not None]
    shown = [f for f in files if not any(part.startswith(".") for part in f.relative_to(folder).parts)]
    if len(shown) < LEAST:
        count = f"{len(shown)} image{'s' * (len(shown) != 1)}" if shown else "no images"
        raise PredictionError(
            f"{count} in the folder: a set has {LEAST} or more",
            where=folder,
            remedy=None if shown else f"known are {', '.join(_ENDINGS)}",
        )
    names = [str(without_ending(f.relative_to(folder).as_posix(), _ENDINGS)) for f in shown]
    if len(set(names)) < len(names):
        doubled = sorted({name for name in names if names.count(name) > 1})
        raise PredictionError(f"two pictures of one name: {some(doubled)}", where=folder, remedy="rename one of each")
    return PictureFolder(folder, tuple(names), tuple(shown))


def read_picture(file: Path) -> Tensor:
    """(c, h, w), or (c, s, h, w) of a volume in axial slices, float32 in [0, 1]: 8-bit values over 255, others by the
    window that the file states or percentiles."""
    try:
        image = read_image(file)
    except MedvfmError as error:
        raise UnreadableImage(error.what, where=file, remedy=error.remedy) from error
    if image.is_volume and min(image.shape_vox) == 1:
        raise UnreadableImage("a volume of one slice, which is stored along another axis", where=file)
    found = _volume(image) if image.is_volume else windowing.slice_pictures(image)[0]
    if found.shape[0] not in (1, 3):
        raise UnreadableImage(f"{found.shape[0]} channels, where images have 1 or 3", where=file)
    return torch.from_numpy(np.ascontiguousarray(found))


def _volume(image: Image) -> Array:
    """(c, s, h, w) float32."""
    grid = SliceGrid.of(image.shape_vox, image.affine, image.has_spacing, "axial")
    voxels = grid.to_model(image.voxels, linear=True)
    low, high = windowing.intensity_range(image)
    return windowing.window(voxels, low, high).astype(np.float32).reshape(-1, *voxels.shape[-3:])


def sizes_note(shapes: Sequence[torch.Size], others: Sequence[torch.Size]) -> str | None:
    """What is to be known where pictures of true and of made images have different sizes."""
    true, made = ({tuple(shape[2:]) for shape in side} for side in (shapes, others))
    if len(true | made) < 2:
        return None
    said = " and ".join(f"{whose} {_sizes(sizes)}" for whose, sizes in (("true", true), ("made", made)))
    what, each = ("Pictures", "each") if len(max(true)) == 2 else ("Volumes", "each slice")
    return (
        f"{what} differ in size ({said}): {each} is resized on its own, and sharpness that is lost so counts as a "
        "difference."
    )


def _sizes(sizes: set[tuple[int, ...]]) -> str:
    least, most = min(sizes, key=math.prod), max(sizes, key=math.prod)
    first, last = (" x ".join(map(str, size)) for size in (least, most))
    unit = "px" if len(least) == 2 else "voxels"
    return f"{first} {unit}" if first == last else f"{first} to {last} {unit}"
