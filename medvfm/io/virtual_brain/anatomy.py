"""Simulated heads: the MNI152 template deformed per patient, with ventricles and lesions of known truth.

Nothing here belongs to a person. The template is the average of 152 brains (ICBM 2009a); skull and
scalp are shells around it, because the template has none; there is no face and no neck.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from medvfm.core.errors import DataError
from medvfm.io.mni_template import ORIGIN_MM, template_map
from medvfm.io.virtual_brain.patients import Patient

CSF, GREY, WHITE = 0, 1, 2  # rows of `fractions`; the label map counts from 1
_COARSE_MM = 3.0  # grid of the smooth fields; what varies slowly needs no more
_KNOT_MM = 9.0  # distance of the points between which displacements are interpolated
_PUSH_REACH_MM = 14.0  # how far the tissue around a wider ventricle gives way
DEPTH_SLACK_MM = 1.0  # how far a lesion may reach beyond the white matter of the template; it is cut off there
DEEP_MM = 6.5  # deep enough for the centre of a lesion of any size: what no longer fits is cut off
_TRIES = 100  # large lesions may leave no place for the next one; then all are placed anew
GAP_MM = 7.0  # between two lesions: more than a slice, so that no two touch
_LESION_HEIGHT_MM = (-5.0, 45.0)  # of centres in the template: what the middle slices of every scanner show
_INSIDE_MM = 1.0  # voxels up to here beyond the surface of the brain get tissue, the others skull, scalp and air


@dataclass(frozen=True, eq=False)
class Template:
    """The template on two grids: tissue fractions at 1 mm, smooth fields at `_COARSE_MM`.

    fractions  (3, i, j, k) float32: CSF, grey and white matter of each voxel; all that is neither is CSF
    ventricles (i, j, k) bool: the lateral ventricles
    depth_mm   (i, j, k) float32: distance of white matter from everything else, 0 outside
    shell_mm   (a, b, c) distance from the surface of the brain, negative inside
    push       (3, a, b, c) unit displacement that widens the ventricles, in mm
    origin_mm, coarse_origin_mm   template coordinates of the first voxels
    """

    fractions: np.ndarray
    ventricles: np.ndarray
    depth_mm: np.ndarray
    shell_mm: np.ndarray
    push: np.ndarray
    origin_mm: np.ndarray
    coarse_origin_mm: np.ndarray


@dataclass(frozen=True, eq=False)
class Head:
    """One patient on one scanner's grid.

    inside     (n,) flat indices of the voxels within the skull
    fractions  (3, n) CSF, grey and white matter there, before lesions
    sites      (m, 3) voxel indices where the lesions' centres lie
    shell_mm   (i, j, k) distance from the surface of the brain
    ventricles (n,) bool: whether a voxel there lies in the lateral ventricles
    ventricles_ml  volume of the lateral ventricles
    """

    inside: np.ndarray
    fractions: np.ndarray
    sites: np.ndarray
    shell_mm: np.ndarray
    ventricles: np.ndarray
    ventricles_ml: float

    def tissues(self) -> np.ndarray:
        """(i, j, k) uint8: 0 background, 1 CSF, 2 grey matter, 3 white matter, by the largest share of each voxel."""
        labels = np.zeros(self.shell_mm.shape, np.uint8)
        labels.reshape(-1)[self.inside] = np.where(self._within(), self.fractions.argmax(0) + 1, 0)
        return labels

    def ventricle_mask(self) -> np.ndarray:
        """(i, j, k) bool: the lateral ventricles."""
        mask = np.zeros(self.shell_mm.shape, bool)
        mask.reshape(-1)[self.inside] = self.ventricles
        return mask

    def _within(self) -> np.ndarray:
        return self.shell_mm.reshape(-1)[self.inside] < 0


@functools.lru_cache(maxsize=1)
def template() -> Template:
    """The template with the fields that are derived from it; seconds of work, once for each process."""
    grey, white = (template_map(name) for name in ("gm", "wm"))
    brain = template_map("t1") > 0
    csf = 1.0 - grey - white
    origin = ORIGIN_MM
    ventricles = _lateral_ventricles((csf > 0.5) & brain, origin)
    depth = ndimage.distance_transform_edt(white > 0.5).astype(np.float32)
    step = int(_COARSE_MM)
    margin = 14  # coarse voxels around, for skull, scalp and some air
    # Below the template the brain stem goes on as it ends; elsewhere there is nothing.
    solid = np.pad(brain[::step, ::step, ::step], ((margin,) * 2, (margin,) * 2, (0, margin)))
    solid = np.pad(solid, ((0, 0), (0, 0), (margin, 0)), mode="edge")
    shell = _signed_distance(_closed(solid, 4)) * _COARSE_MM
    pad = np.pad(ventricles[::step, ::step, ::step], margin)
    away = ndimage.gaussian_filter(_signed_distance(pad) * _COARSE_MM, 1.0)
    push = np.stack(np.gradient(away, _COARSE_MM)) * np.exp(-((np.maximum(away, 0) / _PUSH_REACH_MM) ** 2))
    push *= np.clip(1 + away / 6.0, 0, 1)  # towards its middle a ventricle stays where it is
    return Template(
        fractions=np.stack([csf, grey, white]).astype(np.float32),
        ventricles=ventricles,
        depth_mm=depth,
        shell_mm=ndimage.gaussian_filter(shell, 0.7).astype(np.float32),
        push=push.astype(np.float32),
        origin_mm=origin,
        coarse_origin_mm=origin - margin * _COARSE_MM,
    )


def places(patient: Patient) -> np.ndarray:
    """(m, 3) template mm of the lesions' centres, the largest lesion first: deep enough in white matter to lie in it,
    apart from each other, and at the height of the lateral ventricles and above."""
    rng = patient.rng("lesions")
    for _ in range(_TRIES):
        found = _placed(patient, rng)
        if len(found) == len(patient.lesions):
            return found
    sizes = ", ".join(f"{lesion.diameter_mm} mm" for lesion in patient.lesions)
    raise DataError(f"no place for lesions of {sizes}", where=patient.name, remedy="ask for a smaller lesion_mm")


def _placed(patient: Patient, rng: np.random.Generator) -> np.ndarray:
    """(m, 3) as `places`; fewer rows where those before leave no place for the next."""
    vox, depth = _white_matter()
    found = np.zeros((0, 3))
    for lesion in patient.lesions:
        left = vox[:, 0] < 0  # RAS+: the patient's left is negative
        fits = (depth >= min(lesion.diameter_mm / 2 - DEPTH_SLACK_MM, DEEP_MM)) & (left == (lesion.side == "left"))
        for other, earlier in zip(found, patient.lesions, strict=False):
            fits &= ((vox - other) ** 2).sum(1) > ((lesion.diameter_mm + earlier.diameter_mm) / 2 + GAP_MM) ** 2
        if not fits.any():
            break
        found = np.vstack([found, rng.choice(vox[fits])])
    return found


def grow(patient: Patient, shape_vox: tuple[int, int, int], affine: np.ndarray, thickness_mm: float) -> Head:
    """The patient's head on a grid: affine (4, 4) from voxel index to RAS+ mm, slices along the third axis."""
    source, rng = template(), patient.rng("head")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    knots = [np.arange(max(4, int(np.ceil(n * s / _KNOT_MM)) + 1)) for n, s in zip(shape_vox, spacing, strict=True)]
    at = [k / k[-1] * (n - 1) for k, n in zip(knots, shape_vox, strict=True)]
    points = np.stack(np.meshgrid(*at, indexing="ij")).reshape(3, -1)
    rotation, scale = _pose(rng, patient.sex)
    vox2template = np.diag(1 / scale) @ rotation @ affine[:3, :3]
    offset = np.diag(1 / scale) @ rotation @ affine[:3, 3] + np.array([0.0, -18.0, 18.0])  # middle of the template
    smooth = vox2template @ points + offset[:, None]
    smooth = smooth + _wrinkles(rng, smooth)
    coarse = (smooth - source.coarse_origin_mm[:, None]) / _COARSE_MM
    widening = patient.ventricle_mm
    moved = smooth - widening * np.stack([_sample(p, coarse) for p in source.push])
    shell = _sample(source.shell_mm, coarse) * scale.mean()
    grid = tuple(len(k) for k in knots)
    fields = _upsampled(np.concatenate([moved, shell[None]]).reshape(4, *grid), shape_vox)
    inside = np.flatnonzero(fields[3] < _INSIDE_MM)
    voxels = fields[:3].reshape(3, -1)[:, inside] - source.origin_mm[:, None].astype(np.float32)
    slice_axis = int(np.argmax(np.abs(vox2template[:, 2])))
    maps = _thick(slice_axis, round(thickness_mm))
    fractions = np.stack([_sample(m, voxels, mode="nearest") for m in maps])
    fractions = np.concatenate([np.clip(1 - fractions.sum(0), 0, 1)[None], fractions])
    fractions[CSF] *= patient.atrophy
    fractions /= fractions.sum(0)
    nearest = np.rint(voxels).astype(np.intp)
    clipped = tuple(np.clip(c, 0, n - 1) for c, n in zip(nearest, source.ventricles.shape, strict=True))
    ventricle = source.ventricles[clipped] & (fractions[CSF] > 0.5)
    return Head(
        inside=inside,
        fractions=fractions,
        sites=_sites(places(patient), voxels, inside, shape_vox),
        shell_mm=fields[3],
        ventricles=ventricle,
        ventricles_ml=float(ventricle.sum() * spacing.prod() / 1000),
    )


def ellipsoid(
    shape_vox: tuple[int, int, int],
    affine: np.ndarray,
    centre_vox: np.ndarray,
    radii_mm: np.ndarray,
    rotation: np.ndarray,
    edge_mm: float = 1.0,
) -> tuple[tuple[slice, slice, slice], np.ndarray]:
    """The box around an ellipsoid and the share of each voxel in it that it fills, (i, j, k) in [0, 1].

    Voxels are divided into parts of about 1 mm, so that thick slices show partial volume; the border fades over
    `edge_mm`. `rotation` (3, 3) has the ellipsoid's axes as columns.
    """
    linear = affine[:3, :3]
    half_mm = np.sqrt(((rotation * radii_mm) ** 2).sum(1)) + edge_mm
    half_vox = np.sqrt((np.linalg.inv(linear) ** 2) @ (half_mm**2)) + 1
    low = np.maximum(np.floor(centre_vox - half_vox), 0).astype(int)
    high = np.minimum(np.ceil(centre_vox + half_vox) + 1, shape_vox).astype(int)
    box = tuple(slice(a, max(a, b)) for a, b in zip(low, high, strict=True))
    parts = np.maximum(1, np.rint(np.linalg.norm(linear, axis=0))).astype(int)
    to_unit = (rotation / radii_mm).T @ linear
    axes = [
        (np.arange(b.start, b.stop)[:, None] + (np.arange(p) + 0.5) / p - 0.5).ravel() - c
        for b, p, c in zip(box, parts, centre_vox, strict=True)
    ]
    i, j, k = np.ix_(*axes)
    radius = np.sqrt(sum((row[0] * i + row[1] * j + row[2] * k) ** 2 for row in to_unit))
    fine = np.clip((1 - radius) * radii_mm.min() / edge_mm + 0.5, 0, 1)
    counts = [b.stop - b.start for b in box]
    share = fine.reshape(counts[0], parts[0], counts[1], parts[1], counts[2], parts[2]).mean((1, 3, 5))
    return box, share.astype(np.float32)  # type: ignore[return-value]


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    """(3, 3), uniform over all rotations: QR of a normal matrix, signs fixed (Mezzadri 2007)."""
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    return q * np.sign(np.diag(r))


def _lateral_ventricles(csf: np.ndarray, origin_mm: np.ndarray) -> np.ndarray:
    """The largest piece of CSF in the middle of the brain."""
    low = (np.array([-38, -55, -20]) - origin_mm).astype(int)
    high = (np.array([38, 38, 34]) - origin_mm).astype(int)
    core = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    pieces, _ = ndimage.label(csf[core])
    found = np.zeros_like(csf)
    found[core] = pieces == np.argmax(np.bincount(pieces.ravel())[1:]) + 1
    return found


def _signed_distance(mask: np.ndarray) -> np.ndarray:
    """Distance in voxels from the surface, negative inside."""
    return ndimage.distance_transform_edt(~mask) - ndimage.distance_transform_edt(mask)


def _closed(mask: np.ndarray, radius_vox: float) -> np.ndarray:
    """Grooves narrower than twice the radius are filled: the skull does not follow the sulci."""
    grown = ndimage.distance_transform_edt(~mask) <= radius_vox
    return ndimage.distance_transform_edt(grown) > radius_vox


@functools.lru_cache(maxsize=1)
def _white_matter() -> tuple[np.ndarray, np.ndarray]:
    """Every other voxel of white matter where a lesion's centre may lie: (n, 3) template mm and (n,) depth in mm."""
    source = template()
    vox = np.argwhere(source.depth_mm[::2, ::2, ::2] >= 1.0) * 2
    mm = vox + source.origin_mm
    low, high = _LESION_HEIGHT_MM
    fits = (mm[:, 2] >= low) & (mm[:, 2] <= high) & (np.abs(mm[:, 0]) >= 8)
    return mm[fits], source.depth_mm[tuple(vox[fits].T)]


@functools.lru_cache(maxsize=4)
def _thick(axis: int, thickness_mm: int) -> np.ndarray:
    """(2, i, j, k): grey and white matter averaged over the thickness of a slice along one axis of the template."""
    return ndimage.uniform_filter1d(template().fractions[GREY:], max(1, thickness_mm), axis=axis + 1, mode="nearest")


def _sample(volume: np.ndarray, points: np.ndarray, mode: str = "nearest") -> np.ndarray:
    """Trilinear values of a volume at points (3, n) in its voxels."""
    return ndimage.map_coordinates(volume, points, output=np.float32, order=1, mode=mode, prefilter=False)


def _pose(rng: np.random.Generator, sex: str) -> tuple[np.ndarray, np.ndarray]:
    """Rotation (3, 3) by a few degrees about each axis, and the size of the head along each axis."""
    a, b, c = np.deg2rad(rng.normal(0, [3.0, 2.0, 3.0]))
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    size = (0.97 if sex == "F" else 1.0) * rng.normal(0.98, 0.02)
    return about_x @ about_y @ about_z, size * (1 + rng.normal(0, 0.02, 3))


def _wrinkles(rng: np.random.Generator, points_mm: np.ndarray) -> np.ndarray:
    """Smooth random displacements (3, n) in mm: sines of long and of shorter waves in random directions."""
    total = np.zeros_like(points_mm)
    for length_mm, size_mm, count in ((120.0, 0.9, 4), (60.0, 0.45, 6)):
        for _ in range(count):
            direction = rng.standard_normal(3)
            wave = direction / np.linalg.norm(direction) * 2 * np.pi / (length_mm * rng.uniform(0.8, 1.3))
            total += rng.normal(0, size_mm, 3)[:, None] * np.sin(wave @ points_mm + rng.uniform(0, 2 * np.pi))
    return total


def _upsampled(fields: np.ndarray, shape_vox: tuple[int, int, int]) -> np.ndarray:
    """Fields (f, a, b, c) at evenly spread knots to (f, i, j, k) float32, by cubic convolution along each axis."""
    out = fields.astype(np.float32)
    for axis, length in enumerate(shape_vox):
        out = np.moveaxis(np.moveaxis(out, axis + 1, -1) @ _cubic(out.shape[axis + 1], length).T, -1, axis + 1)
    return np.ascontiguousarray(out)


@functools.lru_cache(maxsize=64)
def _cubic(knots: int, length: int) -> np.ndarray:
    """(length, knots) weights of cubic convolution (Keys 1981, a = -1/2), the ends continued in a straight line."""
    at = np.arange(length) / (length - 1) * (knots - 1)
    first = np.clip(np.floor(at).astype(int), 0, knots - 2)
    t = at - first
    weights = np.zeros((length, knots + 2))
    rows = np.arange(length)
    for step, w in enumerate(
        (
            (-t + 2 * t**2 - t**3) / 2,
            (2 - 5 * t**2 + 3 * t**3) / 2,
            (t + 4 * t**2 - 3 * t**3) / 2,
            (t**3 - t**2) / 2,
        )
    ):
        weights[rows, first + step] += w
    inner = weights[:, 1:-1].copy()
    inner[:, 0] += 2 * weights[:, 0]
    inner[:, 1] -= weights[:, 0]
    inner[:, -1] += 2 * weights[:, -1]
    inner[:, -2] -= weights[:, -1]
    return inner.astype(np.float32)


def _sites(
    places_mm: np.ndarray, voxels: np.ndarray, inside: np.ndarray, shape_vox: tuple[int, int, int]
) -> np.ndarray:
    """(m, 3) voxel index that comes nearest to each place of the template; `voxels` (3, n) are template voxels."""
    found = []
    for place in places_mm - template().origin_mm:
        gap = voxels - place[:, None].astype(np.float32)
        found.append(np.unravel_index(inside[np.argmin((gap**2).sum(0))], shape_vox))
    return np.array(found, dtype=float).reshape(-1, 3)
