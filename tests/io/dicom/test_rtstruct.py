"""RTSTRUCT contours on the grid of their image: the voxels that matplotlib's polygons hold."""

from __future__ import annotations

import matplotlib.path
import numpy as np
import pydicom
import pytest

from medvfm.core.errors import UnreadableImage
from medvfm.core.image import Image
from medvfm.io.dicom import read as dicom
from medvfm.io.dicom.rtstruct import read_structures, structure_masks, structure_names
from tests.samples.dicom import AXIAL, oblique, rtstruct, save, to_mm, write_series


def image_of(tmp_path, orientation=AXIAL) -> Image:
    return dicom.read_series(write_series(tmp_path / "ct", orientation=orientation, shape=(40, 50)))


def star(r: np.random.Generator, centre, radius, count=17) -> np.ndarray:
    angles = np.sort(r.uniform(0, 2 * np.pi, count))
    lengths = r.uniform(0.3, 1, count) * radius
    return np.array(centre) + np.c_[np.cos(angles), np.sin(angles)] * lengths[:, None]


@pytest.mark.parametrize("orientation", [AXIAL, (-1, 0, 0, 0, 1, 0), oblique(20, -15, 8), oblique(100, 30, -60)])
def test_contours_equal_matplotlibs_polygons(tmp_path, orientation):
    image = image_of(tmp_path, orientation)
    r = np.random.default_rng(0)
    polygons = {k: star(r, (25, 20), 18) for k in (0, 2, 3, 5)}
    path = rtstruct(tmp_path / "rt.dcm", {"GTV": [to_mm(image, p, k) for k, p in polygons.items()]})
    mask = structure_masks(path, image)["GTV"]
    centres = np.stack(np.meshgrid(np.arange(50), np.arange(40), indexing="ij"), axis=-1).reshape(-1, 2)
    for k in range(6):
        expected = np.zeros((50, 40), bool)
        if k in polygons:
            expected = matplotlib.path.Path(polygons[k], closed=False).contains_points(centres).reshape(50, 40)
        np.testing.assert_array_equal(mask[:, :, k], expected)


def test_a_contour_within_a_contour_is_a_hole_and_so_is_a_keyhole(tmp_path):
    image = image_of(tmp_path)
    outer = np.array([[5.2, 5.2], [35.2, 5.2], [35.2, 30.2], [5.2, 30.2]])
    inner = np.array([[10.3, 10.3], [20.3, 10.3], [20.3, 20.3], [10.3, 20.3]])
    keyhole = np.concatenate([outer, outer[:1], inner[[0, 3, 2, 1, 0]], outer[:1]])
    path = rtstruct(
        tmp_path / "rt.dcm",
        {"two": [to_mm(image, outer, 1), to_mm(image, inner, 1)], "key": [to_mm(image, keyhole, 1)]},
    )
    masks = structure_masks(path, image)
    np.testing.assert_array_equal(masks["two"], masks["key"])
    assert masks["two"].sum() == 30 * 25 - 10 * 10
    assert not masks["two"][15, 15, 1]


def test_area_is_right_and_edges_are_shared_out(tmp_path):
    """Two squares with a common edge through voxel centres: each centre belongs to one of them."""
    image = image_of(tmp_path)
    left = np.array([[5, 5], [15, 5], [15, 25], [5, 25]])
    right = left + np.array([10, 0])
    path = rtstruct(tmp_path / "rt.dcm", {"a": [to_mm(image, left, 0)], "b": [to_mm(image, right, 0)]})
    masks = structure_masks(path, image)
    assert masks["a"].sum() == masks["b"].sum() == 200
    assert not (masks["a"] & masks["b"]).any()
    label = read_structures(path, image)
    assert label.header["structures"] == {1: "a", 2: "b"}
    assert [(label.voxels == v).sum() for v in (1, 2)] == [200, 200]


def test_structures_that_overlap_are_refused_and_can_be_chosen(tmp_path):
    image = image_of(tmp_path)
    outer = np.array([[5.2, 5.2], [35.2, 5.2], [35.2, 30.2], [5.2, 30.2]])
    path = rtstruct(
        tmp_path / "rt.dcm", {"PTV": [to_mm(image, outer, 1)], "GTV": [to_mm(image, outer * 0.8 + 2, 1)], "none": []}
    )
    with pytest.raises(UnreadableImage, match="structures 'PTV' and 'GTV' overlap; choose with names="):
        read_structures(path, image)
    assert read_structures(path, image, names=["GTV"]).voxels.max() == 1
    assert structure_names(path) == ("PTV", "GTV", "none")
    with pytest.raises(UnreadableImage, match="no closed contours of 'none'; it has PTV, GTV"):
        read_structures(path, image, names=["none"])


def test_contours_that_do_not_lie_in_the_slices(tmp_path):
    image = image_of(tmp_path)
    square = np.array([[5.2, 5.2], [35.2, 5.2], [35.2, 30.2], [5.2, 30.2]])
    for k, said in ((1.5, "do not lie in the slices"), (7, "reach beyond the image")):
        path = rtstruct(tmp_path / "rt.dcm", {"a": [to_mm(image, square, k)]})
        with pytest.raises(UnreadableImage, match=said):
            structure_masks(path, image)
    upright = to_mm(image, square, 0)
    upright[2:, 2] += 10
    with pytest.raises(UnreadableImage, match="do not lie in the slices"):
        structure_masks(rtstruct(tmp_path / "rt.dcm", {"a": [upright]}), image)
    close = [to_mm(image, square, 0.8), to_mm(image, square, 1.2)]
    with pytest.raises(UnreadableImage, match="lie closer than the slices"):
        structure_masks(rtstruct(tmp_path / "rt.dcm", {"a": close}), image)
    with pytest.raises(UnreadableImage, match="no RTSTRUCT"):
        structure_masks(next((tmp_path / "ct").iterdir()), image)


def test_contours_in_another_frame_of_reference(tmp_path):
    image = image_of(tmp_path)
    path = rtstruct(tmp_path / "rt.dcm", {"GTV": [to_mm(image, np.array([[5, 5], [9, 5], [7, 12]]), 2)]})
    ds = pydicom.dcmread(path)
    for there, said in ((image.header["uids"]["frame_of_reference"], None), ("1.2.77", "another frame of reference")):
        ds.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = there
        save(ds, path)
        if said is None:
            assert structure_masks(path, image)["GTV"].any()
            continue
        for read in (structure_masks, read_structures):
            with pytest.raises(UnreadableImage, match=said):
                read(path, image)


def test_a_contour_over_the_edge_is_cut_and_one_beside_the_image_refused(tmp_path):
    image = image_of(tmp_path)
    square = np.array([[0, 0], [6, 0], [6, 6], [0, 6.0]]) + 0.25
    path = rtstruct(tmp_path / "over.dcm", {"s": [to_mm(image, square - 3, 2)]})
    assert structure_masks(path, image)["s"].sum() == 4 * 4
    for shift in ([60, 3], [3, 60], [-20, 3], [3, -20]):
        path = rtstruct(tmp_path / "beside.dcm", {"s": [to_mm(image, square + shift, 2)]})
        with pytest.raises(UnreadableImage, match="reach beyond the image"):
            structure_masks(path, image)


def test_open_contours_beside_closed_ones_are_told(tmp_path):
    image = image_of(tmp_path)
    square = np.array([[5, 5], [9, 5], [9, 9], [5, 9.0]])
    path = rtstruct(tmp_path / "s.dcm", {"s": [to_mm(image, square, k) for k in (1, 2)]})
    assert read_structures(path, image).repairs == ()
    ds = pydicom.dcmread(path)
    ds.ROIContourSequence[0].ContourSequence[1].ContourGeometricType = "OPEN_PLANAR"
    found = read_structures(save(ds, path), image)
    assert found.repairs == ("1 contour of 's' left out: not closed",)
    assert found.voxels[:, :, 1].any() and not found.voxels[:, :, 2].any()
