"""What every metric of label maps keeps to. A row that is not named here fails."""

from __future__ import annotations

import importlib
import math
import pkgutil

import numpy as np
import pytest

from medvfm import metrics
from medvfm.core.metric_spec import Metric
from medvfm.metrics import instances, overlap, surface

AFFINE = np.diag([0.7, 0.9, 2.5, 1.0])
VOXEL_MM3 = 0.7 * 0.9 * 2.5
PARAMETERS = {"tolerance": 1.0, "iou": 0.5}
DIAGONAL = math.hypot(12 * 0.7, 10 * 0.9, 8 * 2.5)
NAN = math.nan

# Value where truth and prediction are equal; where a structure is missed; where one is made up that the truth lacks.
VALUES = {
    ("overlap", "dice"): (1, 0, NAN),
    ("overlap", "iou"): (1, 0, NAN),
    ("overlap", "sensitivity"): (1, 0, NAN),
    ("overlap", "precision"): (1, NAN, NAN),
    ("overlap", "specificity"): (1, 1, 1 - 30 / 960),
    ("overlap", "volume_error"): (0, -1, NAN),
    ("overlap", "absolute_volume_error"): (0, 1, NAN),
    ("overlap", "volume_difference_ml"): (0, -30 * VOXEL_MM3 / 1000, 30 * VOXEL_MM3 / 1000),
    ("overlap", "missed"): (0, 1, NAN),
    ("overlap", "spurious"): (NAN, NAN, 1),
    ("overlap", "false_positive_volume"): (NAN, NAN, 30 * VOXEL_MM3 / 1000),
    ("surface", "hd95"): (0, DIAGONAL, NAN),
    ("surface", "hd95_detected"): (0, NAN, NAN),
    ("surface", "assd"): (0, DIAGONAL, NAN),
    ("surface", "assd_detected"): (0, NAN, NAN),
    ("surface", "nsd@tolerance"): (1, 0, NAN),
    ("instances", "dice"): (1, 0, NAN),
    ("instances", "aji"): (1, 0, NAN),
    ("instances", "pq"): (1, 0, NAN),
    ("instances", "sq"): (1, NAN, NAN),
    ("instances", "rq"): (1, 0, NAN),
    ("instances", "f1@iou"): (1, 0, NAN),
    ("instances", "count_error"): (0, -1, 1),
}


def all_metrics() -> dict[tuple[str, str], Metric]:
    found: dict[tuple[str, str], Metric] = {}
    for module in pkgutil.iter_modules(metrics.__path__):
        table = getattr(importlib.import_module(f"medvfm.metrics.{module.name}"), "METRICS", {})
        for name, metric in table.items():
            if metric.takes in ("overlap", "surface", "instances"):
                assert (metric.takes, name) not in found, f"{name} stands in two tables"
                found[metric.takes, name] = metric
    return found


METRICS = all_metrics()
every = pytest.mark.parametrize("key", METRICS, ids=":".join)


def value(key: tuple[str, str], truth: np.ndarray, prediction: np.ndarray) -> float:
    """What evaluation does with a row: the record that the metric takes, its parameter by name, one label."""
    metric = METRICS[key]
    records = {
        "overlap": lambda: overlap.counts(truth, prediction, [1], VOXEL_MM3),
        "surface": lambda: surface.surfaces(truth, prediction, 1, AFFINE),
        "instances": lambda: instances.matches(truth, prediction),
    }
    options = {metric.parameter: PARAMETERS[metric.parameter]} if metric.parameter else {}
    return float(metric.function(records[metric.takes](), **options))


def masks(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth, prediction = np.zeros((12, 10, 8), np.uint8), np.zeros((12, 10, 8), np.uint8)
    for mask in (truth, prediction):
        i, j, k = rng.integers(0, 4, 3)
        mask[i : i + 6, j : j + 5, k : k + 4] = 1
    return truth, prediction


def test_no_row_is_forgotten_and_names_differ_where_one_task_has_both() -> None:
    assert set(VALUES) == set(METRICS)
    semantic = [name for takes, name in METRICS if takes != "instances"]
    assert len(set(semantic)) == len(semantic)


@every
def test_the_row_says_what_it_is(key: tuple[str, str]) -> None:
    metric, name = METRICS[key], key[1]
    assert metric.summary
    assert metric.better in ("higher", "lower", "zero")
    assert (metric.parameter is not None) == ("@" in name)
    assert metric.parameter is None or name.endswith(f"@{metric.parameter}")
    assert metric.over_cases == ("sum" if metric.unit == "cases" else "mean")


@every
def test_equal_missed_and_made_up(key: tuple[str, str]) -> None:
    nothing, something = np.zeros((12, 10, 8), np.uint8), np.zeros((12, 10, 8), np.uint8)
    something[2:7, 3:6, 4:6] = 1
    found = [value(key, *pair) for pair in ((something, something), (something, nothing), (nothing, something))]
    assert found == pytest.approx(VALUES[key], nan_ok=True)


@every
def test_nothing_beats_the_truth_itself(key: tuple[str, str]) -> None:
    for seed in range(8):
        truth, prediction = masks(seed)
        best, other = value(key, truth, truth), value(key, truth, prediction)
        if math.isnan(best):  # a number about cases without the structure
            assert math.isnan(other)
            continue
        better = METRICS[key].better
        if not math.isnan(other):
            assert {"higher": best >= other, "lower": best <= other, "zero": abs(best) <= abs(other)}[better]


@every
def test_the_way_an_image_is_stored_does_not_matter(key: tuple[str, str]) -> None:
    truth, prediction = masks(3)
    expected = pytest.approx(value(key, truth, prediction), abs=1e-12, nan_ok=True)
    assert value(key, truth[::-1, :, ::-1], prediction[::-1, :, ::-1]) == expected
    assert value(key, np.asfortranarray(truth), prediction.astype(np.int64)) == expected
    assert value(key, truth.astype(bool), prediction.astype(bool)) == expected
