"""Overlap against counting voxel by voxel, MONAI and scikit-learn; how arrays lie in memory; what memory it takes."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from monai.metrics import compute_dice, compute_iou
from sklearn import metrics as sk

from medvfm.core.errors import PredictionError
from medvfm.metrics import label_maps, overlap

LABELS = [1, 2, 3, 7]
maps = arrays.arrays(np.uint8, (3, 4, 2), elements=st.sampled_from([0, 1, 2, 3, 5]))
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def random_maps(shape: tuple[int, ...] = (9, 8, 7), labels: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, labels, shape).astype(np.uint8)
    return truth, np.where(rng.random(shape) < 0.6, truth, rng.integers(0, labels, shape)).astype(np.uint8)


def by_loops(truth: np.ndarray, prediction: np.ndarray, label: int) -> dict[str, float]:
    """Every number from a walk over the voxels, with the convention written out; a voxel has 2 mm3."""
    tp = fp = fn = tn = 0
    for t, p in zip(truth.ravel().tolist(), prediction.ravel().tolist(), strict=True):
        tp += t == label and p == label
        fp += t != label and p == label
        fn += t == label and p != label
        tn += t != label and p != label
    present, predicted, nan = tp + fn > 0, tp + fp > 0, math.nan
    return {
        "dice": 2 * tp / (2 * tp + fp + fn) if present else nan,
        "iou": tp / (tp + fp + fn) if present else nan,
        "sensitivity": tp / (tp + fn) if present else nan,
        "precision": tp / (tp + fp) if present and predicted else nan,
        "specificity": tn / (tn + fp) if tn + fp else nan,
        "volume_error": (fp - fn) / (tp + fn) if present else nan,
        "absolute_volume_error": abs(fp - fn) / (tp + fn) if present else nan,
        "volume_difference_ml": (fp - fn) * 0.002,
        "missed": float(not predicted) if present else nan,
        "spurious": nan if present else float(predicted),
        "false_positive_volume": nan if present else fp * 0.002,
    }


@given(maps, maps)
@settings(max_examples=60, deadline=None)
def test_every_number_agrees_with_counting_voxel_by_voxel(truth: np.ndarray, prediction: np.ndarray) -> None:
    counted = overlap.counts(truth, prediction, LABELS, 2.0)
    slow = [by_loops(truth, prediction, label) for label in LABELS]
    for name, metric in overlap.METRICS.items():
        expected = torch.tensor([of_label[name] for of_label in slow], dtype=torch.float64)
        torch.testing.assert_close(metric.function(counted), expected, rtol=1e-15, atol=1e-15, equal_nan=True)


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_monai_and_sklearn(seed: int) -> None:
    truth, prediction = random_maps(seed=seed)
    counted = overlap.counts(truth, prediction, range(1, 5), 1.0)
    hot_t, hot_p = (
        torch.nn.functional.one_hot(torch.from_numpy(m).long(), 5).movedim(-1, 0)[None] for m in (truth, prediction)
    )
    close = {"rtol": 1e-6, "atol": 1e-7}  # MONAI works in float32
    torch.testing.assert_close(
        overlap.dice(counted).float(), compute_dice(hot_p, hot_t, include_background=False)[0], **close
    )
    torch.testing.assert_close(
        overlap.iou(counted).float(), compute_iou(hot_p, hot_t, include_background=False)[0], **close
    )
    precision, recall, f1, support = sk.precision_recall_fscore_support(
        truth.ravel(), prediction.ravel(), labels=range(1, 5)
    )
    np.testing.assert_allclose(overlap.precision(counted), precision, rtol=1e-14)
    np.testing.assert_allclose(overlap.sensitivity(counted), recall, rtol=1e-14)
    np.testing.assert_allclose(overlap.dice(counted), f1, rtol=1e-14)
    np.testing.assert_array_equal(counted.truth, support)


def test_the_conventions_of_empty_structures() -> None:
    truth, prediction = np.zeros((2, 4, 4), np.uint8), np.zeros((2, 4, 4), np.uint8)
    truth[0, 0] = 1  # label 1 is missed, label 2 is made up, label 3 is nowhere
    prediction[1, 1] = 2
    counted = overlap.counts(truth, prediction, [1, 2, 3], 500.0)
    nan = math.nan
    for name, expected in {
        "dice": [0, nan, nan], "iou": [0, nan, nan], "sensitivity": [0, nan, nan], "precision": [nan, nan, nan],
        "specificity": [1, 28 / 32, 1], "volume_error": [-1, nan, nan], "absolute_volume_error": [1, nan, nan],
        "volume_difference_ml": [-2, 2, 0], "missed": [1, nan, nan], "spurious": [nan, 1, 0],
        "false_positive_volume": [nan, 2, 0],
    }.items():  # fmt: skip
        np.testing.assert_array_equal(overlap.METRICS[name].function(counted), expected, err_msg=name)
    full = overlap.counts(np.ones((2, 2), np.uint8), np.ones((2, 2), np.uint8), [1], None)
    assert math.isnan(overlap.specificity(full)[0])  # nothing lies outside
    assert math.isnan(overlap.volume_difference_ml(full)[0])  # no spacing, no volume
    assert overlap.dice(full)[0] == 1


@pytest.mark.parametrize("chunk", [1, 7, 2**22])
@pytest.mark.parametrize("cells", [1, 2**22])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "uint16", ">i2", "int32", "uint32", "int64", "uint64"])
def test_how_the_arrays_lie_in_memory_does_not_matter(
    dtype: str, cells: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_maps, "CHUNK_VOXELS", chunk)
    monkeypatch.setattr(label_maps, "TABLE_CELLS", cells)
    truth, prediction = (m.astype(dtype) for m in random_maps((5, 1, 6)))
    labels = [1] if dtype == "bool" else [0, 3, 1, 200]
    expected = [[int((truth == v).sum()) for v in labels], [int((prediction == v).sum()) for v in labels]]
    expected.append([int(((truth == v) & (prediction == v)).sum()) for v in labels])
    truth.setflags(write=False)
    for t, p in (
        (truth, prediction),
        (truth, np.asfortranarray(prediction)),
        (np.asfortranarray(truth), np.asfortranarray(prediction)),
        (truth[::-1, :, ::-1], prediction[::-1, :, ::-1]),
        (truth.transpose(2, 0, 1), prediction.transpose(2, 0, 1)),
    ):
        counted = overlap.counts(t, p, labels, None)
        assert [counted.truth.tolist(), counted.prediction.tolist(), counted.both.tolist()] == expected
        assert counted.total == 30


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(1, 1, 60), (60, 1, 1), (2, 3, 10), (10, 3, 2)])
def test_chunks_are_small_however_the_axes_lie(
    shape: tuple[int, ...], order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_maps, "CHUNK_VOXELS", 10)
    array = np.zeros(shape, np.uint8, order=order)
    sizes = [len(chunk) for chunk in label_maps._codes(array, array, 256, torch.int32)]
    assert sum(sizes) == 60
    slabs = {"C": 60 // shape[0], "F": 60 // shape[2]}  # whole slices of the slowest axis
    assert max(sizes) <= max(10, 0 if 1 in shape else slabs[order])


def test_tensors_and_arrays_mix() -> None:
    truth, prediction = random_maps()
    expected = overlap.counts(truth, prediction, LABELS, None)
    for t, p in ((torch.from_numpy(truth), prediction), (truth, torch.from_numpy(prediction).short())):
        torch.testing.assert_close(overlap.counts(t, p, LABELS, None).both, expected.both)
    one = overlap.counts(np.array(3), np.array(3), [3], None)
    assert (int(one.both[0]), one.total) == (1, 1)


def test_labels_far_apart_and_large() -> None:
    truth = np.array([0, 5, 2**31 - 1, 70_000, 5], np.int64)
    counted = overlap.counts(truth, truth[[0, 1, 2, 4, 3]], [5, 2**31 - 1, 70_000, 6], None)
    assert counted.truth.tolist() == [2, 1, 1, 0]
    assert counted.both.tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize("seed", range(3))
def test_multi_label_masks_agree_with_one_label_at_a_time(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "CHUNK_VOXELS", 100)
    rng = np.random.default_rng(seed)
    truth, prediction = rng.random((2, 5, 6, 4, 3)) < 0.4  # labels overlap
    counted = overlap.multi_label_counts(np.asfortranarray(truth), torch.from_numpy(prediction), 2.0)
    for label in range(3):
        alone = overlap.counts(truth[..., label], prediction[..., label], [1], 2.0)
        for of_all, of_one in zip(
            (counted.truth, counted.prediction, counted.both), (alone.truth, alone.prediction, alone.both), strict=True
        ):
            assert of_all[label] == of_one[0]
        assert counted.total == alone.total


def test_scores_of_two_arrays() -> None:
    truth, prediction = random_maps()
    expected = by_loops(truth, prediction, 2)
    assert overlap.dice_score(truth, prediction, label=2) == pytest.approx(expected["dice"], abs=1e-15)
    assert overlap.iou_score(truth, prediction, label=2) == pytest.approx(expected["iou"], abs=1e-15)
    assert overlap.dice_score(truth == 1, truth == 1) == 1
    assert math.isnan(overlap.dice_score(truth, prediction, label=9))
    assert overlap.dice_score(truth, prediction, label=9, empty=1.0) == 1


@given(maps, maps)
@settings(max_examples=30, deadline=None)
def test_symmetry_and_permutation(truth: np.ndarray, prediction: np.ndarray) -> None:
    counted, back = overlap.counts(truth, prediction, LABELS, 1.0), overlap.counts(prediction, truth, LABELS, 1.0)
    both = (counted.truth > 0) & (counted.prediction > 0)
    for symmetric in (overlap.dice, overlap.iou):
        torch.testing.assert_close(symmetric(counted)[both], symmetric(back)[both])
    torch.testing.assert_close(overlap.sensitivity(counted)[both], overlap.precision(back)[both])
    order = np.random.default_rng(0).permutation(truth.size)
    mixed = overlap.counts(truth.ravel()[order], prediction.ravel()[order], LABELS, 1.0)
    for name, metric in overlap.METRICS.items():
        torch.testing.assert_close(
            metric.function(mixed), metric.function(counted), rtol=0, atol=0, equal_nan=True, msg=name
        )
    d, j = overlap.dice(counted), overlap.iou(counted)
    torch.testing.assert_close(d, 2 * j / (1 + j), equal_nan=True)


@pytest.mark.parametrize(
    ("truth", "prediction", "said"),
    [
        (np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), "differ in shape"),
        (np.zeros((2, 3)), np.zeros((2, 3), np.uint8), "truth of float64 is no label map"),
        (np.zeros((2, 3), np.uint8), torch.zeros(2, 3), "prediction of torch.float32 is no label map"),
        (np.full((2, 3), -1), np.zeros((2, 3), np.uint8), "truth holds -1"),
        (np.zeros((2, 3), np.uint8), np.full((2, 3), 2**40), "prediction holds 1099511627776"),
        (np.zeros((0, 3), np.uint8), np.zeros((0, 3), np.uint8), "no voxel"),
    ],
)  # fmt: skip
def test_what_is_no_pair_of_label_maps_is_refused(truth, prediction, said: str) -> None:
    with pytest.raises(PredictionError, match=said):
        overlap.counts(truth, prediction, [1], None)


def test_multi_label_masks_are_bool() -> None:
    with pytest.raises(PredictionError, match="expected bool masks"):
        overlap.multi_label_counts(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2, 3), bool), None)


def test_counts_are_exact_beyond_float32() -> None:
    counted = overlap.Counts(*(torch.tensor([2**24 + v]) for v in (3, 1, 1)), total=2**25, voxel_mm3=1.0)
    assert float(overlap.dice(counted)[0]) == 2 * (2**24 + 1) / (2**25 + 4)
    assert float(overlap.sensitivity(counted)[0]) == (2**24 + 1) / (2**24 + 3)


@pytest.mark.slow
def test_a_large_volume_takes_little_memory() -> None:
    """512 x 512 x 400 with 50 labels: 100 MiB a map; what counting adds must stay far below a copy in int64."""
    code = """
import resource, numpy as np, torch
from medvfm.metrics import overlap
truth = np.zeros((512, 512, 400), np.uint8)
for label in range(1, 51):
    truth[label * 9 : label * 9 + 30, 100:300, label * 5 : label * 5 + 100] = label
prediction = np.asfortranarray(np.roll(truth, 2, axis=0))
small = truth[:8, :8, :8]
overlap.counts(small, small, range(1, 51), 1.0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
counted = overlap.counts(truth, prediction, range(1, 51), 1.0)
assert counted.total == truth.size and bool((counted.both > 0).all())
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 200  # MiB


@pytest.mark.gpu
@needs_gpu
def test_the_accelerator_counts_the_same() -> None:
    for dtype in (np.uint8, np.uint16, np.int64):
        truth, prediction = (m.astype(dtype) for m in random_maps((40, 30, 20)))
        expected = overlap.counts(truth, prediction, LABELS, 2.0)
        t, p = torch.from_numpy(truth).cuda(), torch.from_numpy(prediction)
        for there in (p, p.cuda()):
            counted = overlap.counts(t, there, LABELS, 2.0)
            assert counted.both.is_cuda
            for name, metric in overlap.METRICS.items():
                found, wanted = metric.function(counted).cpu(), metric.function(expected)
                torch.testing.assert_close(found, wanted, rtol=1e-15, atol=0, equal_nan=True, msg=name)
    masks = torch.rand(2, 20, 10, 5, 3, generator=torch.Generator().manual_seed(0)) < 0.5
    there, here = overlap.multi_label_counts(*masks.cuda(), None), overlap.multi_label_counts(*masks, None)
    torch.testing.assert_close(there.both.cpu(), here.both)
