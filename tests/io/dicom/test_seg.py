"""DICOM segmentations on the grid of their image: the voxels that highdicom has."""

from __future__ import annotations

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes

from medvfm.core.errors import UnreadableImage
from medvfm.core.image import Image
from medvfm.io.dicom import read as dicom
from medvfm.io.dicom.seg import read_segmentation
from tests.samples.dicom import save, write_series


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
    with pytest.raises(UnreadableImage, match=r"segments overlap: 1 \(GREEN\) and 2 \(ORANGE\); save segments"):
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
