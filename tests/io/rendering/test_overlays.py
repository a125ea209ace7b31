"""Outlines are as long as their regions' borders and enclose their areas; planes lie as a radiologist sees them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image as pillow
from scipy import ndimage

from medvfm.core import geometry
from medvfm.core.image import Image
from medvfm.io.read import read_image
from medvfm.io.rendering import contours, overlays, palette
from medvfm.io.rendering.overlays import PREDICTION, TRUTH


def signed_area(line: np.ndarray) -> float:
    """The shoelace formula; positive clockwise on the screen, negative around holes."""
    (x, y), (u, v) = line[:-1].T, line[1:].T
    return float((x * v - u * y).sum() / 2)


def border_length(labels: np.ndarray) -> int:
    """Pairs of neighbours, and of pixels with the outside, whose labels differ."""
    padded = np.pad(labels.astype(int), 1)
    return int((np.diff(padded, axis=0) != 0).sum() + (np.diff(padded, axis=1) != 0).sum())


@pytest.mark.parametrize("seed", range(6))
def test_lines_enclose_the_regions_and_their_holes(seed):
    r = np.random.default_rng(seed)
    mask = r.random(r.integers(1, 14, 2)) < r.uniform(0.2, 0.8)
    lines = contours.outlines(mask)
    assert all((line[0] == line[-1]).all() for line in lines)
    assert all(np.abs(np.diff(line, axis=0)).sum(axis=1).tolist() == [1] * (len(line) - 1) for line in lines)
    assert sum(map(signed_area, lines)) == mask.sum()
    assert sum(len(line) - 1 for line in lines) == border_length(mask)
    around = ndimage.label(mask)[1]
    holes = ndimage.label(~np.pad(mask, 1), np.ones((3, 3)))[1] - 1
    assert (sum(signed_area(line) > 0 for line in lines), sum(signed_area(line) < 0 for line in lines)) == (
        around, holes,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(10))
def test_a_border_between_two_labels_is_drawn_once(seed):
    labels = ndimage.zoom(np.random.default_rng(seed).integers(0, 4, (5, 6)), 3, order=0)
    one_colour = list(overlays.Layer(labels, TRUTH).lines())
    steps = [
        tuple(sorted(map(tuple, s))) for line, _ in one_colour for s in np.stack([line[:-1], line[1:]], 1).tolist()
    ]
    assert len(steps) == len(set(steps)) == border_length(labels)
    both = list(overlays.Layer(labels).lines())  # in colours of their own each label has its whole outline
    assert sum(len(line) - 1 for line, _ in both) == sum(border_length(labels == v) for v in (1, 2, 3))
    assert {colour for _, colour in both} == {palette.label_colour(v) for v in (1, 2, 3)}


def test_dashes_share_the_line_out_evenly():
    line = np.array([[0, 0], [30, 0], [30, 17], [0, 17], [0, 0]], float)
    parts = list(contours.dashes(line, 7, 5))
    lengths = [np.linalg.norm(np.diff(part, axis=0), axis=1).sum() for part in parts]
    assert len(parts) == 8 and lengths == pytest.approx([94 / 8 * 7 / 12] * 8)
    np.testing.assert_allclose(parts[2], [[23.5, 0], [30, 0], [30, 94 / 8 * 31 / 12 - 30]])
    assert len(list(contours.dashes(line[:2] / 100, 7, 5))) == 1


def near(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.abs(pixels.astype(int) - colour).max(axis=-1) < 40


def test_truth_is_solid_and_the_prediction_dashed():
    labels = np.zeros((10, 12), np.uint8)
    labels[2:8, 3:9] = 1
    grey = np.full((10, 12), 0.5)
    truth = overlays.compared(grey, labels, None)
    assert truth.shape == (400, 480, 3) and truth.dtype == np.uint8
    edge = truth[80, 130:350]  # along the upper edge of row 2
    assert near(edge, TRUTH).all()
    dashed = overlays.overlay(grey, labels, PREDICTION, dashed=True)[80, 130:350]
    assert 0.4 < near(dashed, PREDICTION).mean() < 0.75
    assert 8 < np.diff(near(dashed, PREDICTION).astype(int)).clip(0).sum() < 30  # gaps, which show without colour
    both = overlays.compared(grey, labels, labels)[80, 130:350]
    assert near(both, PREDICTION).any() and near(both, TRUTH).any()
    assert (truth[200, 130:350] == 128).all() and (truth[:60] == 128).all()  # inside and far outside nothing is drawn


def test_labels_that_overlap_and_large_pictures():
    layers = np.zeros((700, 900, 2), bool)
    layers[100:300, 100:300, 0] = layers[200:400, 200:400, 1] = True
    colour = np.random.default_rng(0).random((700, 900, 3))
    drawn = overlays.overlay(colour, layers)
    assert drawn.shape == (700, 900, 3)
    assert near(drawn[100, 110:290], palette.label_colour(1)).all()
    assert near(drawn[210:290, 200], palette.label_colour(2)).all()
    np.testing.assert_array_equal(drawn[500:, 500:], (colour[500:, 500:] * 255).round())


def test_pixels_become_square():
    assert overlays.enlarged((100, 100)) == (480, 480)
    assert overlays.enlarged((100, 50), (0.5, 2.0)) == (240, 480)
    assert overlays.enlarged((1000, 600)) == (1000, 600)
    assert overlays.enlarged((1000, 600), (1.0, 2.0)) == (833, 1000)


def head() -> tuple[Image, np.ndarray]:
    """A bright mark on the patient's left, in front and at the top; and structures about the middle."""
    voxels = np.full((40, 50, 30), 20, np.int16)
    voxels[36:39, 45:49, 26:29] = 200
    labels = np.zeros(voxels.shape, np.uint8)
    labels[10:32, 12:42, 8:24] = 1
    labels[18:22, 20:24, 4:6] = 2
    return Image(voxels, np.diag([-1.0, 1.0, 2.0, 1.0])), labels  # i runs to the patient's left


def test_planes_lie_as_a_radiologist_sees_them():
    """The patient's left is at the right edge, anterior up in axial pictures and at the left edge of sagittal ones."""
    image, labels = head()
    sheet = overlays.three_planes(image, labels, None, centre=(37, 46, 27), intensity=(0, 200))
    height = sheet.shape[0] - 24
    scale = 340 / 60  # the head is 60 mm tall, its longest side
    widths = [round(side * scale) for side in (40, 40, 50)]
    assert sheet.shape[1] == sum(widths) + 2 * 6
    starts = [0, widths[0] + 6, widths[0] + widths[1] + 12]
    for plane, start, width, (down, right) in zip(
        ("axial", "coronal", "sagittal"), starts, widths,
        [((50 - 47) * scale, 37.5 * scale), ((30 - 27.5) * 2 * scale, 37.5 * scale), (5 * scale, (50 - 47) * scale)],
        strict=True,
    ):  # fmt: skip
        panel = sheet[:height, start : start + width].astype(int)
        tall = {"axial": 50, "coronal": 60, "sagittal": 60}[plane] * scale
        at = (height - tall) / 2 + down
        assert panel[round(at), round(right)].min() > 230, plane
        flipped = panel[round(height - at), round(width - right)]
        assert flipped.max() < 60, plane


@pytest.mark.parametrize("axes", ["LPS", "RAI", "PIR", "SAL", "IRP"])
def test_how_a_volume_is_stored_changes_no_pixel(axes):
    image, labels = head()
    voxels, affine = geometry.reoriented(image.voxels, image.affine, axes)
    other = Image(voxels.copy(), affine)
    turned, _ = geometry.reoriented(labels, image.affine, axes)
    prediction = np.roll(labels, 1, axis=0)
    also, _ = geometry.reoriented(prediction, image.affine, axes)
    centre = (20, 25, 15)
    there = np.rint(np.linalg.inv(affine) @ image.affine @ [*centre, 1]).astype(int)[:3].tolist()
    np.testing.assert_array_equal(
        overlays.three_planes(other, turned, also, there), overlays.three_planes(image, labels, prediction, centre)
    )


def test_the_cut_goes_through_the_largest_structure():
    ring = np.zeros((20, 20, 3), np.uint8)
    ring[2:18, 2:18] = 2
    ring[6:14, 6:14] = 0
    ring[0, 0, 0] = 1
    i, j, k = overlays.centre_of(ring.shape, ring)
    assert ring[i, j, k] == 2 and k == 1
    offsets = np.argwhere(ring == 2) - np.argwhere(ring == 2).mean(axis=0)
    assert ((np.array([i, j, k]) - np.argwhere(ring == 2).mean(axis=0)) ** 2).sum() == pytest.approx(
        (offsets**2).sum(axis=1).min()
    )
    assert (
        overlays.centre_of((20, 21, 4), None) == overlays.centre_of((20, 21, 4), np.zeros((20, 21, 4))) == (10, 10, 2)
    )
    layers = np.stack([ring == 1, ring == 2], axis=-1)
    assert overlays.centre_of(ring.shape, layers) == (i, j, k)


def test_the_cut_goes_through_the_deepest_error():
    truth, predicted = np.zeros((40, 40, 20), np.uint8), np.zeros((40, 40, 20), np.uint8)
    truth[4:30, 4:30, 4:16] = predicted[4:30, 4:30, 4:15] = 1  # a thin layer of many voxels is missed
    truth[32:37, 32:37, 5:10] = 2  # a small lesion is missed altogether
    assert overlays.worst_place(truth, predicted) == (34, 34, 7)
    assert overlays.worst_place(truth, predicted, 1)[2] == 15
    assert overlays.worst_place(truth, truth) is None
    layers = np.stack([truth == 1, truth == 2], axis=-1), np.stack([predicted == 1, predicted == 2], axis=-1)
    assert overlays.worst_place(*layers, 2) == (34, 34, 7)
    flat = np.zeros((9, 9, 1), np.uint8)
    flat[2:7, 2:7] = 1
    assert overlays.worst_place(flat, np.zeros_like(flat)) == (4, 4, 0)


def test_legends_name_what_is_drawn():
    image, labels = head()
    names = {1: "liver", 2: "a structure with a very long name indeed", 3: "spleen"}
    alone = overlays.three_planes(image, None, labels, names=names)
    strip = alone[-24:]
    assert near(strip, palette.label_colour(1)).any() and near(strip, palette.label_colour(2)).any()
    assert not near(strip, palette.label_colour(3)).any()
    compared = overlays.three_planes(image, labels, labels)[-24:]
    assert near(compared, TRUTH).any() and near(compared, PREDICTION).any()
    several = overlays.three_planes(image, labels, labels, names=names, focus=1)  # a colour a structure, truth solid
    assert near(several[-24:], palette.label_colour(1)).any() and near(several[-24:], palette.label_colour(2)).any()
    assert near(several[:-24], palette.label_colour(1)).any() and not near(several, PREDICTION).any()
    nothing = overlays.three_planes(image, None, np.zeros_like(labels), names=names)
    assert not near(nothing, palette.label_colour(1)).any()


def test_pictures_have_one_cut():
    picture = Image(np.random.default_rng(0).integers(0, 255, (64, 48, 1, 3)).astype(np.uint8), np.eye(4), "RGB", False)
    labels = np.zeros((64, 48, 1), np.uint8)
    labels[10:20, 30:40] = 1
    sheet = overlays.three_planes(picture, labels, labels)
    assert sheet.shape == (360 + 24, 480, 3)
    assert near(sheet[round(30 * 7.5), round(11 * 7.5) : round(19 * 7.5)], TRUTH).any()  # columns i, rows j
    decoded = np.asarray(pillow.open(io.BytesIO(overlays.png(sheet))))
    np.testing.assert_array_equal(decoded, sheet)


def test_real_hippocampus_and_nuclei(shared_data):
    for name, kind in (("hippocampus", "nii.gz"), ("nuclei", "png")):
        for file in sorted((shared_data / name / "images").glob(f"*.{kind}"))[:2]:
            image = read_image(file)
            label = next((shared_data / name / "labels").glob(f"{file.name.removesuffix(kind)}*"))
            labels = read_image(label, label=True).voxels
            sheet = overlays.three_planes(image, labels, np.roll(labels, 1, axis=0))
            assert near(sheet, TRUTH).sum() > 200 and near(sheet, PREDICTION).sum() > 200
