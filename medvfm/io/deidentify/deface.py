"""Defacing: face and ears removed from head MR and CT volumes; the brain stays as it is.

The region is defined once, in the millimetres of the MNI152 template, and brought into the image by the affine that
head_registration.py estimates. Where that is not to be trusted nothing is changed and the image is refused: a head that
looks defaced and is not is worse than one that is left out.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
from scipy import ndimage

from medvfm.core.errors import DataError
from medvfm.core.image import Image
from medvfm.io.deidentify.head_registration import Placed, brain_mask, place_head
from medvfm.io.mni_template import ORIGIN_MM

BRAIN_MARGIN_MM = 8.0  # around the template's brain nothing is removed: what an affine misses of a brain's form
_DISTANCE_GRID_MM = 2.0
_SLAB_VOXELS = 2_000_000  # that are looked at together

# The face in template millimetres (x to the right, y to anterior, z to superior; nasion near (0, 86, -40), ear canals
# near (86, -20, -48), orbital roofs near z = -25, mandibular angles near y = 0): below a plane from the forehead above
# the brows back to the front of the temporal poles, and in front of the jaw's joints.
_BROW_MM = (95.0, -4.0)  # y, z
_POLE_MM = (22.0, -38.0)
_JAW_Y_MM = 2.0  # below the temporal poles the face reaches back to here
_JAW_Z_MM = -62.0
# The auricles stand beside the head, from above the brows down to the lobes.
_EAR_X_MM, _EAR_Y_MM, _EAR_Z_MM = 73.0, (-62.0, 14.0), (-86.0, 4.0)
_EAR_MARGIN_MM = 10.0  # from the brain


def in_face(points_mm: np.ndarray, from_brain_mm: np.ndarray) -> np.ndarray:
    """Which points (..., 3) of the template's space belong to face or ears, given their distance from the brain."""
    x, y, z = np.moveaxis(points_mm, -1, 0)
    slope = (_BROW_MM[1] - _POLE_MM[1]) / (_BROW_MM[0] - _POLE_MM[0])
    below_brows = z < _POLE_MM[1] + slope * (y - _POLE_MM[0])
    face = below_brows & (y > np.where(z < _JAW_Z_MM, _JAW_Y_MM, _POLE_MM[0])) & (from_brain_mm > BRAIN_MARGIN_MM)
    (back, front), (low, high) = _EAR_Y_MM, _EAR_Z_MM
    ears = (np.abs(x) > _EAR_X_MM) & (y > back) & (y < front) & (z > low) & (z < high)
    return face | (ears & (from_brain_mm > _EAR_MARGIN_MM))


@functools.lru_cache(maxsize=1)
def _from_brain() -> tuple[np.ndarray, np.ndarray]:
    """Distance in mm from the template's brain on a grid that reaches beyond every margin, and its first voxel's mm."""
    step, pad = int(_DISTANCE_GRID_MM), int(_EAR_MARGIN_MM)
    brain = np.pad(brain_mask()[::step, ::step, ::step], pad)
    distance = ndimage.distance_transform_edt(~brain) * _DISTANCE_GRID_MM
    return distance.astype(np.float32), ORIGIN_MM - pad * _DISTANCE_GRID_MM


def face_mask(image: Image) -> np.ndarray:
    """(i, j, k) bool: the voxels of face and ears of a head MR or CT; DataError where the head cannot be placed."""
    placed = place_head(image)
    if placed.doubts:
        raise DataError(
            f"its face cannot be found: {'; '.join(placed.doubts)}", remedy="it is not to be passed on as defaced"
        )
    return mask_at(image, placed)


def mask_at(image: Image, placed: Placed) -> np.ndarray:
    """The face mask of an image whose head has this place."""
    distance, origin_mm = _from_brain()
    vox2template = np.linalg.inv(placed.template2image) @ image.affine
    mask = np.zeros(image.shape_vox, bool)
    rows, columns, slices = image.shape_vox
    thick = max(1, _SLAB_VOXELS // (rows * columns))
    for first in range(0, slices, thick):
        k = np.arange(first, min(first + thick, slices))
        vox = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), k, indexing="ij"), -1)
        mm = vox @ vox2template[:3, :3].T + vox2template[:3, 3]
        at = np.moveaxis((mm - origin_mm) / _DISTANCE_GRID_MM, -1, 0)
        from_brain = ndimage.map_coordinates(distance, at, order=1, mode="nearest", prefilter=False)
        mask[:, :, first : first + thick] = in_face(mm, from_brain)
    return mask


def deface(image: Image) -> Image:
    """The image with face and ears set to its lowest value; DataError where the head cannot be placed."""
    mask = face_mask(image)
    voxels = np.array(image.voxels)
    voxels[mask] = image.voxels.min()
    done = f"face and ears removed: {int(mask.sum())} voxels set to the lowest value"
    return replace(image, voxels=voxels, repairs=(*image.repairs, done))
