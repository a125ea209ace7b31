"""Images as people hand them over in a script: paths, images that have been read, arrays, PIL pictures, or several."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as pillow

from medvfm.core.errors import UnreadableImage
from medvfm.core.image import Image
from medvfm.io.console import Console
from medvfm.io.formats import raster
from medvfm.io.read import read_image

_ACCEPTED = "give a path, an image that medvfm.read_image read, an array (rows, columns) or (rows, columns, 3), a PIL "
_ACCEPTED += "picture, or a list of these"


def images_of(given: Any, **reading: Any) -> list[Image]:
    """One image or several as a list; refused where it is not clear what is meant. `reading` goes to `read_image`."""
    return list(_each(_listed(given), reading))


def in_parts(given: Any, size: int, progress: bool | None = None) -> Iterator[list[Image]]:
    """The same, at most `size` at a time, so that no more are in memory.

    progress  a bar, or lines where standard error is no terminal; None: a bar on a terminal, else nothing
    """
    several = _listed(given)
    quiet = not sys.stderr.isatty() if progress is None else not progress
    part: list[Image] = []
    for image in Console(quiet=quiet).track(_each(several, {}), len(several), "images", done=False):
        part.append(image)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part


def _each(several: list[Any], reading: Mapping[str, Any]) -> Iterator[Image]:
    for number, one in enumerate(several):
        yield _one(one, reading, f"image {number}" if len(several) > 1 else None)


def _listed(given: Any) -> list[Any]:
    if isinstance(given, str | Path | Image | pillow.Image):
        return [given]
    if isinstance(given, np.ndarray) and given.dtype.kind not in "OU":  # of paths, as columns of tables are
        return [given]
    if (
        given is None
        or isinstance(given, Mapping | bytes)
        or not isinstance(given, Iterable)
        or hasattr(given, "detach")
    ):
        raise UnreadableImage(f"{_kind(given)} is no image", remedy=_ACCEPTED)
    found = given if isinstance(given, list) else list(given)
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
        try:
            return Image.from_array(given)
        except UnreadableImage as error:
            raise UnreadableImage(error.what, where=where, remedy=error.remedy) from error
    raise UnreadableImage(f"{_kind(given)} is no image", where=where, remedy=_ACCEPTED)


def _kind(given: object) -> str:
    return "None" if given is None else f"an object of type {type(given).__name__}"
