"""Series of slices: the same voxel at the same millimetre as SimpleITK, or refused with the reason."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from medvfm.core.errors import UnreadableImage
from medvfm.core.image import Image
from medvfm.io.dicom import read
from tests.samples.dicom import (
    AXIAL,
    LPS,
    dataset,
    noise,
    oblique,
    pydicom_folder,
    same_places,
    save,
    write_series,
)


def as_simpleitk(folder) -> sitk.Image:
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    return sitk.ReadImage(files)


@pytest.mark.parametrize(
    ("orientation", "letters"),
    [
        (AXIAL, "LPS"),
        ((-1, 0, 0, 0, -1, 0), "RAS"),  # prone
        ((0, 1, 0, -1, 0, 0), "PRS"),  # decubitus
        ((0, -1, 0, 1, 0, 0), "ALS"),
        ((-1, 0, 0, 0, 1, 0), "RPI"),  # feet first: the normal points to the feet
        ((0, 1, 0, 0, 0, -1), "PIR"),  # sagittal
        ((1, 0, 0, 0, 0, -1), "LIP"),  # coronal
        (oblique(20, -15, 8), "LPS"),
        (oblique(-5, 70, 40), None),
        (oblique(100, 30, -60), None),
    ],
)
def test_every_direction_lies_where_simpleitk_has_it(tmp_path, orientation, letters):
    write_series(tmp_path, orientation=orientation)
    image = read.read_series(tmp_path)
    assert image.shape_vox == (17, 12, 6)
    assert image.unit == "HU"
    assert image.voxels.dtype == np.int16
    np.testing.assert_allclose(image.spacing_mm, (0.9, 0.7, 2.5), atol=1e-5)
    assert letters in (None, image.orientation)
    same_places(image, as_simpleitk(tmp_path))


def test_slices_run_along_the_normal_whatever_numbers_and_names_say(tmp_path):
    write_series(tmp_path, count=5, step=(0, 0, -2.5), seed=3)
    image = read.read_series(tmp_path)
    heights = (image.affine @ [[0] * 5, [0] * 5, range(5), [1] * 5])[2]
    np.testing.assert_allclose(heights, [20, 22.5, 25, 27.5, 30])
    by_height = {float(d.ImagePositionPatient[2]): d for d in map(pydicom.dcmread, tmp_path.iterdir())}
    for k, z in enumerate(heights):
        np.testing.assert_array_equal(image.voxels[:, :, k].T, by_height[z].pixel_array.astype(int) - 1024)


def test_the_real_series_of_pydicom_and_of_the_shared_data(shared_data, tmp_path):
    folder = shared_data / "dicom_seg" / "ct_3slice"
    same_places(read.read_series(folder), as_simpleitk(folder))
    tiny = pydicom_folder() / "test_files" / "dicomdirtests" / "98892001" / "CT5N"
    image = read.read_series(tiny)
    assert image.voxels.shape == (16, 16, 5)
    same_places(image, as_simpleitk(tiny))


def test_gantry_tilt_shears_the_affine_and_is_flagged(tmp_path):
    tilt = np.radians(15)
    orientation = (1, 0, 0, 0, float(np.cos(tilt)), float(-np.sin(tilt)))
    write_series(tmp_path, orientation=orientation, step=(0, 0, 3.0))
    image = read.read_series(tmp_path)
    assert any("gantry tilt" in r and "15.0 degrees" in r for r in image.repairs)
    for file in tmp_path.iterdir():  # each slice lies where its own header says
        ds = pydicom.dcmread(file)
        match = [k for k in range(6) if np.array_equal(image.voxels[:, :, k].T, ds.pixel_array.astype(int) - 1024)]
        assert len(match) == 1
        corner = (LPS @ image.affine @ [0, 0, match[0], 1])[:3]
        np.testing.assert_allclose(corner, ds.ImagePositionPatient, atol=1e-5)
        far = (LPS @ image.affine @ [16, 11, match[0], 1])[:3]
        row, column = np.array(orientation[:3]), np.array(orientation[3:])
        np.testing.assert_allclose(far, corner + 16 * 0.9 * row + 11 * 0.7 * column, atol=1e-5)


def test_spacing_is_measured_and_not_believed(tmp_path):
    write_series(tmp_path, step=(0, 0, 1.25), SliceThickness=5, SpacingBetweenSlices=5)
    np.testing.assert_allclose(read.read_series(tmp_path).spacing_mm, (0.9, 0.7, 1.25))


def test_positions_with_the_jitter_of_rounding_are_read(tmp_path):
    write_series(tmp_path, count=40, step=(0, 0, 1 / 3))
    for file in tmp_path.iterdir():
        ds = pydicom.dcmread(file)
        ds.ImagePositionPatient = [round(float(v), 2) for v in ds.ImagePositionPatient]
        ds.save_as(file)
    assert read.read_series(tmp_path).spacing_mm[2] == pytest.approx(1 / 3, abs=1e-3)


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ([0, 1, 2, 4, 5, 6], "1 slices are missing: the first behind slice 3 of 6"),
        ([0, 1, 2, 3, 6, 7, 8, 9, 10, 11], "2 slices are missing: the first behind slice 4 of 10"),
        ([0, 2, 3, 5, 6, 7], "2 slices are missing"),
        ([0, 1, 2, 3, 4.4, 5], "unevenly spaced: 1.50 to 3.50 mm"),
        ([0, 0, 0, 0], "differ"),
    ],
)
def test_gaps_are_refused(tmp_path, places, said):
    write_series(tmp_path, count=len(places), places=places)
    with pytest.raises(UnreadableImage, match=said):
        read.read_series(tmp_path)


def test_shifted_slices_that_are_no_tilt_are_refused(tmp_path):
    write_series(tmp_path)
    file = sorted(tmp_path.iterdir())[2]
    ds = pydicom.dcmread(file)
    ds.ImagePositionPatient[0] += 4
    ds.save_as(file)
    with pytest.raises(UnreadableImage, match="shifted against each other"):
        read.read_series(tmp_path)


def test_the_same_slice_twice(tmp_path):
    write_series(tmp_path)
    file = sorted(tmp_path.iterdir())[2]
    ds = pydicom.dcmread(file)
    ds.save_as(tmp_path / "copy")
    image = read.read_series(tmp_path)
    assert image.shape_vox == (17, 12, 6)
    assert image.repairs == ("1 slices that occur twice, identical, were left out",)
    pixels = ds.pixel_array.copy()
    pixels[3, 4] += 1
    ds.PixelData = pixels.tobytes()
    ds.save_as(tmp_path / "copy")
    with pytest.raises(UnreadableImage, match="two slices that differ lie at one position"):
        read.read_series(tmp_path)


def test_one_slice_only_and_copies_of_it(tmp_path):
    write_series(tmp_path, count=1)
    assert read.read_series(tmp_path).shape_vox == (17, 12, 1)
    save(pydicom.dcmread(next(tmp_path.iterdir())), tmp_path / "copy")
    with pytest.raises(UnreadableImage, match="all of its slices lie at one position"):
        read.read_series(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"PixelSpacing": [0.7, 0.8]}, "several pixel spacings"),
        ({"drop": ["PixelSpacing"]}, "6, orientation 1.*1, without place or spacing"),
        ({"drop": ["ImagePositionPatient"]}, "6, orientation 1.*1, without place or spacing"),
        ({"drop": ["ImageOrientationPatient"]}, "6, orientation 1.*1, without place or spacing"),
        ({"RescaleSlope": 0}, "rescale slope is 0"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "several formats"),
    ],
)
def test_one_slice_that_does_not_fit_the_others(tmp_path, change, said):
    write_series(tmp_path)
    ds = dataset(noise((12, 17), 99), ImagePositionPatient=[-10.0, -20.0, 45.0], **change)
    save(ds, tmp_path / "odd")
    with pytest.raises(UnreadableImage, match=said):
        read.read_series(tmp_path)


def test_mixed_sizes_are_refused(tmp_path):
    write_series(tmp_path)
    save(dataset(noise((13, 17)), ImagePositionPatient=[-10.0, -20.0, 45.0]), tmp_path / "odd")
    with pytest.raises(UnreadableImage, match="several sizes: 17 x 12, 17 x 13"):
        read.read_series(tmp_path)


@pytest.mark.parametrize("drop", [["ImagePositionPatient"], ["ImageOrientationPatient"], ["PixelSpacing"]])
def test_no_affine_is_invented(tmp_path, drop):
    write_series(tmp_path, drop=drop)
    with pytest.raises(UnreadableImage, match=r"position or orientation|pixel spacing"):
        read.read_series(tmp_path)


def test_a_decimal_string_that_is_no_number(tmp_path):
    write_series(tmp_path)
    for file in tmp_path.iterdir():
        data = file.read_bytes()
        at = data.index(b"\x28\x00\x30\x00DS")
        length = data[at + 6]
        file.write_bytes(data[: at + 8] + b"0,7\\0,9 "[:length].ljust(length) + data[at + 8 + length :])
    with pytest.raises(UnreadableImage, match="pixel spacing"):
        read.read_series(tmp_path)
    assert read.read_file(file).spacing_mm is None  # one picture: its size is not known


def test_ct_without_rescale(tmp_path):
    write_series(tmp_path, drop=["RescaleSlope", "RescaleIntercept"])
    image = read.read_series(tmp_path)
    assert image.repairs == ("CT without rescale: taken as slope 1 and intercept 0",)
    assert image.voxels.min() >= 0


def test_rescale_of_each_slice_is_its_own(tmp_path):
    write_series(tmp_path, Modality="PT", Units="BQML")
    scale = {}
    for n, file in enumerate(sorted(tmp_path.iterdir())):
        ds = pydicom.dcmread(file)
        ds.RescaleSlope, ds.RescaleIntercept = 0.25 * (n + 1), 0
        ds.save_as(file)
        scale[round(float(ds.ImagePositionPatient[2]), 3)] = ds
    image = read.read_series(tmp_path)
    assert image.unit == "Bq/ml"
    assert image.voxels.dtype == np.float32
    for k in range(6):
        ds = scale[round(float((image.affine @ [0, 0, k, 1])[2]), 3)]
        np.testing.assert_allclose(image.voxels[:, :, k].T, ds.pixel_array * float(ds.RescaleSlope), rtol=1e-6)


def test_values_too_wide_for_16_bits_after_the_rescale(tmp_path):
    write_series(tmp_path, count=3)
    file = sorted(tmp_path.iterdir())[1]
    ds = pydicom.dcmread(file)
    pixels = ds.pixel_array.copy()
    pixels[0, 0] = -32000
    ds.PixelData = pixels.tobytes()
    ds.save_as(file)
    image = read.read_series(tmp_path)
    assert image.voxels.dtype == np.int32
    assert image.voxels.min() == -33024
    same_places(image, as_simpleitk(tmp_path))


def test_the_limit_holds_for_the_whole_series(tmp_path):
    write_series(tmp_path, shape=(64, 64))
    with pytest.raises(UnreadableImage, match="more than the limit of 4e-05 GiB; raise limit_gib"):
        read.read_series(tmp_path, limit_gib=4e-5)  # one slice is 8 KiB, six are 49


def test_several_series_name_the_choices(tmp_path):
    write_series(tmp_path / "a", SeriesInstanceUID="1.9.1")
    write_series(tmp_path / "b", SeriesInstanceUID="1.9.2", count=4)
    with pytest.raises(UnreadableImage, match=r"1\.9\.1 \(CT, 17 x 12 x 6\); series 1\.9\.2 \(CT, 17 x 12 x 4\)") as e:
        read.read_series(tmp_path)
    assert "Hasenbein" not in str(e.value)
    assert "550123" not in str(e.value)
    assert read.read_series(tmp_path, series_uid="1.9.2").shape_vox == (17, 12, 4)
    with pytest.raises(UnreadableImage, match=r"no images of series 7; it holds series 1\.9\.1"):
        read.read_series(tmp_path, series_uid="7")


def test_other_files_are_passed_by_and_damaged_ones_are_not(tmp_path):
    write_series(tmp_path)
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "empty").write_bytes(b"")
    assert read.read_series(tmp_path).shape_vox == (17, 12, 6)
    whole = sorted(tmp_path.iterdir())[0].read_bytes()
    (tmp_path / "cut").write_bytes(whole[:400])
    with pytest.raises(UnreadableImage, match=r"1 of its DICOM files cannot be read; cut: the file ends early"):
        read.read_series(tmp_path)


def test_a_slice_whose_pixels_are_cut(tmp_path):
    write_series(tmp_path)
    file = sorted(tmp_path.iterdir())[3]
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(UnreadableImage, match="the file ends early"):
        read.read_series(tmp_path)


def test_a_folder_without_images(tmp_path):
    with pytest.raises(UnreadableImage, match="holds no DICOM image"):
        read.read_series(tmp_path)
    with pytest.raises(UnreadableImage, match="no such folder"):
        read.read_series(tmp_path / "absent")


def test_a_link_out_of_the_folder(tmp_path):
    write_series(tmp_path / "a")
    outside = save(dataset(noise((12, 17))), tmp_path / "outside")
    (tmp_path / "a" / "link").symlink_to(outside)
    with pytest.raises(UnreadableImage, match="a link that leads out of the folder"):
        read.read_series(tmp_path / "a")


def test_paths_as_they_come(tmp_path):
    write_series(tmp_path)
    files = list(tmp_path.iterdir())
    np.testing.assert_array_equal(read.read_series(files).voxels, read.read_series(tmp_path).voxels)


def test_compressed_slices_are_the_same_volume(tmp_path):
    write_series(tmp_path / "plain")
    for file in (tmp_path / "plain").iterdir():
        ds = pydicom.dcmread(file)
        ds.compress("1.2.840.10008.1.2.5", generate_instance_uid=False, encoding_plugin="pydicom")
        save(ds, tmp_path / "rle" / file.name)
    a, b = read.read_series(tmp_path / "plain"), read.read_series(tmp_path / "rle")
    np.testing.assert_array_equal(a.voxels, b.voxels)
    np.testing.assert_array_equal(a.affine, b.affine)
    assert (a.header["transfer_syntax"], b.header["transfer_syntax"]) == ("Explicit VR Little Endian", "RLE Lossless")


def test_radiographs_of_one_series_are_pictures(tmp_path):
    for n in range(3):
        save(dataset(noise((12, 17), n), Modality="DX"), tmp_path / f"{n}")
    with pytest.raises(UnreadableImage, match="3 volumes or pictures"):
        read.read_series(tmp_path)
    assert [v.label for v in read.list_volumes(tmp_path)] == ["picture 1", "picture 2", "picture 3"]
    assert read.read_series(tmp_path, volume="picture 2").shape_vox == (17, 12, 1)


def colour_slices(folder, pixels, **fields) -> Image:
    """Three equal slices in a volume, read."""
    for k in range(3):
        ds = dataset(pixels, Modality="MR", ImagePositionPatient=[0.0, 0.0, 3.0 * k], **fields)
        save(ds, folder / f"{k}")
    return read.read_series(folder)


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_colour_of_a_stack_is_that_of_its_slices(tmp_path, photometric, planar):
    rgb = np.random.default_rng(0).integers(60, 200, (4, 6, 3)).astype(np.uint8)
    stored = rgb if photometric == "RGB" else pydicom.pixels.convert_color_space(rgb, "RGB", "YBR_FULL")
    laid = stored.transpose(2, 0, 1).reshape(stored.shape) if planar else stored
    image = colour_slices(tmp_path, laid, PhotometricInterpretation=photometric, PlanarConfiguration=planar)
    assert image.unit == "RGB"
    assert np.abs(image.voxels[:, :, 1].transpose(1, 0, 2).astype(int) - rgb).max() <= (photometric != "RGB") * 2


def palette(seed: int) -> dict[str, object]:
    tables = np.random.default_rng(seed).integers(0, 256, (3, 300)).astype(np.uint8)
    fields: dict[str, object] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name, table in zip(("Red", "Green", "Blue"), tables, strict=True):
        fields[f"{name}PaletteColorLookupTableDescriptor"] = [300, 0, 8]
        fields[f"{name}PaletteColorLookupTableData"] = table.tobytes()
    return fields


def test_a_stack_with_a_palette_of_16_bit_indices(tmp_path):
    index = np.arange(256, 280, dtype=np.uint16).reshape(4, 6)
    image = colour_slices(tmp_path, index, **palette(0))
    tables = np.random.default_rng(0).integers(0, 256, (3, 300))
    np.testing.assert_array_equal(image.voxels[:, :, 2], tables[:, index].transpose(2, 1, 0))
    save(dataset(index, Modality="MR", ImagePositionPatient=[0.0, 0.0, 9.0], **palette(1)), tmp_path / "other")
    with pytest.raises(UnreadableImage, match="several lookup tables"):
        read.read_series(tmp_path)


def test_a_modality_table_that_not_all_slices_have(tmp_path):
    table = pydicom.Dataset()
    table.LUTDescriptor, table.LUTData = [4, 0, 16], np.array([5, 6, 7, 8], "<u2").tobytes()
    table["LUTDescriptor"].VR, table["LUTData"].VR = "US", "OW"
    pixels, drop = np.ones((4, 6), np.uint16), ["RescaleSlope", "RescaleIntercept"]
    for k in range(3):
        ds = dataset(pixels, Modality="MR", ImagePositionPatient=[0.0, 0.0, 3.0 * k], drop=drop)
        if k < 2:
            ds.ModalityLUTSequence = [table]
        save(ds, tmp_path / f"{k}")
    with pytest.raises(UnreadableImage, match="several lookup tables"):
        read.read_series(tmp_path)


@pytest.mark.parametrize("slope", [1, 2])
def test_stored_bits_that_differ_from_slice_to_slice(tmp_path, slope):
    for k, (bits, value) in enumerate([(12, 4000), (16, 60000)]):
        fields = {"BitsStored": bits, "HighBit": bits - 1, "RescaleSlope": slope}
        pixels = np.full((4, 6), value, np.uint16)
        save(dataset(pixels, ImagePositionPatient=[0.0, 0.0, 3.0 * k], **fields), tmp_path / f"{k}")
    image = read.read_series(tmp_path)
    assert image.voxels[0, 0].tolist() == [slope * 4000 - 1024, slope * 60000 - 1024]
    for path in tmp_path.iterdir():
        ds = pydicom.dcmread(path)
        ds.PhotometricInterpretation = "MONOCHROME1"
        save(ds, path)
    with pytest.raises(UnreadableImage, match="several ranges of stored bits"):
        read.read_series(tmp_path)


def test_a_localizer_that_lies_in_line_with_its_series_is_no_slice_of_it(tmp_path):
    write_series(tmp_path)
    kind = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    save(dataset(noise((12, 17), 9), ImagePositionPatient=[-10.0, -20.0, 45.0], ImageType=kind), tmp_path / "scout")
    with pytest.raises(UnreadableImage, match="several units"):
        read.read_series(tmp_path)


@pytest.mark.parametrize(
    "gaps",
    [
        [0.98] * 100 + [1.0] + [1.02] * 100,  # each near the usual one, and two slices off in the middle
        [2.46] * 30 + [2.5] + [2.54] * 30,
        [2.45, 2.55] * 4 + [2.55],
    ],
)
def test_gaps_that_differ_little_and_add_up(tmp_path, gaps):
    for k, z in enumerate(np.cumsum([0.0, *gaps])):
        save(dataset(noise((2, 3), k), ImagePositionPatient=[0.0, 0.0, round(float(z), 4)]), tmp_path / f"{k:03d}")
    with pytest.raises(UnreadableImage, match="unevenly spaced"):
        read.read_series(tmp_path)


def test_positions_that_jitter_a_little(tmp_path):
    for k in range(40):
        z = 2.5 * k + 0.01 * (-1) ** k
        save(dataset(noise((2, 3), k), ImagePositionPatient=[0.0, 0.0, z]), tmp_path / f"{k}")
    image = read.read_series(tmp_path)
    assert image.spacing_mm[2] == pytest.approx(2.5, abs=2e-3)


@pytest.mark.parametrize(("content", "said"), [(b"", "the file is empty"), (bytes(4000), "not a DICOM file")])
def test_a_slice_at_the_end_that_is_no_dicom_file_any_more(tmp_path, content, said):
    for k in range(4):
        save(dataset(noise((4, 6), k), ImagePositionPatient=[0.0, 0.0, 3.0 * k]), tmp_path / f"{k}.dcm")
    (tmp_path / "3.dcm").write_bytes(content)
    (tmp_path / "._2.dcm").write_bytes(b"litter of a file system")
    (tmp_path / "notes.txt").write_bytes(b"")
    with pytest.raises(UnreadableImage, match=f"1 of its DICOM files cannot be read; 3.dcm: {said}"):
        read.read_series(tmp_path)
    (tmp_path / "3.dcm").unlink()
    assert read.read_series(tmp_path).shape_vox == (6, 4, 3)
