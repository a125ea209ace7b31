"""Surface distances, in mm, between a predicted structure and the true one.

A surface consists of voxels, and distances are between voxel centres in patient mm, through the affine: oblique and
sheared grids come out right. A voxel of a mask is surface where one of its six neighbours (four in an image of a single
slice, whose only slice has no neighbour) lies outside the mask; outside the image is outside the mask, so a structure
that is cut by the border has its cut face as surface. That is MONAI's convention, and numbers agree with MONAI's (not
with packages that weight surface elements by area, or average the two directions in another way; name the one used).

The convention. A structure that the truth does not hold has no distance: the case is left out. One that the truth holds
and of which nothing is predicted is as wrong as can be: hd95 and assd are the diagonal of the image and nsd is 0, so
that missing more never scores better. `hd95_detected` and `assd_detected` leave such cases out; report them only with
the count of missed ones. Without a known spacing no number here is defined.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
import torch
from scipy.ndimage import find_objects
from scipy.spatial import cKDTree
from torch import Tensor

from medvfm.core.errors import MedvfmError, PredictionError
from medvfm.core.metric_spec import Metric
from medvfm.metrics.label_maps import LabelMap, checked_pair

Box = tuple[slice, ...]

# Distances that are equal in exact arithmetic differ by rounding after a rotation; a nanometre decides nothing.
ROUNDING_MM = 1e-6
MOST_LABEL = 2**16 - 1  # boxes are listed for every number up to the greatest label
CHUNK_PAIRS = 2**26  # distances held at once on an accelerator: 512 MiB


@dataclass(frozen=True, eq=False)
class Surfaces:
    """What every surface metric of one label of one case is read from.

    from_truth_mm       (n,) float64: from each surface voxel of the truth to the nearest one of the prediction
    from_prediction_mm  (m,) float64: the other way; both are empty unless the label is present and predicted
    diagonal_mm         of the image, from outer corner to outer corner; NaN where the spacing is unknown
    """

    from_truth_mm: Tensor
    from_prediction_mm: Tensor
    diagonal_mm: float
    present: bool
    predicted: bool

    @property
    def undefined(self) -> str | None:
        """Why no distance exists, for a row's note; None where all do."""
        if not self.present:
            return "absent in the truth"
        return "the spacing of the image is unknown" if math.isnan(self.diagonal_mm) else None


def surfaces(truth: LabelMap, prediction: LabelMap, label: int, affine: np.ndarray | None) -> Surfaces:
    """Surfaces of one label of two whole-number or bool arrays (i, j, k), or (i, j) for an image without slices.

    affine (4, 4) from voxel index to mm; None where the spacing is unknown. Works where the tensors are: a KD-tree in
    the main memory, all pairs in blocks on an accelerator, with the same result.
    """
    return next(surfaces_of_labels(truth, prediction, [label], affine))


def surfaces_of_labels(
    truth: LabelMap, prediction: LabelMap, labels: Sequence[int], affine: np.ndarray | None
) -> Iterator[Surfaces]:
    """Surfaces of each label in turn: the arrays are searched once for all labels, then each is done in its box."""
    truth, prediction = checked_pair(truth, prediction)
    if truth.ndim == 2:
        truth, prediction = truth[:, :, None], prediction[:, :, None]
    if truth.ndim != 3:
        raise PredictionError(f"label maps of shape {tuple(truth.shape)}: expected (i, j, k)")
    if not all(0 < label <= MOST_LABEL for label in labels):
        raise ValueError(f"labels {list(labels)}: a structure has a number from 1 to {MOST_LABEL}; 0 is the background")
    device = next((a.device for a in (truth, prediction) if isinstance(a, Tensor)), None)
    if device is not None:  # one lies on an accelerator: both go there
        truth, prediction = _on_device(truth, device), _on_device(prediction, device)
    flat = tuple(size == 1 for size in truth.shape)
    diagonal = math.nan if affine is None else diagonal_mm(tuple(truth.shape), affine)
    for label, here, there in zip(labels, _boxes(truth, labels), _boxes(prediction, labels), strict=True):
        from_truth = from_prediction = torch.empty(0, dtype=torch.float64)
        if here and there and affine is not None:
            box = tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(here, there, strict=True))
            true, given = (surface(array[box] == label, flat) for array in (truth, prediction))
            from_truth, from_prediction = _distances_mm(true, given, affine), _distances_mm(given, true, affine)
        yield Surfaces(
            from_truth_mm=from_truth,
            from_prediction_mm=from_prediction,
            diagonal_mm=diagonal,
            present=here is not None,
            predicted=there is not None,
        )


def hd95(surfaces: Surfaces) -> float:
    """The greater of the two directed 95th percentiles of distance, in mm, interpolated linearly.

    Huttenlocher et al. 1993 with the maximum replaced by a percentile, as MONAI takes it; the percentile of both
    directions together, which others take, is smaller. A missed structure has the diagonal of the image.
    """
    return _of_distances(surfaces, _hd95, surfaces.diagonal_mm)


def hd95_detected(surfaces: Surfaces) -> float:
    """`hd95` of structures that were found; undefined for a missed one."""
    return _of_distances(surfaces, _hd95, math.nan)


def assd(surfaces: Surfaces) -> float:
    """Average symmetric surface distance in mm: the mean over the voxels of both surfaces (Heimann et al. 2009).

    Not the mean of the two directed means. A missed structure has the diagonal of the image.
    """
    return _of_distances(surfaces, _assd, surfaces.diagonal_mm)


def assd_detected(surfaces: Surfaces) -> float:
    """`assd` of structures that were found; undefined for a missed one."""
    return _of_distances(surfaces, _assd, math.nan)


def nsd(surfaces: Surfaces, tolerance: float) -> float:
    """Normalised surface distance, or surface Dice: the share of both surfaces within `tolerance` mm of the other.

    Nikolov et al. 2018, on surface voxels that count equally. A distance equal to the tolerance is within it. A missed
    structure has 0.
    """
    if not 0 <= tolerance < math.inf:
        raise MedvfmError(f"tolerance={tolerance:g} is no distance in mm")

    def value(ways: tuple[Tensor, Tensor]) -> float:
        within = sum(int((way <= tolerance + ROUNDING_MM).sum()) for way in ways)
        return within / sum(len(way) for way in ways)

    return _of_distances(surfaces, value, 0.0)


def diagonal_mm(shape_vox: tuple[int, ...], affine: np.ndarray) -> float:
    """The longest diagonal of an image, from outer corner to outer corner; no distance between voxels reaches it.

    As BraTS has it: 373.13 mm for 240 x 240 x 155. An image of a single slice has no thickness.
    """
    extent = np.array([size if size > 1 or max(shape_vox) == 1 else 0 for size in shape_vox])
    diagonals = np.array([extent * signs for signs in product([1], [1, -1], [1, -1])]) @ np.asarray(affine)[:3, :3].T
    return float(np.sqrt((diagonals**2).sum(1)).max())


def surface(mask: Any, flat: tuple[bool, ...]) -> Any:
    """Voxels (i, j, k) of a mask that have a neighbour outside it; `flat` axes have no neighbours.

    The mask's array may be a crop: what lies beyond it is outside. NumPy array or tensor.
    """
    inner = mask.clone() if isinstance(mask, Tensor) else mask.copy()
    for axis, single in enumerate(flat):
        if single:
            continue
        before, after, first, last = ((slice(None),) * axis + (part,) for part in (slice(-1), slice(1, None), 0, -1))
        inner[after] &= mask[before]
        inner[before] &= mask[after]
        inner[first] = inner[last] = False
    return mask & ~inner


def _on_device(array: LabelMap, device: torch.device) -> Tensor:
    """In a type that torch compares with any label: it wraps the label to a byte where the map has bytes."""
    kind = torch.int64 if array.dtype.itemsize > 4 else torch.int32
    plain = array if isinstance(array, Tensor) else torch.from_numpy(array.astype(np.int64))
    return plain.to(device, kind)


def _boxes(array: LabelMap, labels: Sequence[int]) -> list[Box | None]:
    """The bounding box of each label, None where it does not occur."""
    if isinstance(array, Tensor):
        return [_box(array == label) for label in labels]
    if array.dtype == np.bool_:
        return [_box(array) if label == 1 else None for label in labels]
    found = find_objects(array, max_label=max(labels, default=1))
    return [found[label - 1] for label in labels]


def _box(mask: Any) -> Box | None:
    box = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        inside = mask.any(others)
        where = inside.nonzero()[:, 0] if isinstance(inside, Tensor) else np.flatnonzero(inside)
        if len(where) == 0:
            return None
        box.append(slice(int(where[0]), int(where[-1]) + 1))
    return tuple(box)


def _distances_mm(points: Any, others: Any, affine: np.ndarray) -> Tensor:
    """(n,) distance of each voxel of a mask, in no order, to the nearest of another: 0 without a search in both."""
    lone = points & ~others
    nearest = _nearest_by_pairs if isinstance(lone, Tensor) else _nearest_by_tree
    found = nearest(_points_mm(lone, affine), _points_mm(others, affine))
    return torch.cat([found.new_zeros(int(points.sum()) - len(found)), found])


def _points_mm(mask: Any, affine: np.ndarray) -> Any:
    """(n, 3) float64 centres of a mask's voxels, from the first voxel of its crop: distances need no origin."""
    vox2mm = np.array(affine, dtype=np.float64)[:3, :3].T
    if isinstance(mask, Tensor):
        return mask.nonzero().double() @ torch.from_numpy(vox2mm.copy()).to(mask.device)
    order: Literal["C", "F"] = "F" if mask.flags.fnc else "C"
    places = np.flatnonzero(mask.ravel(order))  # quicker than of three axes at once
    return np.stack(np.unravel_index(places, mask.shape, order), axis=1) @ vox2mm


def _nearest_by_tree(points: np.ndarray, others: np.ndarray) -> Tensor:
    """(n,) distance of each of `points` (n, 3) to the nearest of `others` (m, 3)."""
    if len(points) == 0:
        return torch.empty(0, dtype=torch.float64)
    # Built for one search: points of a grid fall evenly, so that the tree needs no medians.
    tree = cKDTree(others, leafsize=32, balanced_tree=False)
    return torch.from_numpy(tree.query(points)[0])


def _nearest_by_pairs(points: Tensor, others: Tensor) -> Tensor:
    """The same by comparing every pair, a block of pairs at a time."""
    found = torch.full((len(points),), torch.inf, dtype=torch.float64, device=points.device)
    across = min(len(others), 2**16)
    for rows in torch.arange(len(points), device=points.device).split(max(1, CHUNK_PAIRS // across)):
        for block in others.split(across):
            # Not through a matrix product, which loses half of the digits of small distances.
            apart = torch.cdist(points[rows], block, compute_mode="donot_use_mm_for_euclid_dist")
            found[rows] = torch.minimum(found[rows], apart.amin(1))
    return found


def _of_distances(surfaces: Surfaces, value: Callable[[tuple[Tensor, Tensor]], float], missed: float) -> float:
    if surfaces.undefined:
        return math.nan
    return value((surfaces.from_truth_mm, surfaces.from_prediction_mm)) if surfaces.predicted else missed


def _hd95(ways: tuple[Tensor, Tensor]) -> float:
    return max(_percentile(way, 0.95) for way in ways)


def _assd(ways: tuple[Tensor, Tensor]) -> float:
    return float(sum(way.sum() for way in ways)) / sum(len(way) for way in ways)


def _percentile(values: Tensor, q: float) -> float:
    """Linear between the two nearest ranks, as NumPy; torch.quantile refuses more than 16 million values."""
    rank = q * (len(values) - 1)
    low, high = (float(values.kthvalue(int(at) + 1).values) for at in (math.floor(rank), math.ceil(rank)))
    return low + (high - low) * (rank - math.floor(rank))


METRICS: dict[str, Metric] = {
    "hd95": Metric(
        hd95,
        "surface",
        "lower",
        within=(0.0, float("inf")),
        unit="mm",
        summary="95th percentile of surface distance; the diagonal where missed",
    ),
    "hd95_detected": Metric(
        hd95_detected,
        "surface",
        "lower",
        within=(0.0, float("inf")),
        unit="mm",
        summary="95th percentile of surface distance where not missed",
    ),
    "assd": Metric(
        assd,
        "surface",
        "lower",
        within=(0.0, float("inf")),
        unit="mm",
        summary="mean surface distance; the diagonal where missed",
    ),
    "assd_detected": Metric(
        assd_detected,
        "surface",
        "lower",
        within=(0.0, float("inf")),
        unit="mm",
        summary="mean surface distance where not missed",
    ),
    "nsd@tolerance": Metric(
        nsd,
        "surface",
        "higher",
        within=(0.0, 1.0),
        parameter="tolerance",
        summary="share of both surfaces within a tolerance in mm of the other; 0 where missed",
    ),
}
