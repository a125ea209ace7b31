"""Affine registration of a head to the MNI152 template, refused where it is doubtful.

The template has a brain and no head. Skull, scalp and the air above are layers around its brain, and the image may show
any contrast: the similarity is the correlation ratio (Roche 1998), the share of the image's variance that the
template's tissues and layers explain, each with a mean of its own.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage, optimize

from medvfm.core import geometry
from medvfm.core.errors import DataError
from medvfm.core.image import Image
from medvfm.io.mni_template import ORIGIN_MM, template_map

MIDDLE_MM = np.array([0.0, -18.0, 10.0])  # of the template's brain: what rotations and scales leave in place
_LAYERS_MM = (0.0, 4.0, 8.0, 12.0, 17.0, 23.0, 30.0)  # distances from the brain between which the layers fade
_OUTSIDE_ABOVE_MM = -12.0  # below this height there are ears, face and neck around the brain, and no layers
_COARSE_MM, _FINE_MM = 8.0, 4.0
_CLOSE_MM = 5.0  # in the end the brain and the dark bone around it: how thick a scalp is says nothing of it
_POINTS = 12_000  # of the fine grid that are compared
_CT_WINDOW_HU = (-300.0, 500.0)  # air, brain and bone stay apart, metal does not count

# What makes a registration trusted. Virtual heads have 0.84 to 0.91; with front and back swapped 0.55 to 0.74, with top
# and bottom swapped 0.53 to 0.65: the highest of these is why both are also tried.
LOWEST_SIMILARITY = 0.65
LOWEST_OVERLAP = 0.5  # of the template's points that lie in the field of view
SCALES = (0.7, 1.4)
_BRAIN_IN_HEAD = 0.9  # of the template's brain that lies on something else than air
_AIR_MOST = 0.4  # of the brain's mean over air: what the layer beyond the scalp may have


@dataclass(frozen=True)
class Placed:
    """A head's place. `template2image` (4, 4) takes template mm to image mm (RAS+ both).

    similarity  correlation ratio, 1 where the template explains all variance
    overlap     share of the template's points in the image's field of view
    doubts      why the place is not to be trusted, in words; empty where it is
    """

    template2image: np.ndarray
    similarity: float
    overlap: float
    scales: tuple[float, float, float]
    doubts: tuple[str, ...]


def place_head(image: Image) -> Placed:
    """The affine from the template to a head MR or CT; DataError where the image is no volume in millimetres."""
    if image.voxels.ndim != 3 or image.spacing_mm is None or min(image.shape_vox) < 4:
        raise DataError(f"voxels of shape {image.voxels.shape} are no volume in which a head can be placed")
    values = _clipped(image)
    grids = tuple(_smoothed(values, image.affine, mm) for mm in (_COARSE_MM, _FINE_MM))
    found = _estimated(values, *grids)
    for axis, wrong in ((1, "back to front"), (2, "upside down")):
        if found.doubts:
            break
        mirror = np.diag(np.where(np.arange(4) == axis, -1.0, 1.0))
        other = _estimated(values, *(replace(grid, mm2vox=grid.mm2vox @ mirror) for grid in grids))
        if other.similarity > found.similarity:
            doubt = f"a head that is {wrong} fits it better: its orientation may be wrong"
            found = replace(found, doubts=(doubt,))
    return found


def _estimated(values: np.ndarray, coarse: _SmoothedImage, fine: _SmoothedImage) -> Placed:
    """The best place on the two grids of an image, and what speaks against it."""
    points = _points(_COARSE_MM, _LAYERS_MM[-1])
    best = sorted(((_cost(s, points, coarse), s) for s in _starts(coarse)), key=lambda one: one[0])
    rigid = [_descended(start, points, coarse, free=7, rounds=2) for _, start in _apart(best, 3)]
    found = min(rigid, key=lambda one: one[0])[1]
    found = _descended(found, points, coarse, free=12, rounds=4)[1]
    for reach_mm in (_LAYERS_MM[-1], _CLOSE_MM):
        found = _descended(found, _points(_FINE_MM, reach_mm), fine, free=12, rounds=5)[1]
    return _judged(found, fine, values)


@dataclass(frozen=True, eq=False)
class _Points:
    """Places of the template where images are compared.

    mm         (n, 3)
    shares     (n, c) how much of each class lies there: CSF, grey matter, white matter, then the layers
    explained  (n, c + 3) what the image is regressed on: the classes, and a bias field that grows along each axis
    """

    mm: np.ndarray
    shares: np.ndarray
    explained: np.ndarray


@dataclass(frozen=True, eq=False)
class _SmoothedImage:
    """A smoothed image: values (i, j, k), and the affine (4, 4) from RAS+ mm to its voxels."""

    values: np.ndarray
    mm2vox: np.ndarray


@functools.lru_cache(maxsize=1)
def brain_mask() -> np.ndarray:
    """(197, 233, 189) bool: the template's brain at 1 mm, holes filled."""
    return ndimage.binary_fill_holes(template_map("t1") > 0)


@functools.lru_cache(maxsize=3)
def _points(grid_mm: float, reach_mm: float) -> _Points:
    step, margin = int(grid_mm), int(32 // grid_mm)
    brain = np.pad(brain_mask()[::step, ::step, ::step], margin)
    outside_mm = ndimage.distance_transform_edt(~brain) * grid_mm
    mm = np.moveaxis(np.indices(brain.shape), 0, -1) * grid_mm + ORIGIN_MM - margin * grid_mm
    maps = [ndimage.gaussian_filter(template_map(name), grid_mm / 2.5)[::step, ::step, ::step] for name in ("gm", "wm")]
    grey, white = (np.pad(m, margin) for m in maps)
    tissues = np.stack([np.clip(1 - grey - white, 0, 1), grey, white], -1) * brain[..., None]
    rows = [np.interp(outside_mm, _LAYERS_MM, np.eye(len(_LAYERS_MM))[n]) for n in range(1, len(_LAYERS_MM))]
    layers = np.stack([np.where(brain, 0, row) for row in rows], -1)
    layers /= np.maximum(layers.sum(-1, keepdims=True), 1e-6)
    shares = np.concatenate([tissues, layers], -1)
    used = brain | ((outside_mm > 0) & (outside_mm < reach_mm) & (mm[..., 2] > _OUTSIDE_ABOVE_MM))
    chosen = np.flatnonzero(used)
    if len(chosen) > _POINTS:
        chosen = np.sort(np.random.default_rng(0).choice(chosen, _POINTS, replace=False))
    at, of = mm.reshape(-1, 3)[chosen], shares.reshape(-1, shares.shape[-1])[chosen]
    field = (at - MIDDLE_MM) / 80 * (of @ np.array([0.3, 0.7, 1.0, *[0.3] * (of.shape[1] - 3)]))[:, None]
    return _Points(at, of.astype(np.float32), np.concatenate([of, field], 1).astype(np.float32))


def _clipped(image: Image) -> np.ndarray:
    """Values from 0 (air) to 1 without the few that are far beyond the others."""
    values = np.asarray(image.voxels, np.float32)
    if image.unit == "HU":
        low, high = _CT_WINDOW_HU
    else:
        low, high = (float(v) for v in np.percentile(values[::2, ::2, ::2], [0.5, 99.5]))
    if not high > low:
        raise DataError("all voxels have one value: there is no head")
    return np.clip((values - low) / (high - low), 0, 1)


def _smoothed(values: np.ndarray, affine: np.ndarray, grid_mm: float) -> _SmoothedImage:
    """The image blurred to the template's grid and thinned: no more voxels than the comparison can tell apart."""
    spacing = np.array(geometry.spacing_mm(affine))
    blurred = ndimage.gaussian_filter(values, np.maximum(grid_mm / 2.5 / spacing - 0.3, 0), truncate=2.5)
    step = np.maximum(1, grid_mm / 2 // spacing).astype(int)
    thin = blurred[:: step[0], :: step[1], :: step[2]]
    return _SmoothedImage(np.ascontiguousarray(thin), np.linalg.inv(affine @ np.diag([*step, 1.0])))


def _affine(parameters: np.ndarray) -> np.ndarray:
    """(4, 4) template mm to image mm. Twelve parameters, each so that 1 moves the surface of a head by about 1 mm:
    shift of the brain's middle in mm, rotations, size, two ratios of sizes, shears."""
    p = np.zeros(12)
    p[: len(parameters)] = parameters
    a, b, c = p[3:6] / 80
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    scale = np.exp((p[6] + np.array([p[7], p[8], -p[7] - p[8]])) / 80)
    shear = np.eye(3)
    shear[0, 1], shear[0, 2], shear[1, 2] = p[9:] / 80
    out = np.eye(4)
    out[:3, :3] = about_z @ about_y @ about_x @ np.diag(scale) @ shear
    out[:3, 3] = p[:3] - out[:3, :3] @ MIDDLE_MM
    return out


def _sampled(template2image: np.ndarray, points: _Points, grid: _SmoothedImage) -> tuple[np.ndarray, np.ndarray]:
    """Image values (m,) at the points in the field of view, and which of the points (n,) those are."""
    template2vox = grid.mm2vox @ template2image
    vox = template2vox[:3, :3] @ points.mm.T + template2vox[:3, 3:]
    seen = ((vox > -0.6) & (vox < np.array(grid.values.shape)[:, None] - 0.4)).all(0)
    return ndimage.map_coordinates(grid.values, vox[:, seen], order=1, mode="nearest", prefilter=False), seen


def _similarity(template2image: np.ndarray, points: _Points, grid: _SmoothedImage) -> tuple[float, float]:
    """Correlation ratio and overlap: 1 - residual / total variance of values regressed on the points' classes."""
    values, seen = _sampled(template2image, points, grid)
    overlap = float(seen.mean())
    if overlap < 0.1:
        return 0.0, overlap
    total = values.var() * len(values)
    if total < 1e-9:
        return 0.0, overlap
    explained = points.explained[seen]
    moments = explained.T @ explained + 1e-3 * np.eye(explained.shape[1], dtype=np.float32)
    projected = values @ explained
    within = float(values @ values - projected @ np.linalg.solve(moments, projected))
    return 1 - within / float(total), overlap


def _cost(parameters: np.ndarray, points: _Points, grid: _SmoothedImage) -> float:
    """What is minimised: dissimilarity, and what is unlikely of a head (little in view, another form)."""
    similarity, overlap = _similarity(_affine(parameters), points, grid)
    form = (parameters[6:] / 80) ** 2
    unlikely = 0.4 * form[:1].sum() + 1.0 * form[1:].sum()
    return -similarity + 0.3 * max(0.0, 0.9 - overlap) + unlikely


def _starts(grid: _SmoothedImage) -> list[np.ndarray]:
    """Places to begin: below the top of what is no air, and around the middle of the field of view."""
    vox = np.argwhere(grid.values > _threshold(grid.values))
    vox2mm = np.linalg.inv(grid.mm2vox)
    mm = (vox @ vox2mm[:3, :3].T + vox2mm[:3, 3]) if len(vox) else np.zeros((1, 3))
    top = float(np.percentile(mm[:, 2], 99.8))
    below = mm[mm[:, 2] > top - 140]
    under_top = np.array([*np.median(below[:, :2], axis=0), top - 80])
    middle = vox2mm[:3, :3] @ ((np.array(grid.values.shape) - 1) / 2) + vox2mm[:3, 3]
    starts = []
    for centre in (under_top, middle):
        for ahead in (-30.0, 0.0, 30.0):
            for up in (-40.0, -20.0, 0.0, 20.0, 40.0):
                for nod in (-20.0, 0.0, 20.0):
                    for tilt in (-12.0, 0.0, 12.0):
                        turned = [np.deg2rad(nod) * 80, np.deg2rad(tilt) * 80, 0.0]
                        starts.append(np.array([*(centre + np.array([0, -ahead, up])), *turned, *[0.0] * 6]))
    return starts


def _apart(ranked: list[tuple[float, np.ndarray]], count: int) -> list[tuple[float, np.ndarray]]:
    """The best starts of which no two are neighbours."""
    kept: list[tuple[float, np.ndarray]] = []
    for one in ranked:
        if all(np.abs(one[1][:6] - other[:6]).max() > 21 for _, other in kept):
            kept.append(one)
        if len(kept) == count:
            break
    return kept


def _descended(
    start: np.ndarray, points: _Points, grid: _SmoothedImage, *, free: int, rounds: int
) -> tuple[float, np.ndarray]:
    """Powell's method on the first `free` parameters."""
    fixed = start[free:]

    def cost(parameters: np.ndarray) -> float:
        return _cost(np.concatenate([parameters, fixed]), points, grid)

    first = np.eye(free) * 4.0
    found = optimize.minimize(
        cost, start[:free], method="Powell", options={"maxiter": rounds, "xtol": 0.1, "ftol": 1e-5, "direc": first}
    )
    return float(found.fun), np.concatenate([found.x, fixed])


def _judged(parameters: np.ndarray, fine: _SmoothedImage, values: np.ndarray) -> Placed:
    points, template2image = _points(_FINE_MM, _LAYERS_MM[-1]), _affine(parameters)
    similarity, overlap = _similarity(template2image, points, fine)
    scales = np.linalg.svd(template2image[:3, :3], compute_uv=False)
    doubts = []
    if similarity < LOWEST_SIMILARITY:
        doubts.append(f"it resembles the template too little ({similarity:.2f}; {LOWEST_SIMILARITY} is needed)")
    if overlap < LOWEST_OVERLAP:
        doubts.append(f"too little of a head is in view ({overlap:.0%})")
    if scales.min() < SCALES[0] or scales.max() > SCALES[1]:
        doubts.append(f"the head would have {scales.min():.2f} to {scales.max():.2f} of the template's size")
    if overlap >= 0.1:
        seen_values, seen = _sampled(template2image, points, fine)
        shares = points.shares[seen]
        inside = shares[:, :3].sum(1) > 0.5
        filled = float((seen_values[inside] > 0.5 * _threshold(fine.values)).mean()) if inside.any() else 0.0
        if filled < _BRAIN_IN_HEAD:
            doubts.append(f"only {filled:.0%} of the brain would lie in the head")
        beyond = shares[:, -1] > 0.5
        ground = float(np.percentile(values[::4, ::4, ::2], 1))
        if inside.any() and beyond.any():
            share = (seen_values[beyond].mean() - ground) / max(seen_values[inside].mean() - ground, 1e-6)
            if share > _AIR_MOST:
                doubts.append(f"beyond its scalp there is no air ({share:.2f} of the brain's values)")
    low, mid, high = sorted(scales.tolist())
    return Placed(template2image, similarity, overlap, (low, mid, high), tuple(doubts))


def _threshold(values: np.ndarray) -> float:
    """Otsu 1979: the value that parts air from tissue with the largest variance between both."""
    counts, edges = np.histogram(values, 128, (0.0, 1.0))
    middles, weights = (edges[1:] + edges[:-1]) / 2, counts / counts.sum()
    below, mean = np.cumsum(weights), np.cumsum(weights * middles)
    between = (mean[-1] * below - mean) ** 2 / np.maximum(below * (1 - below), 1e-9)
    return float(edges[1:][np.argmax(between)])
