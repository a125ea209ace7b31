"""Affines between voxel indices and patient millimetres (RAS+, as nibabel and NIfTI have them)."""

from __future__ import annotations

import numpy as np

from medvfm.core.errors import UnreadableImage

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_LAST_ROW = np.array([0.0, 0.0, 0.0, 1.0])
_MM_MOST = 1e9  # a thousand kilometres: an affine beyond it is damage, and its squares overflow
_AXIS_CODES = (("L", "R"), ("P", "A"), ("I", "S"))
# Where the axes of a picture (columns, rows, slices) point as a radiologist sees it: the patient's right at the left
# edge of axial and coronal pictures, anterior up or superior up, anterior at the left edge of sagittal ones.
PICTURE_AXES = {"axial": "LPS", "coronal": "LIP", "sagittal": "PIL"}
_PLANE_OF_PATIENT_AXIS = ("sagittal", "coronal", "axial")


def checked_affine(affine: np.ndarray) -> np.ndarray:
    """The affine as (4, 4) float64, refused where it could not place a voxel."""
    affine = np.array(affine, dtype=np.float64)
    if affine.shape != (4, 4) or not (np.abs(affine) < _MM_MOST).all():  # NaN is not below either
        raise UnreadableImage("the affine is not a finite 4 x 4 matrix")
    if not (np.abs(affine[3] - _LAST_ROW) <= 1e-5).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise UnreadableImage("the affine is singular: it gives voxels no volume")
    affine.setflags(write=False)
    return affine


def spacing_mm(affine: np.ndarray) -> tuple[float, float, float]:
    """Lengths of the three voxel edges."""
    x, y, z = np.sqrt((np.asarray(affine)[:3, :3] ** 2).sum(axis=0)).tolist()
    return x, y, z


def voxel_volume_mm3(affine: np.ndarray) -> float:
    """Volume of one voxel, sheared grids included."""
    return float(abs(np.linalg.det(np.asarray(affine)[:3, :3])))


def greatest_distance_mm(affine: np.ndarray, other: np.ndarray, shape_vox: tuple[int, int, int]) -> float:
    """How far apart two affines place the same voxel at most: at a corner of the grid, since both are linear."""
    corners = np.array([[*((np.array(shape_vox) - 1) * corner), 1.0] for corner in np.ndindex(2, 2, 2)])
    apart = corners @ (np.asarray(affine) - np.asarray(other)).T
    return float(np.sqrt((apart[:, :3] ** 2).sum(axis=1)).max())


def axis_directions(affine: np.ndarray) -> tuple[tuple[int, int], ...]:
    """For each voxel axis (patient axis, sign): the permutation that comes nearest to the affine.

    As nibabel: of the nearest rotation, the axis with the largest cosine chooses first, and no patient axis is given
    away twice.
    """
    cosines = np.asarray(affine)[:3, :3] / np.array(spacing_mm(affine))
    left, _, right = np.linalg.svd(cosines)
    rotation = left @ right
    free = np.abs(rotation)
    found: dict[int, tuple[int, int]] = {}
    for voxel in np.argsort(-free.max(axis=0), kind="stable").tolist():
        patient = int(np.argmax(free[:, voxel]))
        found[voxel] = (patient, 1 if rotation[patient, voxel] > 0 else -1)
        free[patient, :] = -1.0
    return tuple(found[axis] for axis in range(3))


def orientation(affine: np.ndarray) -> str:
    """Letters for where the three voxel axes point: `RAS`, `LPS`, `PIR`, ..."""
    return "".join(_AXIS_CODES[patient][sign > 0] for patient, sign in axis_directions(affine))


def reoriented(voxels: np.ndarray, affine: np.ndarray, axes: str = "RAS") -> tuple[np.ndarray, np.ndarray]:
    """A view of the voxels whose axes point to `axes`, and the affine of that view; no value is interpolated."""
    wanted = [_code_axis(code) for code in axes.upper()]
    if sorted(patient for patient, _ in wanted) != [0, 1, 2]:
        raise ValueError(f"axes {axes!r}: name each of L/R, P/A and I/S once")
    have = axis_directions(affine)
    order = [next(v for v, (p, _) in enumerate(have) if p == patient) for patient, _ in wanted]
    flips = [have[v][1] != sign for v, (_, sign) in zip(order, wanted, strict=True)]
    view2vox = np.zeros((4, 4))
    view2vox[3, 3] = 1.0
    for new, (old, flip) in enumerate(zip(order, flips, strict=True)):
        view2vox[old, new] = -1.0 if flip else 1.0
        view2vox[old, 3] = voxels.shape[old] - 1 if flip else 0.0
    view = voxels.transpose(*order, *range(3, voxels.ndim))
    return view[tuple(slice(None, None, -1 if f else 1) for f in flips)], np.asarray(affine) @ view2vox


def _code_axis(code: str) -> tuple[int, int]:
    for patient, codes in enumerate(_AXIS_CODES):
        if code in codes:
            return patient, 1 if codes[1] == code else -1
    raise ValueError(f"no axis {code!r}; one of L, R, P, A, I, S")


def reslice_grid(
    shape_vox: tuple[int, int, int], affine: np.ndarray, spacing: tuple[float, float, float]
) -> tuple[tuple[int, int, int], np.ndarray]:
    """Shape and affine of a grid over the same field of view with another voxel size.

    Voxels are cells: the outer faces of the new grid lie where those of the old one lie (up to one voxel's rounding,
    shared between both ends), so that a mask resampled there and back does not drift.
    """
    old_mm = np.array(spacing_mm(affine))
    extent_mm = old_mm * np.array(shape_vox)
    shape = np.maximum(1, np.rint(extent_mm / np.array(spacing))).astype(int)
    scale = np.array(spacing) / old_mm
    first_vox = (np.array(shape_vox) - 1) / 2 - (shape - 1) / 2 * scale
    new2old = np.diag([*scale, 1.0])
    new2old[:3, 3] = first_vox
    i, j, k = shape.tolist()
    return (i, j, k), np.asarray(affine) @ new2old


def slice_axis(affine: np.ndarray, plane: str) -> int:
    """The voxel axis across which slices of `plane` (axial, coronal, sagittal, native) are stacked.

    `native` is the axis of the widest spacing, the last one where all are equal (within 1%): the in-plane resolution is
    then the best that the scan has.
    """
    if plane == "native":
        spacing = np.array(spacing_mm(affine))
        return int(2 - np.argmax(spacing[::-1] >= spacing.max() * 0.99))
    patient = {"sagittal": 0, "coronal": 1, "axial": 2}[plane]
    return next(v for v, (p, _) in enumerate(axis_directions(affine)) if p == patient)


def picture_axes(affine: np.ndarray, plane: str) -> str:
    """Where columns, rows and slices of the pictures of `plane` (axial, coronal, sagittal, native) point."""
    if plane == "native":
        plane = _PLANE_OF_PATIENT_AXIS[axis_directions(affine)[slice_axis(affine, "native")][0]]
    return PICTURE_AXES[plane]
