"""Instances: matching of predicted to true objects, and detection and segmentation quality.

The maps hold numbers from 1, one an object, 0 for none; the numbers themselves have no meaning. Everything is read
from the voxels that each pair of objects shares. A case without true objects has a `count_error` and nothing else:
every other number is NaN there, and objects predicted in it show in the count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, maximum_bipartite_matching

from medvfm.core.errors import MedvfmError
from medvfm.core.metric_spec import Metric
from medvfm.metrics.label_maps import LabelMap, joint_counts


@dataclass(frozen=True, eq=False)
class Matches:
    """The n true and m predicted objects of one case, and the q pairs of them that overlap.

    truth_voxels (n,), prediction_voxels (m,)  sizes
    truth, prediction (q,)                     which object each side of a pair is, an index into the sizes
    both (q,)                                  voxels that a pair shares, at least 1
    """

    truth_voxels: np.ndarray
    prediction_voxels: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray
    both: np.ndarray

    @property
    def iou(self) -> np.ndarray:
        """(q,) intersection over union of each pair; every other pair of objects has 0."""
        return self.both / self.either

    @property
    def either(self) -> np.ndarray:
        """(q,) voxels of the union of each pair."""
        return self.truth_voxels[self.truth] + self.prediction_voxels[self.prediction] - self.both

    @property
    def dice(self) -> np.ndarray:
        """(q,) Dice of each pair."""
        return 2 * self.both / (self.truth_voxels[self.truth] + self.prediction_voxels[self.prediction])

    def assigned(self) -> np.ndarray:
        """Indices into the pairs: those taken one to one so that the sum of their IoU is greatest (Kuhn 1955).

        Objects that no chain of overlaps joins do not compete, so each connected group is solved by itself: a table of
        all objects would have ten thousand squared cells for a slide of nuclei.
        """
        n, m = len(self.truth_voxels), len(self.prediction_voxels)
        if len(self.both) == 0:
            return np.empty(0, dtype=np.int64)
        _, component = connected_components(_graph(self.truth, n + self.prediction, n + m), directed=False)
        group = component[self.truth]
        order = np.argsort(group, kind="stable")
        taken = []
        for members in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
            rows, row = np.unique(self.truth[members], return_inverse=True)
            columns, column = np.unique(self.prediction[members], return_inverse=True)
            pair, gain = np.full((len(rows), len(columns)), -1), np.zeros((len(rows), len(columns)))
            pair[row, column], gain[row, column] = members, self.iou[members]
            chosen = pair[linear_sum_assignment(gain, maximize=True)]
            taken.append(chosen[chosen >= 0])
        return np.sort(np.concatenate(taken))

    def found(self, least_iou: float) -> int:
        """The greatest number of pairs, one to one, of at least this IoU (Hopcroft and Karp 1973)."""
        allowed = self.iou >= least_iou
        side = max(len(self.truth_voxels), len(self.prediction_voxels))
        graph = _graph(self.truth[allowed], self.prediction[allowed], side)
        return int((maximum_bipartite_matching(graph, perm_type="column") >= 0).sum())


def matches(truth: LabelMap, prediction: LabelMap) -> Matches:
    """Matches of two arrays of one shape that hold whole numbers, on the device of a tensor."""
    joint = joint_counts(truth, prediction)
    left, right, voxels = (side.cpu().numpy() for side in joint)
    true, given = np.unique(left[left > 0]), np.unique(right[right > 0])
    pair = (left > 0) & (right > 0)
    return Matches(
        truth_voxels=_sizes(true, left, voxels),
        prediction_voxels=_sizes(given, right, voxels),
        truth=np.searchsorted(true, left[pair]),
        prediction=np.searchsorted(given, right[pair]),
        both=voxels[pair],
    )


def aji(matches: Matches) -> float:
    """Aggregated Jaccard index (Kumar et al. 2017, algorithm 1).

    Each true object takes the prediction of greatest IoU, which another may have taken too; predictions that nobody
    took count in full in the union. Undefined without true objects.
    """
    if len(matches.truth_voxels) == 0:
        return math.nan
    order = np.lexsort((matches.prediction, -matches.iou, matches.truth))
    _, first = np.unique(matches.truth[order], return_index=True)
    taken = order[first]
    unmet = np.delete(matches.truth_voxels, matches.truth[taken]).sum()
    unused = np.delete(matches.prediction_voxels, matches.prediction[taken]).sum()
    return float(matches.both[taken].sum() / (matches.either[taken].sum() + unmet + unused))


def pq(matches: Matches) -> float:
    """Panoptic quality of one class, sq times rq (Kirillov et al. 2019): 0 where no object is matched.

    Undefined without true objects.
    """
    matched = matches.iou[matches.iou > 0.5].sum()
    return _over_objects(matches, float(matched))


def sq(matches: Matches) -> float:
    """Segmentation quality: the mean IoU of matched objects, those of IoU above 0.5; no object has two such partners.

    Undefined where no object is matched, so that it does not reflect missed ones: read it together with `rq`.
    """
    matched = matches.iou[matches.iou > 0.5]
    return float(matched.mean()) if len(matched) else math.nan


def rq(matches: Matches) -> float:
    """Recognition quality: matched objects over the mean number of true and predicted ones, the F1 at IoU above 0.5."""
    return _over_objects(matches, float((matches.iou > 0.5).sum()))


def f1(matches: Matches, iou: float) -> float:
    """2 TP / (n + m) with TP the greatest number of pairs, one to one, of at least this IoU.

    Undefined without true objects.
    """
    if not 0 < iou <= 1:
        raise MedvfmError(f"iou={iou:g} is not above 0 and at most 1")
    return _over_objects(matches, float(matches.found(iou)))


def object_dice(matches: Matches) -> float:
    """Mean over true objects of the Dice with the object that is matched to it, 0 for one without.

    Matched one to one, whatever the overlap. Undefined without true objects.
    """
    n = len(matches.truth_voxels)
    return float(matches.dice[matches.assigned()].sum() / n) if n else math.nan


def count_error(matches: Matches) -> float:
    """Number of predicted minus number of true objects; defined in every case."""
    return float(len(matches.prediction_voxels) - len(matches.truth_voxels))


def _over_objects(matches: Matches, matched: float) -> float:
    """`matched` over TP + FP / 2 + FN / 2, which is half of all objects, true and predicted."""
    n, m = len(matches.truth_voxels), len(matches.prediction_voxels)
    return 2 * matched / (n + m) if n else math.nan


def _sizes(numbers: np.ndarray, values: np.ndarray, voxels: np.ndarray) -> np.ndarray:
    """(n,) voxels of each object."""
    sizes = np.zeros(len(numbers), dtype=np.int64)
    object_ = values > 0
    np.add.at(sizes, np.searchsorted(numbers, values[object_]), voxels[object_])
    return sizes


def _graph(left: np.ndarray, right: np.ndarray, side: int) -> csr_array:
    """Edges between objects, as a square matrix of this side; 32-bit indices, which SciPy before 1.15 insists on."""
    places = (left.astype(np.int32), right.astype(np.int32))
    return csr_array((np.ones(len(left)), places), shape=(side, side))


METRICS: dict[str, Metric] = {
    "dice": Metric(
        object_dice,
        "instances",
        "higher",
        within=(0.0, 1.0),
        summary="mean Dice of true objects with their matched ones",
    ),
    "aji": Metric(aji, "instances", "higher", within=(0.0, 1.0), summary="aggregated Jaccard index"),
    "pq": Metric(pq, "instances", "higher", within=(0.0, 1.0), summary="panoptic quality"),
    "sq": Metric(sq, "instances", "higher", within=(0.0, 1.0), summary="mean IoU of matched objects"),
    "rq": Metric(rq, "instances", "higher", within=(0.0, 1.0), summary="F1 of objects at an IoU above 0.5"),
    "f1@iou": Metric(
        f1,
        "instances",
        "higher",
        within=(0.0, 1.0),
        parameter="iou",
        summary="F1 of objects matched at this IoU or more",
    ),
    "count_error": Metric(
        count_error, "instances", "zero", unit="objects", summary="number of predicted minus number of true objects"
    ),
}
