"""Segmentations on the grid of their image: the voxels that highdicom has; contours as matplotlib has polygons."""

from __future__ import annotations

import highdicom
import matplotlib.path
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes

from medvfm.core.errors import UnreadableImage
from medvfm.core.image import Image
from medvfm.io.dicom import read as dicom
from medvfm.io.dicom.rtstruct import read_structures, structure_masks, structure_names
from medvfm.io.dicom.seg import read_segmentation
from tests.io.dicom_samples import AXIAL, rtstruct, save, to_mm, write_series
from tests.io.test_dicom_series import oblique


def same_voxels(image: Image, array: np.ndarray, affine_lps: np.ndarray) -> None:
    """Every voxel that highdicom labels has that label at the same millimetre, and there are no others."""
    vox = np.argwhere(array > 0)
    points = np.c_[vox, np.ones(len(vox))] @ affine_lps.T * [-1, -1, 1, 1]
    at = points @ np.linalg.inv(image.affine).T
    ours = np.rint(at).astype(int)[:, :3]
    assert np.abs(at[:, :3] - ours).max() < 1e-2
    np.testing.assert_array_equal(image.voxels[tuple(ours.T)], array[tuple(vox.T)])
    assert np.count_nonzero(image.voxels) == len(vox)


@pytest.mark.parametrize(
    "name",
    ["dcmqi/liver.dcm", "dcmqi/partial_overlaps.dcm", "seg_image_ct_binary.dcm", "seg_image_ct_binary_overlap.dcm",
     "seg_image_ct_binary_single_frame.dcm"],
)  # fmt: skip
def test_real_segmentations_are_those_of_highdicom(shared_data, name):
    path = shared_data / "dicom_seg" / name
    theirs = highdicom.seg.segread(path)
    for number in theirs.segment_numbers:
        volume = theirs.get_volume(segment_numbers=[number], combine_segments=True)
        image = read_segmentation(path, segments=[int(number)])
        assert image.unit == "label"
        same_voxels(image, volume.array, volume.affine)
        assert image.header["segments"][int(number)] == theirs.get_segment_description(number).segment_label


def test_overlapping_segments_are_refused_and_can_be_chosen(shared_data):
    path = shared_data / "dicom_seg" / "dcmqi" / "partial_overlaps.dcm"
    with pytest.raises(UnreadableImage, match=r"segments overlap: 1 \(GREEN\) and 2 \(ORANGE\); choose"):
        read_segmentation(path)
    by_name, by_number = read_segmentation(path, segments=["PURPLE"]), read_segmentation(path, segments=[3])
    np.testing.assert_array_equal(by_name.voxels, by_number.voxels)
    with pytest.raises(UnreadableImage, match=r"no segment 'RED'; it holds 1 \(GREEN\), 2 \(ORANGE\)"):
        read_segmentation(path, segments=["RED"])


def test_on_the_grid_of_the_image(shared_data):
    folder = shared_data / "dicom_seg"
    image = dicom.read_series(folder / "ct_3slice")
    path = folder / "dcmqi" / "liver.dcm"
    label = read_segmentation(path, image)
    np.testing.assert_array_equal(label.affine, image.affine)
    assert label.shape_vox == image.shape_vox
    own = read_segmentation(path)
    assert np.count_nonzero(label.voxels) == np.count_nonzero(own.voxels) == 107098
    volume = highdicom.seg.segread(path).get_volume(combine_segments=True)
    same_voxels(label, volume.array, volume.affine)
    part = Image(image.voxels[:, :, :2], image.affine, "HU", header=image.header)
    with pytest.raises(UnreadableImage, match="reaches beyond the image"):
        read_segmentation(path, part)
    shifted = image.affine.copy()
    shifted[0, 3] += 0.4
    with pytest.raises(UnreadableImage, match="does not lie on the voxels of the image"):
        read_segmentation(path, Image(image.voxels, shifted, "HU"))
    other = Image(image.voxels, image.affine, "HU", header={"uids": {"frame_of_reference": "9.9"}})
    with pytest.raises(UnreadableImage, match="another frame of reference"):
        read_segmentation(path, other)


@pytest.mark.parametrize("turn", [(0, 1, 2), (1, 0, 2), (2, 0, 1), (2, 1, 0)])
@pytest.mark.parametrize("flip", [(), (0,), (1, 2), (0, 1, 2)])
def test_an_image_in_another_axis_order_gets_the_same_label_at_each_place(shared_data, turn, flip):
    folder = shared_data / "dicom_seg"
    path = folder / "seg_image_ct_binary.dcm"
    own = read_segmentation(path)
    view2vox = np.zeros((4, 4))
    view2vox[3, 3] = 1
    shape = [own.shape_vox[axis] for axis in turn]
    for new, old in enumerate(turn):
        view2vox[old, new] = -1 if new in flip else 1
        view2vox[old, 3] = shape[new] - 1 if new in flip else 0
    image = Image(np.zeros(shape, np.int16), own.affine @ view2vox, "HU")
    label = read_segmentation(path, image)
    expected = np.flip(own.voxels.transpose(turn), flip)
    np.testing.assert_array_equal(label.voxels, expected)


def test_fractions_are_cut_and_told(shared_data):
    path = shared_data / "dicom_seg" / "seg_image_ct_true_fractional.dcm"
    ds = pydicom.dcmread(path)
    for threshold in (0.2, 0.5, 0.9):
        image = read_segmentation(path, threshold=threshold)
        assert image.repairs == (f"fractional segmentation (probability) cut at {threshold:g}",)
        assert image.voxels.sum() == (ds.pixel_array >= threshold * ds.MaximumFractionalValue).sum()
    assert read_segmentation(shared_data / "dicom_seg" / "seg_image_ct_binary_fractional.dcm").repairs == ()


@pytest.mark.parametrize(
    "name",
    ["seg_image_sm_control.dcm", "seg_image_sm_control_labelmap.dcm", "seg_image_sm_dots.dcm",
     "seg_image_sm_dots_tiled_full.dcm", "seg_image_sm_numbers.dcm", "seg_image_sm_control_labelmap_palette_color.dcm"],
)  # fmt: skip
def test_segmentations_of_whole_slides(shared_data, name):
    path = shared_data / "dicom_seg" / name
    theirs = highdicom.seg.segread(path).get_total_pixel_matrix(combine_segments=True)
    np.testing.assert_array_equal(read_segmentation(path).voxels[:, :, 0].T, theirs)


def test_a_file_that_is_no_segmentation(shared_data):
    with pytest.raises(UnreadableImage, match="no DICOM segmentation"):
        read_segmentation(shared_data / "dicom_seg" / "ct_image.dcm")


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_segments_that_are_not_described_are_not_lost_in_silence(tmp_path, kind):
    source = [pydicom.dcmread(p) for p in write_series(tmp_path / "ct", count=2, shape=(16, 8)).iterdir()]
    for ds in source:
        ds.StudyDate = ds.StudyTime = ds.PatientBirthDate = ds.PatientSex = ds.StudyID = ds.AccessionNumber = ""
        ds.ReferringPhysicianName = ""
    labels = np.zeros((2, 16, 8), np.uint8)
    labels[:, 2:5, 1:3], labels[1, 9, 6] = 1, 2
    described = [
        highdicom.seg.SegmentDescription(n, f"s{n}", codes.SCT.Tissue, codes.SCT.Bone, "MANUAL") for n in (1, 2)
    ]
    segmentation = highdicom.seg.Segmentation(
        source, labels, kind, described, "1.2.7", 1, highdicom.UID(), 1, "maker", "model", "1", "1"
    )
    assert read_segmentation(save(segmentation, tmp_path / "whole")).voxels.sum() == labels.sum()
    segmentation.SegmentSequence = [s for s in segmentation.SegmentSequence if s.SegmentNumber != 2]
    with pytest.raises(UnreadableImage, match="segments that it does not describe: 2"):
        read_segmentation(save(segmentation, tmp_path / "part"))


# RTSTRUCT


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
