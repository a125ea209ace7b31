"""Overlap: how many voxels of a structure are found, and how many are found too many.

Everything is read from the voxel counts of one case, for all its labels at once: the functions take Counts and give
(T,) float64, one number a label, NaN where it is undefined.

The convention. A structure that the truth does not hold has no dice, iou, sensitivity, precision or volume error: the
case is left out of their means, and counts for specificity, `spurious` and `false_positive_volume` instead. A structure
that the truth holds and of which nothing is predicted has dice, iou and sensitivity 0, no precision, and is `missed`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medvfm.core.errors import PredictionError
from medvfm.core.metric_spec import Metric
from medvfm.metrics.label_maps import CHUNK_VOXELS, LabelMap, checked_pair, joint_counts


@dataclass(frozen=True, eq=False)
class Counts:
    """Voxels of T labels of one case.

    truth, prediction, both  (T,) int64: voxels of the label in the truth, in the prediction, in both at once
    total                    voxels of the image
    voxel_mm3                volume of one voxel; None where the spacing is unknown, and volumes in ml are NaN
    """

    truth: Tensor
    prediction: Tensor
    both: Tensor
    total: int
    voxel_mm3: float | None


def counts(truth: LabelMap, prediction: LabelMap, labels: Sequence[int], voxel_mm3: float | None) -> Counts:
    """Counts of label values in two whole-number arrays of any one shape; other values are background.

    One pass in chunks of both arrays together, on the device of a tensor: memory does not grow with the volume, time
    not with the number of labels.
    """
    joint = joint_counts(truth, prediction)
    wanted = torch.as_tensor(labels, dtype=torch.int64, device=joint.voxels.device)
    agreed = joint.voxels.where(joint.truth == joint.prediction, 0)
    return Counts(
        truth=_summed(joint.truth, joint.voxels, wanted),
        prediction=_summed(joint.prediction, joint.voxels, wanted),
        both=_summed(joint.truth, agreed, wanted),
        total=int(joint.voxels.sum()),
        voxel_mm3=voxel_mm3,
    )


def multi_label_counts(truth: LabelMap, prediction: LabelMap, voxel_mm3: float | None) -> Counts:
    """Counts of T labels that may overlap: two bool arrays (..., T), a mask a label."""
    truth, prediction = checked_pair(truth, prediction)
    for name, array in (("truth", truth), ("prediction", prediction)):
        if array.dtype not in (np.bool_, torch.bool) or array.ndim < 2:
            raise PredictionError(f"{name} {array.dtype} {tuple(array.shape)}: expected bool masks (..., labels)")
    device = next((a.device for a in (truth, prediction) if isinstance(a, Tensor)), torch.device("cpu"))
    sums = torch.zeros(3, truth.shape[-1], dtype=torch.int64, device=device)
    step = max(1, CHUNK_VOXELS // max(1, int(np.prod(truth.shape[1:]))))
    for first in range(0, truth.shape[0], step):
        t, p = (_masks(array[first : first + step], device) for array in (truth, prediction))
        sums += torch.stack([t.sum(0), p.sum(0), (t & p).sum(0)])
    total = int(np.prod(truth.shape[:-1]))
    return Counts(truth=sums[0], prediction=sums[1], both=sums[2], total=total, voxel_mm3=voxel_mm3)


def dice(counts: Counts) -> Tensor:
    """2 |T and P| / (|T| + |P|) (Dice 1945). Undefined where the truth is absent, 0 where nothing is predicted."""
    return _present(counts, _ratio(2 * counts.both, counts.truth + counts.prediction))


def iou(counts: Counts) -> Tensor:
    """|T and P| / |T or P| (Jaccard 1912). Undefined where the truth is absent, 0 where nothing is predicted."""
    return _present(counts, _ratio(counts.both, counts.truth + counts.prediction - counts.both))


def sensitivity(counts: Counts) -> Tensor:
    """Share of the truth's voxels that are predicted. Undefined where the truth is absent."""
    return _present(counts, _ratio(counts.both, counts.truth))


def precision(counts: Counts) -> Tensor:
    """Share of the predicted voxels that are true. Undefined where the truth is absent or nothing is predicted."""
    return _present(counts, _ratio(counts.both, counts.prediction))


def specificity(counts: Counts) -> Tensor:
    """Share of the voxels outside the truth that are not predicted: near 1 whenever the structure is small.

    Defined where the truth is absent; undefined where the truth fills the image.
    """
    outside = counts.total - counts.truth
    # The right voxels are divided, not the wrong ones subtracted from 1: a division rounds once.
    return _ratio(outside - (counts.prediction - counts.both), outside)


def volume_error(counts: Counts) -> Tensor:
    """(|P| - |T|) / |T|: above 0 where too much is predicted. Undefined where the truth is absent."""
    return _present(counts, _ratio(counts.prediction - counts.truth, counts.truth))


def absolute_volume_error(counts: Counts) -> Tensor:
    """| |P| - |T| | / |T|. Undefined where the truth is absent."""
    return volume_error(counts).abs()


def volume_difference_ml(counts: Counts) -> Tensor:
    """Predicted minus true volume in ml, in every case: where the truth is absent it is the predicted volume."""
    return _ml(counts, counts.prediction - counts.truth)


def missed(counts: Counts) -> Tensor:
    """1 where the truth holds the structure and nothing is predicted, else 0. Undefined where the truth is absent."""
    return _present(counts, (counts.prediction == 0).double())


def spurious(counts: Counts) -> Tensor:
    """1 where the truth is absent and something is predicted, 0 where nothing is. Undefined where it is present."""
    return _absent(counts, (counts.prediction > 0).double())


def false_positive_volume(counts: Counts) -> Tensor:
    """Predicted volume in ml where the truth is absent. Undefined where it is present."""
    return _absent(counts, _ml(counts, counts.prediction))


def dice_score(truth: LabelMap, prediction: LabelMap, label: int = 1, *, empty: float = math.nan) -> float:
    """Dice of one label of two arrays; `empty` is the value where the truth does not hold the label."""
    return _score(dice(counts(truth, prediction, [label], None)), empty)


def iou_score(truth: LabelMap, prediction: LabelMap, label: int = 1, *, empty: float = math.nan) -> float:
    """Intersection over union of one label of two arrays; `empty` as in `dice_score`."""
    return _score(iou(counts(truth, prediction, [label], None)), empty)


def _summed(values: Tensor, voxels: Tensor, labels: Tensor) -> Tensor:
    """(T,) sums of voxels (q,) by the value that they belong to, 0 for a label that does not occur."""
    found, place = values.unique(return_inverse=True)
    sums = torch.zeros_like(found).index_add_(0, place, voxels)
    at = torch.searchsorted(found, labels).clamp(max=len(found) - 1)
    return sums[at].where(found[at] == labels, 0)


def _masks(part: LabelMap, device: torch.device) -> Tensor:
    """(n, T) bool."""
    array = part if isinstance(part, Tensor) else torch.from_numpy(np.array(part))
    return array.to(device).reshape(-1, array.shape[-1])


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """In float64: torch divides whole numbers in float32, and a volume has more voxels than that can count."""
    return part.double() / whole


def _present(counts: Counts, values: Tensor) -> Tensor:
    return values.double().where(counts.truth > 0, torch.nan)


def _absent(counts: Counts, values: Tensor) -> Tensor:
    return values.double().where(counts.truth == 0, torch.nan)


def _ml(counts: Counts, voxels: Tensor) -> Tensor:
    return voxels.double() * (math.nan if counts.voxel_mm3 is None else counts.voxel_mm3 / 1000)


def _score(value: Tensor, empty: float) -> float:
    return empty if math.isnan(value[0]) else float(value[0])


METRICS: dict[str, Metric] = {
    "dice": Metric(
        dice,
        "overlap",
        "higher",
        within=(0.0, 1.0),
        summary="overlap of truth and prediction relative to their mean volume",
    ),
    "iou": Metric(iou, "overlap", "higher", within=(0.0, 1.0), summary="intersection over union"),
    "sensitivity": Metric(
        sensitivity, "overlap", "higher", within=(0.0, 1.0), summary="share of the true voxels that are predicted"
    ),
    "precision": Metric(
        precision, "overlap", "higher", within=(0.0, 1.0), summary="share of the predicted voxels that are true"
    ),
    "specificity": Metric(
        specificity, "overlap", "higher", within=(0.0, 1.0), summary="share of the other voxels that are left alone"
    ),
    "volume_error": Metric(volume_error, "overlap", "zero", summary="predicted minus true volume over the true volume"),
    "absolute_volume_error": Metric(
        absolute_volume_error,
        "overlap",
        "lower",
        within=(0.0, float("inf")),
        summary="size of the volume error, over the true volume",
    ),
    "volume_difference_ml": Metric(
        volume_difference_ml, "overlap", "zero", unit="ml", summary="predicted minus true volume"
    ),
    "missed": Metric(
        missed,
        "overlap",
        "lower",
        unit="cases",
        over_cases="sum",
        summary="cases with the structure in which nothing is predicted",
    ),
    "spurious": Metric(
        spurious,
        "overlap",
        "lower",
        unit="cases",
        over_cases="sum",
        summary="cases without the structure in which something is predicted",
    ),
    "false_positive_volume": Metric(
        false_positive_volume,
        "overlap",
        "lower",
        within=(0.0, float("inf")),
        unit="ml",
        summary="predicted volume in cases without the structure",
    ),
}
