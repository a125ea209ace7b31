"""Every metric of one case: a mask beside its truth, on the grid of the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from medvfm.core import geometry
from medvfm.core.array import Array
from medvfm.core.metric_spec import Metric, MetricSpec
from medvfm.metrics import instances, overlap, surface
from medvfm.tasks.per_case import PerCaseValues

METRICS: dict[str, Metric] = {**overlap.METRICS, **surface.METRICS}
METRICS_OF_OBJECTS: dict[str, Metric] = {**instances.METRICS}


def metrics_of(kind: str) -> dict[str, Metric]:
    """The table that a kind of segmentation is judged by."""
    return METRICS_OF_OBJECTS if kind == "instances" else METRICS


@dataclass(frozen=True, eq=False)
class CaseMeasurements:
    """One case: metric name to (T,) values, NaN where undefined; how much truth and prediction hold of each target.

    sizes are in ml, in voxels where the file states no size, or numbers of objects for instances.
    """

    values: Mapping[str, Array]
    truth_size: Array
    predicted_size: Array


def measure(
    truth: Array,
    prediction: Array,
    affine: Array | None,
    specs: Sequence[MetricSpec],
    kind: str,
    targets: int,
) -> CaseMeasurements:
    """truth and prediction (i, j, k), with a last axis T for multi-label; affine None where no size is known."""
    if kind == "instances":
        return _objects(truth, prediction, specs)
    voxel_mm3 = None if affine is None else geometry.voxel_volume_mm3(affine)
    labels = range(1, targets + 1)
    if kind == "multi_label":
        counts = overlap.multi_label_counts(truth, prediction, voxel_mm3)
    else:
        counts = overlap.counts(truth, prediction, labels, voxel_mm3)
    values = {w.name: _plain(w.metric.function(counts, **w.arguments)) for w in specs if w.metric.takes == "overlap"}
    distances = [w for w in specs if w.metric.takes == "surface"]
    values |= {w.name: np.full(targets, np.nan) for w in distances}
    if distances and affine is not None:
        for column, found in enumerate(_surfaces(truth, prediction, affine, kind, targets)):
            for w in distances:
                values[w.name][column] = float(w.metric.function(found, **w.arguments))
    scale = 1.0 if voxel_mm3 is None else voxel_mm3 / 1000
    return CaseMeasurements(values, _plain(counts.truth) * scale, _plain(counts.prediction) * scale)


def _surfaces(truth: Array, prediction: Array, affine: Array, kind: str, targets: int) -> list[surface.Surfaces]:
    if kind == "multi_label":
        pairs = [(truth[..., t], prediction[..., t]) for t in range(targets)]
        return [surface.surfaces(t.astype(np.uint8), p.astype(np.uint8), 1, affine) for t, p in pairs]
    return list(surface.surfaces_of_labels(truth, prediction, range(1, targets + 1), affine))


def _objects(truth: Array, prediction: Array, specs: Sequence[MetricSpec]) -> CaseMeasurements:
    found = instances.matches(truth, prediction)
    values = {w.name: np.array([float(w.metric.function(found, **w.arguments))]) for w in specs}
    count = lambda labels: np.array([float(len(np.setdiff1d(np.unique(labels), 0)))])  # noqa: E731
    return CaseMeasurements(values, count(truth), count(prediction))


def _plain(tensor: torch.Tensor) -> Array:
    return tensor.double().cpu().numpy()


def per_case(
    ids: Sequence[str],
    patients: Sequence[str],
    targets: tuple[str, ...],
    measured: Sequence[CaseMeasurements],
    groups: Mapping[str, Array],
    has_size: bool,
    masks: Sequence[Sequence[str]] | None,
) -> PerCaseValues:
    """Measurements of all cases of a split; sizes stand among the measures. `masks`: the files of each case: one,
    or one a structure."""
    n, t = len(ids), len(targets)
    names = measured[0].values if measured else {}
    sizes = {
        "truth_size": np.array([m.truth_size for m in measured]).reshape(n, t),
        "predicted_size": np.array([m.predicted_size for m in measured]).reshape(n, t),
    }
    table = {"truth": sizes["truth_size"], "score": sizes["predicted_size"]}
    if masks is not None:
        table["mask"] = np.broadcast_to(np.array(masks, dtype=object).reshape(n, -1), (n, t))
    return PerCaseValues(
        tuple(ids),
        np.array(patients, dtype=object),
        np.zeros(n, dtype=int),
        targets,
        {name: np.stack([m.values[name] for m in measured]) for name in names} | sizes,
        sizes["truth_size"] > 0,
        table,
        groups,
        has_size,
    )
