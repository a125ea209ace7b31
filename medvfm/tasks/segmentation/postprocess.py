"""Post-processing of masks, by name and only where a recipe asks for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import ndimage

from medvfm.core import geometry
from medvfm.core.array import Array
from medvfm.core.errors import RecipeError, nearest

Step = Callable[[Array, float], Array]  # one structure (i, j, k) of bool and the volume of a voxel, to the same


def parse(names: Sequence[str], kind: str, where: str | None = None) -> tuple[Step, ...]:
    """The steps in their order: largest_component, fill_holes, drop_smaller@mm3=V."""
    if names and kind == "instances":
        raise RecipeError("post-processing is for structures, not for instances", where=where)
    return tuple(_step(name, where) for name in names)


def apply(mask: Array, steps: Sequence[Step], kind: str, affine: Array, has_size: bool) -> Array:
    """Each structure of a mask (i, j, k), or (i, j, k, T) of bool, through the steps; what goes is background."""
    if not steps:
        return mask
    voxel_mm3 = geometry.voxel_volume_mm3(affine) if has_size else 1.0
    if kind == "multi_label":
        return np.stack([_through(layer, steps, voxel_mm3) for layer in np.moveaxis(mask, -1, 0)], axis=-1)
    out = np.zeros_like(mask)
    for value in np.unique(mask[mask > 0]):
        kept = _through(mask == value, steps, voxel_mm3)
        out[kept & ((mask == value) | (mask == 0))] = value  # a filled hole does not take another structure's voxels
    return out


def largest_component(structure: Array, voxel_mm3: float = 1.0) -> Array:
    """The largest part of which all voxels touch, diagonals counted; of equals the first in memory."""
    parts, count = ndimage.label(structure, np.ones((3,) * structure.ndim))
    if count < 2:
        return structure
    return parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))


def fill_holes(structure: Array, voxel_mm3: float = 1.0) -> Array:
    """Background that the structure encloses altogether becomes structure; in a picture, in its plane."""
    flat = structure.shape[2] == 1
    return ndimage.binary_fill_holes(structure[..., 0])[..., None] if flat else ndimage.binary_fill_holes(structure)


def _drop_smaller(least_mm3: float) -> Step:
    def drop(structure: Array, voxel_mm3: float) -> Array:
        """Parts of less than least_mm3 (pixels where no size is known) go."""
        parts, _ = ndimage.label(structure, np.ones((3,) * structure.ndim))
        sizes = np.bincount(parts.ravel()) * voxel_mm3
        sizes[0] = 0
        return (sizes >= least_mm3)[parts]

    return drop


NAMES = {"largest_component": largest_component, "fill_holes": fill_holes}
SUMMARIES = {  # for `medvfm list postprocess`, as a recipe writes them
    "largest_component": "of each structure only its largest connected part is kept",
    "fill_holes": "holes that a structure encloses become part of it",
    "drop_smaller@mm3=10": "connected parts of fewer cubic millimetres are taken away; the number is yours",
}


def _step(name: str, where: str | None) -> Step:
    base, at, rest = name.partition("@")
    if base == "drop_smaller" and at:
        key, _, text = rest.partition("=")
        try:
            least = float(text)
        except ValueError:
            least = -1.0
        if key != "mm3" or least <= 0:
            raise RecipeError(f"{name!r}: write drop_smaller@mm3=10", where=where)
        return _drop_smaller(least)
    if name not in NAMES:
        raise RecipeError(f"no step {name!r}; {nearest(name, [*NAMES, 'drop_smaller@mm3=...'])}", where=where)
    return NAMES[name]


def _through(structure: Array, steps: Sequence[Step], voxel_mm3: float) -> Array:
    for step in steps:
        structure = step(structure, voxel_mm3)
    return structure
