"""Instances against trying every assignment, loops over masks, MONAI, and cases worked by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from monai.metrics.panoptic_quality import compute_panoptic_quality

from medvfm.core.errors import MedvfmError, PredictionError
from medvfm.metrics import instances, label_maps
from medvfm.metrics.instances import matches

maps = arrays.arrays(np.uint8, (4, 5), elements=st.integers(0, 4))
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def cells(n: int = 12, size: int = 48, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Discs, and the same discs moved, some lost, some made up, under other numbers."""
    rng = np.random.default_rng(seed)
    truth, prediction = np.zeros((size, size), np.int32), np.zeros((size, size), np.int32)
    grid = np.indices((size, size))
    for number in range(1, n + 1):
        centre, radius = rng.uniform(4, size - 4, 2), rng.uniform(3, 6)
        truth[np.hypot(*(grid - centre[:, None, None])) < radius] = number
        moved = centre + rng.normal(0, 1.2, 2) if rng.random() < 0.85 else rng.uniform(4, size - 4, 2)
        prediction[np.hypot(*(grid - moved[:, None, None])) < radius * rng.uniform(0.8, 1.1)] = 1000 * number + 7
    return truth, prediction


def slow(truth: np.ndarray, prediction: np.ndarray, iou: float) -> dict[str, float]:
    """Every number from masks, one object at a time, and from every one-to-one assignment there is."""
    left = [truth == v for v in np.unique(truth) if v]
    right = [prediction == v for v in np.unique(prediction) if v]
    if not left:
        return {**dict.fromkeys(["dice", "aji", "pq", "sq", "rq", "f1@iou"], math.nan), "count_error": len(right)}
    table = np.array([[(a & b).sum() / (a | b).sum() for b in right] for a in left]).reshape(len(left), len(right))
    padded = np.zeros((len(left), max(len(left), len(right))))
    padded[:, : len(right)] = table
    ways = list(itertools.permutations(range(padded.shape[1]), len(left)))
    best = max(ways, key=lambda way: sum(padded[i, j] for i, j in enumerate(way)))
    dice = [2 * table[i, j] / (1 + table[i, j]) if j < len(right) else 0.0 for i, j in enumerate(best)]
    most = max(sum(padded[i, j] >= iou for i, j in enumerate(way)) for way in ways)
    shared = union = 0
    used = set()
    for i, a in enumerate(left):  # Kumar et al. 2017, algorithm 1
        j = int(np.argmax(table[i])) if right else -1
        if j < 0 or table[i, j] == 0:
            union += a.sum()
            continue
        shared, union = shared + (a & right[j]).sum(), union + (a | right[j]).sum()
        used.add(j)
    union += sum(b.sum() for j, b in enumerate(right) if j not in used)
    over = table[table > 0.5]
    tp, fp, fn = len(over), len(right) - len(over), len(left) - len(over)
    return {
        "dice": sum(dice) / len(left),
        "aji": shared / union,
        "pq": over.sum() / (tp + fp / 2 + fn / 2),
        "sq": over.sum() / tp if tp else math.nan,
        "rq": tp / (tp + fp / 2 + fn / 2),
        "f1@iou": 2 * most / (len(left) + len(right)),
        "count_error": len(right) - len(left),
    }


def numbers(truth, prediction, iou: float = 0.5) -> dict[str, float]:
    found = matches(truth, prediction)
    return {
        name: metric.function(found, **({metric.parameter: iou} if metric.parameter else {}))
        for name, metric in instances.METRICS.items()
    }


@given(maps, maps, st.sampled_from([0.1, 0.25, 0.5, 0.75]))
@settings(max_examples=150, deadline=None)
def test_agrees_with_loops_over_objects(truth: np.ndarray, prediction: np.ndarray, iou: float) -> None:
    found, expected = numbers(truth, prediction, iou), slow(truth, prediction, iou)
    # Assignments of one sum of IoU may differ in their Dice: only that sum is settled.
    dice = (found.pop("dice"), expected.pop("dice"))
    assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert math.isnan(dice[0]) == math.isnan(dice[1])


@pytest.mark.parametrize("seed", range(8))
def test_agrees_with_loops_over_cells(seed: int) -> None:
    truth, prediction = cells(n=6, size=24, seed=seed)
    assert numbers(truth, prediction) == pytest.approx(slow(truth, prediction, 0.5), abs=1e-12, nan_ok=True)


@given(maps, maps)
@settings(max_examples=60, deadline=None)
def test_the_assignment_is_one_to_one_and_the_best_of_all(truth: np.ndarray, prediction: np.ndarray) -> None:
    found = matches(truth, prediction)
    taken = found.assigned()
    assert len(set(found.truth[taken])) == len(set(found.prediction[taken])) == len(taken)
    n, m = len(found.truth_voxels), len(found.prediction_voxels)
    table = np.zeros((n, max(n, m)))
    table[found.truth, found.prediction] = found.iou
    best = max(sum(table[i, j] for i, j in enumerate(way)) for way in itertools.permutations(range(max(n, m)), n))
    assert found.iou[taken].sum() == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_monai(seed: int) -> None:
    truth, prediction = cells(seed=seed)
    found = numbers(truth, prediction)
    for name in ("pq", "sq", "rq"):
        theirs = compute_panoptic_quality(torch.from_numpy(prediction), torch.from_numpy(truth), metric_name=name)
        assert found[name] == pytest.approx(float(theirs), abs=1e-5)


def test_worked_by_hand() -> None:
    truth = np.array([[1, 1, 1, 1, 0, 2, 2, 0, 3, 3]])
    prediction = np.array([[5, 5, 5, 0, 0, 0, 6, 6, 0, 0]])
    # IoU 3/4 and 1/3; the third object is missed. Dice 6/7 and 1/2.
    found = numbers(truth, prediction)
    assert found == pytest.approx({
        "dice": (6 / 7 + 1 / 2) / 3, "aji": (3 + 1) / (4 + 3 + 2), "pq": 0.75 / 2.5, "sq": 0.75, "rq": 1 / 2.5,
        "f1@iou": 2 / 5, "count_error": -1,
    })  # fmt: skip
    assert numbers(truth, prediction, 1 / 3)["f1@iou"] == pytest.approx(4 / 5)


def test_as_many_as_possible_are_found_even_where_the_best_sum_has_fewer() -> None:
    # The second object overlaps only what the first overlaps best: the greatest sum of IoU takes one pair alone.
    truth = np.array([[1] * 10 + [2] * 9])
    prediction = np.array([[7] * 2 + [8] * 11 + [0] * 6])
    found = matches(truth, prediction)
    assert len(found.assigned()) == 1
    assert found.found(0.15) == 2
    assert found.found(0.25) == 1


def test_the_conventions_of_empty_cases() -> None:
    nothing, something = np.zeros((4, 4), np.uint8), np.eye(4, dtype=np.uint8)
    for prediction, error in ((nothing, 0), (something, 1)):
        found = numbers(nothing, prediction)
        assert found.pop("count_error") == error
        assert all(math.isnan(value) for value in found.values())
    missed = numbers(something, nothing)
    assert math.isnan(missed.pop("sq"))
    assert missed == {"dice": 0, "aji": 0, "pq": 0, "rq": 0, "f1@iou": 0, "count_error": -1}


@pytest.mark.parametrize("cells_of_table", [1, 2**22])
def test_numbers_of_objects_and_the_order_of_voxels_mean_nothing(
    cells_of_table: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth, prediction = cells()
    expected = pytest.approx(numbers(truth, prediction), abs=1e-12)
    monkeypatch.setattr(label_maps, "TABLE_CELLS", cells_of_table)
    monkeypatch.setattr(label_maps, "CHUNK_VOXELS", 100)
    renumbered = np.where(truth, 50_000 - 13 * truth, 0)
    assert numbers(renumbered, prediction) == expected
    assert numbers(truth.T[::-1], torch.from_numpy(prediction.T[::-1].copy())) == expected
    order = np.random.default_rng(0).permutation(truth.size)
    assert numbers(truth.ravel()[order].reshape(4, 12, 48), prediction.ravel()[order].reshape(4, 12, 48)) == expected
    assert numbers(truth, truth) == {"dice": 1, "aji": 1, "pq": 1, "sq": 1, "rq": 1, "f1@iou": 1, "count_error": 0}


def test_ten_thousand_objects_are_assigned_without_a_table_of_them_all() -> None:
    truth = np.kron(np.arange(1, 10_001).reshape(100, 100), np.ones((4, 4), int))
    prediction = np.roll(truth, 1, axis=0)
    found = matches(truth, prediction)
    assert len(found.truth_voxels) == 10_000
    assert instances.object_dice(found) == pytest.approx(0.75)
    assert instances.f1(found, 0.5) == 1


def test_what_is_no_threshold_or_no_label_map_is_refused() -> None:
    with pytest.raises(MedvfmError, match="iou=0 is not above 0"):
        instances.f1(matches(*cells()), 0)
    with pytest.raises(PredictionError, match="no label map"):
        matches(np.zeros((3, 3)), np.zeros((3, 3)))


@pytest.mark.gpu
@needs_gpu
def test_the_accelerator_gives_the_same() -> None:
    truth, prediction = cells()
    there = numbers(torch.from_numpy(truth).cuda(), torch.from_numpy(prediction).cuda())
    assert there == pytest.approx(numbers(truth, prediction), abs=1e-12)
