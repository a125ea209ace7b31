"""Enhanced multi-frame files, dose grids, tomographic NM, cine, whole slides."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from medvfm.core.errors import UnreadableImage
from medvfm.io.dicom import read
from tests.samples.dicom import AXIAL, dataset, enhanced, item, noise, pydicom_folder, same_places, save


@pytest.mark.parametrize("orientation", [AXIAL, (0, 1, 0, 0, 0, -1), (0.8, 0.6, 0, 0, 0, -1)])
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"])
def test_frames_are_sorted_by_position(tmp_path, orientation, syntax):
    places = [3, 0, 4, 1, 2]
    ds = enhanced(places, orientation=orientation)
    if syntax != ds.file_meta.TransferSyntaxUID:
        ds.file_meta.TransferSyntaxUID = syntax
        ds.save_as(tmp_path / "e.dcm", implicit_vr=True, little_endian=True)
    image = read.read_file(save(ds, tmp_path / "e.dcm") if syntax.endswith(".1") else tmp_path / "e.dcm")
    assert image.spacing_mm == pytest.approx((0.9, 0.7, 3.0))  # measured: both headers say 4
    for frame, place in enumerate(places):
        np.testing.assert_array_equal(image.voxels[:, :, place].T, ds.pixel_array[frame])
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    far = np.array([-10, -20, 30]) + 10 * 0.9 * row + 8 * 0.7 * column + 4 * 3.0 * np.cross(row, column)
    np.testing.assert_allclose((image.affine @ [10, 8, 4, 1])[:3], far * [-1, -1, 1], atol=1e-5)


def test_frames_in_order_equal_simpleitk(tmp_path):
    path = save(enhanced(range(5)), tmp_path / "e.dcm")
    same_places(read.read_file(path), sitk.ReadImage(str(path)))


def test_the_real_enhanced_ct(tmp_path):
    path = pytest.importorskip("data_store").__path__[0] + "/data/eCT_Supplemental.dcm"
    image = read.read_file(path)
    ds = pydicom.dcmread(path)
    assert (image.unit, image.repairs) == ("HU", ())
    for frame, groups in enumerate(ds.PerFrameFunctionalGroupsSequence):
        position = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float) * [-1, -1, 1]
        k = next(k for k in range(2) if np.allclose((image.affine @ [0, 0, k, 1])[:3], position))
        np.testing.assert_array_equal(image.voxels[:, :, k].T, ds.pixel_array[frame].astype(int) - 1024)


def test_each_frame_has_its_own_rescale(tmp_path):
    places, scales = [2, 0, 1], [(1.5, 0), (0.25, 10), (2, -3)]
    ds = enhanced(places, scales=scales)
    image = read.read_file(save(ds, tmp_path / "e.dcm"))
    for frame, place in enumerate(places):
        slope, intercept = scales[frame]
        np.testing.assert_allclose(
            image.voxels[:, :, place].T, ds.pixel_array[frame].astype(float) * slope + intercept, rtol=1e-6
        )


def test_phases_are_volumes(tmp_path):
    phases = [{"TemporalPositionIndex": t} for t in (1, 2) for _ in range(4)]
    ds = enhanced([0, 1, 2, 3, 0, 1, 2, 3], per_frame=phases)
    path = save(ds, tmp_path / "e.dcm")
    with pytest.raises(UnreadableImage, match=r"2 volumes; say which with volume= .*: 1 \(temporal position 1\); 2 \("):
        read.read_file(path)
    image = read.read_file(path, volume=2)
    np.testing.assert_array_equal(image.voxels.transpose(2, 1, 0), ds.pixel_array[4:])
    volumes = read.list_volumes(tmp_path)
    assert [(v.label, v.shape_vox) for v in volumes] == [
        ("temporal position 1", (11, 9, 4)),
        ("temporal position 2", (11, 9, 4)),
    ]
    again = read.read_series(tmp_path, volume="temporal position 2")
    np.testing.assert_array_equal(again.voxels, image.voxels)


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ([0, 1, 3, 4], "1 slices are missing: the first behind slice 2 of 4"),
        ([0, 1, 1, 2], "1 slices have the same position as another one"),
        ([5, 5, 5], "all 3 slices lie at one position"),
    ],
)
def test_frames_that_are_no_grid(tmp_path, places, said):
    with pytest.raises(UnreadableImage, match=said):
        read.read_file(save(enhanced(places), tmp_path / "e.dcm"))


def test_a_part_of_a_concatenation_is_not_taken_for_the_whole(tmp_path):
    ds = enhanced(range(3))
    ds.SOPInstanceUIDOfConcatenationSource = "1.2.3.9"
    with pytest.raises(UnreadableImage, match="one part of an object that is spread over several files"):
        read.read_file(save(ds, tmp_path / "e.dcm"))


def test_frames_without_spacing_or_place_or_description(tmp_path):
    with pytest.raises(UnreadableImage, match="no pixel spacing"):
        read.read_file(save(enhanced(range(3), measures=False), tmp_path / "e.dcm"))
    ds = enhanced(range(3))
    del ds.PerFrameFunctionalGroupsSequence[1]
    with pytest.raises(UnreadableImage, match="3 frames, and 2 descriptions"):
        read.read_file(save(ds, tmp_path / "e.dcm"))
    del ds.PerFrameFunctionalGroupsSequence
    with pytest.raises(UnreadableImage, match="3 of 3 slices state no position or orientation"):
        read.read_file(save(ds, tmp_path / "e.dcm"))


@pytest.mark.parametrize("name", ["rtdose.dcm", "rtdose_expb.dcm", "rtdose_rle.dcm"])
def test_a_dose_grid_lies_where_simpleitk_has_it(name):
    path = pydicom_folder() / "test_files" / name
    image, other = read.read_file(path), sitk.ReadImage(str(path))
    np.testing.assert_allclose(
        [image.affine[0, 3], image.affine[1, 3], image.affine[2, 3]], np.array(other.GetOrigin()) * [-1, -1, 1]
    )
    assert image.spacing_mm == pytest.approx((10, 10, 5))


def test_dose_offsets_that_are_coordinates_or_run_down(tmp_path):
    ds = pydicom.dcmread(pydicom_folder() / "test_files" / "rtdose.dcm")
    z = float(ds.ImagePositionPatient[2])
    plain = read.read_file(save(ds, tmp_path / "a.dcm"))
    ds.GridFrameOffsetVector = [z + 5.0 * n for n in range(15)]
    other = read.read_file(save(ds, tmp_path / "b.dcm"))
    np.testing.assert_array_equal(plain.affine, other.affine)
    ds.GridFrameOffsetVector = [-5.0 * n for n in range(15)]
    down = read.read_file(save(ds, tmp_path / "c.dcm"))
    np.testing.assert_array_equal(down.voxels, plain.voxels[:, :, ::-1])
    assert down.affine[2, 3] == pytest.approx(z - 70)
    ds.GridFrameOffsetVector = [0, 5, 12, *range(15, 75, 5)]
    with pytest.raises(UnreadableImage, match="unevenly spaced"):
        read.read_file(save(ds, tmp_path / "d.dcm"))
    del ds.GridFrameOffsetVector
    with pytest.raises(UnreadableImage, match="without an offset for each"):
        read.read_file(save(ds, tmp_path / "e.dcm"))


def test_reconstructed_nm_tomography(tmp_path):
    drop = ["ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept"]
    ds = dataset(noise((4, 9, 11), dtype=np.uint16), Modality="NM", drop=drop)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]
    ds.DetectorInformationSequence = item(ImagePositionPatient=[1.0, 2, 3], ImageOrientationPatient=list(AXIAL))
    ds.SpacingBetweenSlices, ds.SliceVector = 4.4, [1, 2, 3, 4]
    image = read.read_file(save(ds, tmp_path / "n.dcm"))
    assert image.spacing_mm == pytest.approx((0.9, 0.7, 4.4))
    np.testing.assert_allclose((image.affine @ [0, 0, 3, 1])[:3], [-1, -2, 3 + 3 * 4.4])
    ds.ImageType = ["ORIGINAL", "PRIMARY", "STATIC", "EMISSION"]
    image = read.read_file(save(ds, tmp_path / "n.dcm"))
    assert (image.shape_vox, image.spacing_mm) == ((11, 9, 4), None)


def test_moments_have_no_millimetres_along_the_third_axis():
    image = read.read_file(pydicom_folder() / "test_files" / "examples_ybr_color.dcm")
    assert (image.shape_vox, image.spacing_mm, image.unit) == ((320, 240, 30), None, "RGB")
    assert image.header["frames"] == "moments or views without a stated distance"


def test_a_whole_slide_is_put_together_as_highdicom_does(shared_data):
    import highdicom

    folder = shared_data / "dicom_seg"
    for name in ("sm_image.dcm", "sm_image_dots.dcm", "sm_image_jpegls.dcm", "sm_image_numbers.dcm"):
        image = read.read_file(folder / name)
        theirs = highdicom.imread(folder / name).get_total_pixel_matrix(apply_icc_profile=False)
        np.testing.assert_array_equal(image.voxels[:, :, 0].swapaxes(0, 1), theirs, err_msg=name)
        assert image.spacing_mm is not None


def test_tiles_that_are_missing_are_told(tmp_path, shared_data):
    ds = pydicom.dcmread(shared_data / "dicom_seg" / "sm_image_dots.dcm")
    whole = read.read_file(shared_data / "dicom_seg" / "sm_image_dots.dcm")
    if ds.get("DimensionOrganizationType") == "TILED_FULL":
        ds.NumberOfFrames = 24
        with pytest.raises(UnreadableImage, match=r"24 tiles|bytes of pixels"):
            read.read_file(save(ds, tmp_path / "s.dcm"))
        return
    del ds.PerFrameFunctionalGroupsSequence[0]
    ds.PixelData, ds.NumberOfFrames = ds.PixelData[300:], 24
    image = read.read_file(save(ds, tmp_path / "s.dcm"))
    assert image.repairs == ("1 of 25 tiles are not in the file, and were filled with 255",)
    assert (image.voxels[:10, :10] == 255).all()
    np.testing.assert_array_equal(image.voxels[10:], whole.voxels[10:])


def test_frames_of_which_one_states_no_rescale(tmp_path):
    ds = enhanced([0, 1, 2], scales=[(0.5, 3), (2, 0), (2, 0)])
    del ds.PerFrameFunctionalGroupsSequence[1].PixelValueTransformationSequence
    with pytest.raises(UnreadableImage, match="some of its frames state a rescale, and some none"):
        read.read_file(save(ds, tmp_path / "e.dcm"))
