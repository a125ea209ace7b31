"""Images as people hand them over in a script: paths, images that have been read, arrays, PIL pictures, or several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as pillow

from medvfm.core.errors import UnreadableImage
from medvfm.core.image import Image
from medvfm.io.formats import raster
from medvfm.io.read import read_image

_ACCEPTED = "give a path, an image that medvfm.read_image read, an array (rows, columns) or (rows, columns, 3), a PIL "
_ACCEPTED += "picture, or a list of these"


def images_of(given: Any, **reading: Any) -> list[Image]:
    """One image or several as a list; refused where it is not clear what is meant. `reading` goes to `read_image`."""
    if isinstance(given, str | Path | Image | pillow.Image | np.ndarray):
        return [_one(given, reading)]
    if (
        given is None
        or isinstance(given, Mapping | bytes)
        or not isinstance(given, Iterable)
        or hasattr(given, "detach")
    ):
        raise UnreadableImage(f"{_kind(given)} is no image", remedy=_ACCEPTED)
    found = [_one(one, reading, f"image {number}") for number, one in enumerate(given)]
    if not found:
        raise UnreadableImage("an empty list of images", remedy=_ACCEPTED)
    return found


def _one(given: Any, reading: Mapping[str, Any], where: str | None = None) -> Image:
    if isinstance(given, Image):
        return given
    if isinstance(given, str | Path):
        return read_image(given, **reading)
    if isinstance(given, pillow.Image):
        return raster.of_pillow(given, where)
    if isinstance(given, np.ndarray):
        return _of_array(given, where)
    raise UnreadableImage(f"{_kind(given)} is no image", where=where, remedy=_ACCEPTED)


def _of_array(pixels: np.ndarray, where: str | None) -> Image:
    """A picture of (rows, columns) or (rows, columns, 1 or 3): colour as uint8, or as fractions from 0 to 1."""
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim not in (2, 3) or 0 in pixels.shape or (pixels.ndim == 3 and pixels.shape[2] != 3):
        remedy = "give a list of pictures, or medvfm.Image(voxels, affine) for a volume"
        raise UnreadableImage(f"an array of shape {pixels.shape} is no picture", where=where, remedy=remedy)
    if pixels.dtype.kind not in "biuf":
        raise UnreadableImage(f"an array of {pixels.dtype} is no picture", where=where, remedy=_ACCEPTED)
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise UnreadableImage("an array with NaN or infinity", where=where, remedy="replace them first")
    if pixels.ndim == 3 and pixels.dtype != np.uint8:
        if pixels.dtype.kind != "f" or pixels.min() < 0 or pixels.max() > 1:
            what = f"colour of {pixels.dtype} from {pixels.min():g} to {pixels.max():g}"
            raise UnreadableImage(what, where=where, remedy="give uint8 from 0 to 255, or fractions from 0 to 1")
        pixels = np.rint(pixels * 255).astype(np.uint8)
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    return raster.pixel_image(pixels, "array", [])


def _kind(given: object) -> str:
    return "None" if given is None else f"an object of type {type(given).__name__}"
