"""Surfaces against loops over voxels, MONAI and DeepMind's package; what moving, turning and scaling an image does."""

from __future__ import annotations

import itertools
import math

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice
from scipy.ndimage import gaussian_filter

from medvfm.core.errors import MedvfmError, PredictionError
from medvfm.metrics import surface
from medvfm.metrics.surface import Surfaces, surfaces, surfaces_of_labels

SPACING = np.diag([0.7, 0.9, 2.5, 1.0])
# Turned by 20 degrees about one axis, sheared as a tilted gantry shears, and away from the origin.
OBLIQUE = np.array([[0.66, -0.31, 0.0, 30.0], [0.24, 0.85, 0.8, -12.0], [0.0, 0.1, 2.4, 5.0], [0.0, 0.0, 0.0, 1.0]])
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
small = arrays.arrays(np.bool_, (4, 3, 3))


def blobs(shape: tuple[int, ...] = (20, 18, 12), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two smooth shapes that partly agree; some touch the border."""
    rng = np.random.default_rng(seed)
    field, noise = (gaussian_filter(rng.normal(size=shape), 2.0, mode="wrap") for _ in range(2))
    return field > 0.5 * field.std(), field + 0.4 * noise > 0.5 * field.std()


def slow_surface(mask: np.ndarray, flat: tuple[int, ...] = ()) -> list[tuple[int, ...]]:
    found = []
    for voxel in itertools.product(*map(range, mask.shape)):
        neighbours = [
            tuple(v + step * (axis == a) for a, v in enumerate(voxel))
            for axis in range(3) for step in (-1, 1) if axis not in flat
        ]  # fmt: skip
        inside = [all(0 <= v < n for v, n in zip(at, mask.shape, strict=True)) and mask[at] for at in neighbours]
        if mask[voxel] and not all(inside):
            found.append(voxel)
    return found


def slow(truth: np.ndarray, prediction: np.ndarray, affine: np.ndarray, flat: tuple[int, ...] = ()) -> dict[str, float]:
    """Every number from all pairs of surface voxels, placed in mm one by one."""
    points = [[affine @ [*voxel, 1] for voxel in slow_surface(mask, flat)] for mask in (truth, prediction)]
    ways = [
        [min(math.dist(point[:3], other[:3]) for other in others) for point in these]
        for these, others in (points, points[::-1])
    ]
    both = ways[0] + ways[1]
    return {
        "hd95": max(np.percentile(way, 95) for way in ways),
        "assd": sum(both) / len(both),
        "nsd": sum(d <= 1.4 + 1e-6 for d in both) / len(both),
    }


def numbers(found: Surfaces) -> dict[str, float]:
    return {"hd95": surface.hd95(found), "assd": surface.assd(found), "nsd": surface.nsd(found, 1.4)}


@given(small, small, st.sampled_from([np.eye(4), SPACING, OBLIQUE]))
@settings(max_examples=60, deadline=None)
def test_agrees_with_loops_over_voxels(truth: np.ndarray, prediction: np.ndarray, affine: np.ndarray) -> None:
    truth[0, 0, 0] = prediction[-1, -1, -1] = True
    assert numbers(surfaces(truth, prediction, 1, affine)) == pytest.approx(slow(truth, prediction, affine), abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("affine", [np.eye(4), SPACING])
def test_agrees_with_monai(seed: int, affine: np.ndarray) -> None:
    truth, prediction = blobs(seed=seed)
    found = surfaces(truth, prediction, 1, affine)
    hot = [torch.from_numpy(mask)[None, None] for mask in (prediction, truth)]
    options = {"include_background": True, "spacing": tuple(np.diag(affine)[:3])}
    theirs = {
        "hd95": compute_hausdorff_distance(*hot, percentile=95, **options),
        "assd": compute_average_surface_distance(*hot, symmetric=True, **options),
        "nsd": compute_surface_dice(*hot, class_thresholds=[1.4001], **options),
    }
    assert numbers(found) == pytest.approx({name: float(value) for name, value in theirs.items()}, rel=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_single_slice_is_a_plane_as_monai_has_it(axis: int) -> None:
    truth, prediction = blobs((24, 20, 5))
    plane = [np.ascontiguousarray(mask[:, :, 2]) for mask in (truth, prediction)]
    spacing = np.delete(np.diag(SPACING)[:3], axis)
    found = surfaces(*(np.expand_dims(mask, axis) for mask in plane), 1, SPACING)
    hot = [torch.from_numpy(mask)[None, None] for mask in (plane[1], plane[0])]
    options = {"include_background": True, "spacing": tuple(spacing)}
    assert surface.hd95(found) == pytest.approx(
        float(compute_hausdorff_distance(*hot, percentile=95, **options)), rel=1e-5
    )
    assert surface.nsd(found, 1.0) == pytest.approx(
        float(compute_surface_dice(*hot, class_thresholds=[1.0001], **options))
    )
    assert found.diagonal_mm == pytest.approx(math.hypot(*(spacing * plane[0].shape)))
    if axis == 2:
        assert numbers(surfaces(*plane, 1, SPACING)) == numbers(found)  # (i, j) alone is the same image
    else:
        assert numbers(found) == pytest.approx(
            slow(*(np.expand_dims(mask, axis) for mask in plane), SPACING, flat=(axis,)), abs=1e-9
        )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("shift", [(3, 0, 0), (0, 2, 1), (4, 3, 2), (20, 0, 0)])
def test_agrees_with_deepminds_package_on_the_greatest_distance_of_a_moved_box(shift: tuple[int, int, int]) -> None:
    """They place surface elements between voxels and weight them by area: the maximum of moved shapes is the same."""
    theirs = pytest.importorskip("surface_distance")
    truth, prediction = np.zeros((40, 24, 20), bool), np.zeros((40, 24, 20), bool)
    truth[4:14, 4:16, 4:12] = True
    prediction[tuple(slice(a + s, b + s) for (a, b), s in zip([(4, 14), (4, 16), (4, 12)], shift, strict=True))] = True
    measured = theirs.compute_surface_distances(truth, prediction, (0.7, 0.9, 2.5))
    found = surfaces(truth, prediction, 1, SPACING)
    greatest = float(max(found.from_truth_mm.max(), found.from_prediction_mm.max()))
    assert greatest == pytest.approx(theirs.compute_robust_hausdorff(measured, 100), abs=1e-9)


def test_the_conventions_of_empty_structures() -> None:
    truth, prediction = np.zeros((4, 5, 6), np.uint8), np.zeros((4, 5, 6), np.uint8)
    truth[1, 1, 1] = 1
    prediction[2, 2, 2] = 2
    missed, made_up, nowhere = surfaces_of_labels(truth, prediction, [1, 2, 3], SPACING)
    diagonal = math.hypot(4 * 0.7, 5 * 0.9, 6 * 2.5)
    assert (missed.present, missed.predicted, made_up.present, made_up.predicted) == (True, False, False, True)
    assert (surface.hd95(missed), surface.assd(missed)) == pytest.approx((diagonal, diagonal))
    assert surface.nsd(missed, 1.0) == 0
    assert math.isnan(surface.hd95_detected(missed))
    assert math.isnan(surface.assd_detected(missed))
    for absent in (made_up, nowhere):
        assert absent.undefined == "absent in the truth"
        assert all(math.isnan(value) for value in numbers(absent).values())
    assert missed.undefined is None


def test_missing_a_structure_is_worse_than_any_prediction_of_it() -> None:
    truth = np.zeros((4, 5, 6), bool)
    truth[0, 0, 0] = True
    worst = np.zeros_like(truth)
    worst[-1, -1, -1] = True
    for affine in (SPACING, OBLIQUE):
        missed, far = surfaces(truth, ~truth & False, 1, affine), surfaces(truth, worst, 1, affine)
        assert surface.hd95(missed) > surface.hd95(far) > 0
    dot = np.ones((1, 1, 1), bool)
    assert surface.hd95(surfaces(dot, ~dot, 1, SPACING)) > 0


def test_brats_diagonal() -> None:
    """The penalty of BraTS for a missed structure in its images of 240 x 240 x 155 at 1 mm."""
    assert surface.diagonal_mm((240, 240, 155), np.eye(4)) == pytest.approx(373.13, abs=0.01)


@pytest.mark.parametrize("shear", [-0.8, 0.0, 0.8])
def test_the_longest_diagonal_of_a_sheared_image(shear: float) -> None:
    affine = np.array([[1, 0, 0, 5], [0, 1, shear, 0], [0, 0, 2, 0], [0, 0, 0, 1.0]])
    corners = [affine[:3, :3] @ (np.array(at) * [6, 7, 8]) for at in itertools.product((0, 1), repeat=3)]
    longest = max(math.dist(one, other) for one, other in itertools.combinations(corners, 2))
    assert surface.diagonal_mm((6, 7, 8), affine) == pytest.approx(longest)


def test_unknown_spacing_leaves_every_distance_undefined() -> None:
    truth, prediction = blobs()
    found = surfaces(truth, prediction, 1, None)
    assert found.undefined == "the spacing of the image is unknown"
    assert found.predicted
    assert all(math.isnan(value) for value in numbers(found).values())


def test_known_distances() -> None:
    truth, prediction = np.zeros((30, 30, 30), bool), np.zeros((30, 30, 30), bool)
    truth[5:15, 5:15, 5:15] = True
    prediction[8:18, 5:15, 5:15] = True  # moved by 3 voxels of 0.5 mm: opposite faces are 1.5 mm apart
    found = surfaces(truth, prediction, 1, np.diag([0.5, 1, 1, 1]))
    assert surface.hd95(found) == pytest.approx(1.5)
    assert surface.nsd(found, 1.5) == 1  # a distance equal to the tolerance is within it
    assert surface.nsd(found, 1.499) < 1
    same = surfaces(truth, truth, 1, OBLIQUE)
    assert numbers(same) == {"hd95": 0, "assd": 0, "nsd": 1}
    assert surface.nsd(same, 0.0) == 1
    assert len(found.from_truth_mm) == 10**3 - 8**3


@pytest.mark.parametrize("seed", range(2))
def test_what_the_image_goes_through_does_not_change_distances(seed: int) -> None:
    truth, prediction = blobs(seed=seed)
    expected = pytest.approx(numbers(surfaces(truth, prediction, 1, OBLIQUE)), abs=1e-9)
    turned = np.array([[0.0, -1, 0, 4], [1, 0, 0, 2], [0, 0, 1, 9], [0, 0, 0, 1]])
    c, s = math.cos(0.3), math.sin(0.3)
    tipped = np.array([[1.0, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1]])
    assert numbers(surfaces(prediction, truth, 1, OBLIQUE)) == expected  # symmetric
    assert numbers(surfaces(truth, prediction, 1, tipped @ turned @ OBLIQUE)) == expected  # the patient moved
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = truth.shape[0] - 1
    assert numbers(surfaces(truth[::-1], prediction[::-1], 1, OBLIQUE @ flip)) == expected
    swap = np.eye(4)[[2, 0, 1, 3]]  # voxel (k, i, j)
    moved = [np.asfortranarray(mask.transpose(2, 0, 1)) for mask in (truth, prediction)]
    assert numbers(surfaces(*moved, 1, OBLIQUE @ swap.T)) == expected
    ways = surfaces(truth, prediction, 1, OBLIQUE)
    doubled = surfaces(truth, prediction, 1, np.diag([2, 2, 2, 1]) @ OBLIQUE)
    torch.testing.assert_close(doubled.from_truth_mm, 2 * ways.from_truth_mm)
    assert doubled.diagonal_mm == pytest.approx(2 * ways.diagonal_mm)
    roomy = [np.pad(mask, 3) for mask in (truth, prediction)]  # the border was surface already
    assert numbers(surfaces(*roomy, 1, OBLIQUE)) == expected


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", ">i2", "int32", "int64", "uint64"])
def test_labels_of_one_map_agree_with_a_mask_each(dtype: str) -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, (6, 7, 5)).astype(dtype)
    prediction = np.roll(truth, 1, axis=1)
    prediction[prediction == 3] = 0
    for order in (np.ascontiguousarray, np.asfortranarray):
        found = surfaces_of_labels(order(truth), order(prediction), [3, 1, 9, 2], OBLIQUE)
        for label, of_map in zip([3, 1, 9, 2], found, strict=True):
            alone = surfaces(truth == label, torch.from_numpy(prediction == label), 1, OBLIQUE)
            assert (of_map.present, of_map.predicted) == (alone.present, alone.predicted)
            torch.testing.assert_close(of_map.from_truth_mm, alone.from_truth_mm, rtol=0, atol=0)
            torch.testing.assert_close(of_map.from_prediction_mm, alone.from_prediction_mm, rtol=0, atol=0)


@pytest.mark.parametrize("block", [1, 50, 2**26])
def test_comparing_all_pairs_gives_what_the_tree_gives(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surface, "CHUNK_PAIRS", block)
    masks = [surface.surface(mask, (False,) * 3) for mask in blobs((10, 9, 6))]
    for these, others in (masks, masks[::-1]):
        by_tree = surface._distances_mm(these, others, OBLIQUE)
        by_pairs = surface._distances_mm(torch.from_numpy(these), torch.from_numpy(others), OBLIQUE)
        assert len(by_tree) == these.sum()
        torch.testing.assert_close(by_tree.sort().values, by_pairs.sort().values, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.uint16, torch.int64])
def test_the_way_of_the_accelerator_walked_in_main_memory(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    truth, prediction = blobs((12, 10, 8))
    expected = pytest.approx(numbers(surfaces(truth, prediction, 1, OBLIQUE)), abs=1e-9)
    tensors = torch.from_numpy(truth).to(dtype), torch.from_numpy(prediction).to(dtype)
    monkeypatch.setattr(surface, "checked_pair", lambda truth, prediction: (truth, prediction))
    assert numbers(surfaces(*tensors, 1, OBLIQUE)) == expected
    assert numbers(surfaces(tensors[0], prediction[::-1][::-1], 1, OBLIQUE)) == expected
    one, absent = surfaces_of_labels(*tensors, [1, 257], OBLIQUE)  # 257 is 1 in a byte
    assert (one.present, absent.present, absent.predicted) == (True, False, False)


def test_real_organs_agree_with_monai(shared_data) -> None:
    """Organs of a CT against those of the same map moved and eaten into, on its own affine."""
    image = nib.load(shared_data / "totalsegmentator_ct" / "example_seg.nii.gz")
    truth = np.asarray(image.dataobj).astype(np.uint8)
    prediction = np.roll(truth, (1, -2, 1), axis=(0, 1, 2))
    prediction[gaussian_filter(np.random.default_rng(0).normal(size=truth.shape), 3) > 0.06] = 0
    sizes = np.bincount(truth.ravel(), minlength=256)
    labels = [int(label) for label in np.argsort(-sizes[1:])[[1, 5, 20]] + 1]
    spacing = np.sqrt((image.affine[:3, :3] ** 2).sum(0))
    for label, found in zip(labels, surfaces_of_labels(truth, prediction, labels, image.affine), strict=True):
        hot = [torch.from_numpy(mask == label)[None, None] for mask in (prediction, truth)]
        options = {"include_background": True, "spacing": tuple(spacing)}
        theirs = compute_hausdorff_distance(*hot, percentile=95, **options)
        assert surface.hd95(found) == pytest.approx(float(theirs), rel=1e-5)
        assert surface.nsd(found, 3.1) == pytest.approx(
            float(compute_surface_dice(*hot, class_thresholds=[3.1], **options)), abs=1e-6
        )


@given(small, st.sampled_from([(False,) * 3, (False, True, False)]))
@settings(max_examples=40, deadline=None)
def test_the_surface_of_arrays_and_tensors(mask: np.ndarray, flat: tuple[bool, ...]) -> None:
    found = surface.surface(mask, flat)
    assert list(map(tuple, np.argwhere(found).tolist())) == slow_surface(mask, tuple(np.flatnonzero(flat)))
    np.testing.assert_array_equal(surface.surface(torch.from_numpy(mask), flat).numpy(), found)
    assert (surface._box(torch.from_numpy(mask)) is None) == (not mask.any())


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_percentiles_agree_with_numpy(values: list[float], q: float) -> None:
    expected = np.percentile(values, 100 * q)
    assert surface._percentile(torch.tensor(values, dtype=torch.float64), q) == pytest.approx(expected, abs=1e-9)


def test_what_is_no_pair_of_label_maps_is_refused() -> None:
    truth = np.zeros((4, 4, 4), np.uint8)
    for other, said in ((truth[1:], "differ in shape"), (truth.astype(float), "no label map")):
        with pytest.raises(PredictionError, match=said):
            surfaces(truth, other, 1, SPACING)
    with pytest.raises(PredictionError, match="expected \\(i, j, k\\)"):
        surfaces(truth[0, 0], truth[0, 0], 1, SPACING)
    for label in (0, 2**16):
        with pytest.raises(ValueError, match="0 is the background"):
            surfaces(truth, truth, label, SPACING)
    for tolerance in (-1.0, math.nan, math.inf):
        with pytest.raises(MedvfmError, match="is no distance"):
            surface.nsd(surfaces(truth, truth, 1, SPACING), tolerance)


@pytest.mark.gpu
@needs_gpu
def test_the_accelerator_gives_the_same() -> None:
    truth, prediction = blobs()
    expected = numbers(surfaces(truth, prediction, 1, OBLIQUE))
    for t, p in ((truth, torch.from_numpy(prediction).cuda()), map(torch.from_numpy, (truth, prediction))):
        found = surfaces(torch.as_tensor(t).cuda(), torch.as_tensor(p).cuda(), 1, OBLIQUE)
        assert found.from_truth_mm.is_cuda
        assert numbers(found) == pytest.approx(expected, abs=1e-9)
    (missed,) = surfaces_of_labels(torch.ones(2, 2, 2).long().cuda(), torch.zeros(2, 2, 2).long(), [1], OBLIQUE)
    assert surface.hd95(missed) == missed.diagonal_mm
