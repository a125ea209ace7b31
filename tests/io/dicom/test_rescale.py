"""What stored pixels mean: rescale, lookup tables, MONOCHROME1, palettes, windows, padding, spacing of pictures."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut, apply_windowing
from pydicom.sequence import Sequence

from medvfm.core.errors import UnreadableImage
from medvfm.core.image import Image
from medvfm.io.dicom import read as dicom
from medvfm.io.dicom import rescale
from tests.samples.dicom import dataset, noise, pydicom_folder, save

INVERTED = "MONOCHROME1: values inverted, so that larger is brighter"


def read(tmp_path, ds) -> Image:
    return dicom.read_file(save(ds, tmp_path / "x.dcm"))


def picture(image: Image) -> np.ndarray:
    return np.asarray(image.voxels[:, :, 0]).swapaxes(0, 1)


IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
TYPES = (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32)
SCALES = ((1, 0), (1, -1024), (2, 7), (-1, 0), (0.5, 0.25), (3.774114, -12.5))


@pytest.mark.parametrize(
    ("dtype", "syntax", "scale"),
    [
        *((dtype, EXPLICIT, scale) for dtype in (np.uint16, np.int16) for scale in SCALES),
        *((dtype, syntax, (2, 7)) for dtype in TYPES for syntax in (IMPLICIT, BIG)),
        *((dtype, EXPLICIT, (-1, 0)) for dtype in TYPES if np.dtype(dtype).itemsize != 2),
    ],
)
def test_rescale_of_every_type_equals_pydicom(tmp_path, dtype, syntax, scale):
    info = np.iinfo(dtype)
    pixels = np.random.default_rng(0).integers(info.min, info.max, (9, 11), dtype, endpoint=True)
    pixels[0, :2] = info.min, info.max
    ds = dataset(pixels, syntax=syntax, RescaleSlope=scale[0], RescaleIntercept=scale[1], Modality="OT")
    if pixels.dtype.itemsize == 1 and syntax.endswith("2.2"):
        ds["PixelData"].VR = "OB"
    image = read(tmp_path, ds)
    theirs = apply_modality_lut(pydicom.dcmread(tmp_path / "x.dcm").pixel_array, ds)
    np.testing.assert_allclose(picture(image).astype(float), theirs.astype(float), rtol=1e-6)
    if all(float(v).is_integer() for v in scale) and pixels.dtype.itemsize < 4:
        assert image.voxels.dtype.kind in "iu"
        np.testing.assert_array_equal(picture(image), theirs)


def test_bits_that_are_not_stored_are_cleared(tmp_path):
    """Overlays of old files lie in the unused high bits; signs are extended from the highest stored one."""
    values = np.random.default_rng(0).integers(0, 1 << 12, (9, 11)).astype(np.uint16)
    overlay = np.random.default_rng(1).integers(0, 16, (9, 11)).astype(np.uint16) << 12
    bits = {"BitsStored": 12, "HighBit": 11, "RescaleIntercept": 0}
    np.testing.assert_array_equal(picture(read(tmp_path, dataset(values | overlay, **bits))), values)
    signed = np.where(values >= 1 << 11, values.astype(np.int32) - (1 << 12), values)
    ds = dataset(values | overlay, PixelRepresentation=1, **bits)
    np.testing.assert_array_equal(picture(read(tmp_path, ds)), signed)
    bits["HighBit"] = 15
    np.testing.assert_array_equal(picture(read(tmp_path, dataset((values << 4) | (overlay >> 12), **bits))), values)


def test_values_beyond_the_stored_bits_are_told_and_turn_into_no_other_end(tmp_path):
    """Of MONOCHROME1 a value that is too large is the darkest; bits that the header gives to an overlay are none."""
    values = np.array([[0, 4095, 4096, 5000]], np.uint16).repeat(3, 0)
    bits = {"BitsStored": 12, "HighBit": 11, "RescaleIntercept": 0, "Modality": "CR"}
    inverted = read(tmp_path, dataset(values, PhotometricInterpretation="MONOCHROME1", **bits))
    assert picture(inverted)[0].tolist() == [4095, 0, 0, 0]
    assert "6 values beyond the 12 bits stored: set to the nearest" in inverted.repairs
    plain = read(tmp_path, dataset(values, **bits))
    assert picture(plain)[0].tolist() == [0, 4095, 0, 904]
    assert "6 values beyond the 12 bits stored: the bits beyond were left out" in plain.repairs
    ds = dataset(values, PhotometricInterpretation="MONOCHROME1", **bits)
    ds.add_new(0x60000102, "US", 12)
    overlaid = read(tmp_path, ds)
    assert picture(overlaid)[0].tolist() == [4095, 0, 4095, 4095 - 904]
    assert not any("beyond" in repair for repair in overlaid.repairs)
    signed = np.array([[-2048, 2047, -3000, 9000, 4095]], np.int16).repeat(3, 0)  # 4095 is -1 without its sign
    told = read(tmp_path, dataset(signed, PixelRepresentation=1, **bits))
    assert picture(told)[0].tolist() == [-2048, 2047, 1096, 808, -1]
    assert "6 values beyond the 12 bits stored: the bits beyond were left out" in told.repairs


def test_ct_in_hounsfield_units(tmp_path):
    image = read(tmp_path, dataset(noise((9, 11))))
    assert (image.unit, image.voxels.dtype) == ("HU", np.int16)
    assert read(tmp_path, dataset(noise((9, 11)), RescaleType="US")).unit == "arbitrary"
    localizer = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    assert read(tmp_path, dataset(noise((9, 11)), ImageType=localizer)).unit == "arbitrary"
    without = read(tmp_path, dataset(noise((9, 11)), drop=["RescaleSlope"]))
    assert without.repairs == ("CT without rescale: taken as slope 1 and intercept 0",)


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("scale", [(1, 0), (0.684, -3)])
def test_monochrome1_is_inverted_once(tmp_path, bits, scale):
    pixels = np.random.default_rng(0).integers(0, 1 << bits, (9, 11)).astype(np.uint8 if bits == 8 else np.uint16)
    common = {"BitsStored": bits, "HighBit": bits - 1, "RescaleSlope": scale[0], "RescaleIntercept": scale[1]}
    common |= {"Modality": "CR", "WindowCenter": 100, "WindowWidth": 50}
    plain = read(tmp_path, dataset(pixels, **common))
    image = read(tmp_path, dataset(pixels, PhotometricInterpretation="MONOCHROME1", **common))
    turned = ((1 << bits) - 1 - pixels.astype(float)) * scale[0] + scale[1]
    np.testing.assert_allclose(picture(image), turned, rtol=1e-6)
    assert INVERTED in image.repairs
    assert (image.header["stored_photometric"], image.header["photometric"]) == ("MONOCHROME1", "MONOCHROME2")
    assert INVERTED not in plain.repairs
    # the window goes with the values: what it shows is the negative of the picture that was not inverted
    np.testing.assert_allclose(rescale.voi(image), 1 - rescale.voi(plain), atol=1e-4)


def test_inverted_values_are_in_no_unit(tmp_path):
    """A CT that is stored to be shown inverted: mirrored once like every other, and so no longer in HU."""
    pixels = noise((9, 11))
    plain = read(tmp_path, dataset(pixels, Modality="CT"))
    image = read(tmp_path, dataset(pixels, Modality="CT", PhotometricInterpretation="MONOCHROME1"))
    assert (plain.unit, image.unit) == ("HU", "arbitrary")
    assert image.header["inverted_about"] == plain.voxels.flat[0] + image.voxels.flat[0]


def test_signed_monochrome1(tmp_path):
    pixels = noise((9, 11)) - 1000
    ds = dataset(pixels, Modality="OT", PhotometricInterpretation="MONOCHROME1", RescaleIntercept=0)
    np.testing.assert_array_equal(picture(read(tmp_path, ds)), -1 - pixels)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_are_told_and_not_applied(tmp_path, function):
    ds = dataset(noise((9, 11)), WindowCenter=[40, -600], WindowWidth=[400, 1500], VOILUTFunction=function)
    image = read(tmp_path, ds)
    assert image.header["windows"] == ((40.0, 400.0), (-600.0, 1500.0))
    np.testing.assert_array_equal(picture(image), ds.pixel_array.astype(int) - 1024)
    shown = apply_windowing(picture(image), ds) if function != "LINEAR" else None
    if function == "LINEAR":
        assert image.header["window_hu"] == (-160.0, 239.0)
        ds.RescaleIntercept = 0
        shown = apply_windowing(ds.pixel_array, _shifted_window(ds))
    shown = (shown - _lowest(ds)) / (_highest(ds) - _lowest(ds))
    np.testing.assert_allclose(np.asarray(rescale.voi(image))[:, :, 0].T, shown, atol=2e-3)


def _shifted_window(ds):
    ds.WindowCenter = [40 + 1024, 0]
    return ds


def _lowest(ds) -> float:
    return -(1 << 15) + float(ds.RescaleIntercept)


def _highest(ds) -> float:
    return (1 << 15) - 1 + float(ds.RescaleIntercept)


def table_item(first: int, values: np.ndarray, bits: int) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(values), first, bits])
    item.add_new("LUTData", "OW", values.astype("<u2").tobytes())
    item.LUTExplanation = ""
    return item


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
def test_modality_lookup_table_equals_pydicom(tmp_path, syntax):
    pixels = np.random.default_rng(0).integers(0, 900, (9, 11)).astype(np.uint16)
    ds = dataset(pixels, syntax=syntax, Modality="OT", drop=["RescaleSlope", "RescaleIntercept"])
    values = np.random.default_rng(1).integers(0, 65536, 700)
    ds.ModalityLUTSequence = Sequence([table_item(100, values, 16)])
    image = read(tmp_path, ds)
    np.testing.assert_array_equal(picture(image), apply_modality_lut(pixels, ds))
    np.testing.assert_array_equal(picture(image), values[np.clip(pixels.astype(int) - 100, 0, 699)])


def test_voi_lookup_table_can_be_applied(tmp_path):
    path = pytest.importorskip("data_store").__path__[0] + "/data/vlut_04.dcm"
    ds, image = pydicom.dcmread(path), dicom.read_file(path)
    np.testing.assert_array_equal(picture(image), ds.pixel_array)
    theirs = apply_voi_lut(ds.pixel_array, ds) / (2 ** ds.VOILUTSequence[0].LUTDescriptor[2] - 1)
    np.testing.assert_allclose(rescale.voi(image)[:, :, 0].T, theirs, rtol=1e-6)


@pytest.mark.parametrize("limit", [None, -1900])
def test_padding_is_told_and_can_be_filled(tmp_path, limit):
    pixels = noise((9, 11))
    pixels[:2] = -2000
    pixels[2] = -1900
    fields = {"PixelPaddingValue": -2000} | ({} if limit is None else {"PixelPaddingRangeLimit": limit})
    image = read(tmp_path, dataset(pixels, **fields))
    assert image.header["padding"] == ((-3024.0, -3024.0) if limit is None else (-3024.0, -2924.0))
    mask = rescale.padding_mask(image)
    assert mask[:, :, 0].T.sum() == (2 if limit is None else 3) * 11
    filled = rescale.without_padding(image)
    assert (filled.voxels[mask] == -1024).all()
    assert filled.repairs == (f"{mask.sum()} padded voxels set to -1024",)
    np.testing.assert_array_equal(filled.voxels[~mask], image.voxels[~mask])
    plain = read(tmp_path, dataset(noise((9, 11))))
    assert rescale.without_padding(plain) is plain


def test_negative_padding_that_is_written_as_unsigned(tmp_path):
    ds = dataset(np.full((4, 5), -2000, np.int16), RescaleIntercept=0)
    ds.add_new("PixelPaddingValue", "US", 63536)
    image = read(tmp_path, ds)
    assert image.header["padding"] == (-2000.0, -2000.0)
    assert rescale.padding_mask(image).all()


def test_padding_of_an_inverted_mammogram(tmp_path):
    pixels = np.random.default_rng(0).integers(100, 4000, (9, 11)).astype(np.uint16)
    pixels[:, :4] = 4095
    ds = dataset(pixels, Modality="MG", PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11,
                 RescaleIntercept=0, PixelPaddingValue=4095)  # fmt: skip
    image = read(tmp_path, ds)
    np.testing.assert_array_equal(rescale.padding_mask(image)[:, :, 0].T, pixels == 4095)
    assert rescale.without_padding(image, 7).voxels[0, 0, 0] == 7


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("first", [0, 20])
def test_palettes_become_rgb(tmp_path, bits, first):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 11)).astype(np.uint8)
    ds = dataset(pixels, Modality="US", PhotometricInterpretation="PALETTE COLOR")
    for n, colour in enumerate(("Red", "Green", "Blue")):
        values = np.random.default_rng(n).integers(0, 1 << bits, 200)
        ds.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [200, first, bits])
        data = values.astype("<u2" if bits == 16 else "u1").tobytes()
        ds.add_new(f"{colour}PaletteColorLookupTableData", "OW", data)
    image = read(tmp_path, ds)
    theirs = apply_color_lut(pixels, ds)
    assert (image.unit, image.voxels.shape) == ("RGB", (11, 9, 1, 3))
    np.testing.assert_array_equal(picture(image), theirs >> (bits - 8))


def test_a_palette_whose_16_bits_are_8_in_truth_is_not_black(tmp_path):
    index = np.arange(200, dtype=np.uint8).reshape(10, 20)
    ds = dataset(index, Modality="OT", PhotometricInterpretation="PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        ds.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [200, 0, 16])
        ds.add_new(f"{colour}PaletteColorLookupTableData", "OW", np.arange(200, dtype="<u2").tobytes())
    np.testing.assert_array_equal(read(tmp_path, ds).voxels[:, :, 0, 1].T, index)


def test_segmented_palettes_with_lines_and_repeats(tmp_path):
    pixels = np.arange(30, dtype=np.uint8).reshape(5, 6)
    ds = dataset(pixels, Modality="US", PhotometricInterpretation="PALETTE COLOR")
    # 4 values, a line of 10 to 50000, both again by reference, 2 values
    codes = [0, 4, 0, 100, 200, 30000, 1, 10, 50000, 2, 2, 0, 0, 0, 2, 1, 65535]
    for colour in ("Red", "Green", "Blue"):
        ds.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [30, 0, 16])
        data = np.array(codes, "<u2").tobytes()
        ds.add_new(f"Segmented{colour}PaletteColorLookupTableData", "OW", data)
    image = read(tmp_path, ds)
    np.testing.assert_array_equal(picture(image), apply_color_lut(pixels, ds) >> 8)


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
@pytest.mark.parametrize("planar", [0, 1])
def test_colour_equals_pydicom(tmp_path, photometric, planar):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 10, 3)).astype(np.uint8)
    ds = dataset(pixels, Modality="US", PhotometricInterpretation=photometric)
    ds.PlanarConfiguration = planar
    image = read(tmp_path, ds)
    assert image.unit == "RGB"
    np.testing.assert_array_equal(picture(image), pydicom.dcmread(tmp_path / "x.dcm").pixel_array)


def test_floating_point_pixels(tmp_path):
    values = np.random.default_rng(0).normal(size=(9, 11)).astype(np.float32)
    ds = dataset(noise((9, 11), dtype=np.int32), drop=["RescaleSlope", "RescaleIntercept"], Modality="OT")
    del ds.PixelData, ds.BitsStored, ds.HighBit, ds.PixelRepresentation
    ds.FloatPixelData = values.tobytes()
    np.testing.assert_array_equal(picture(read(tmp_path, ds)), values)


@pytest.mark.parametrize(
    ("modality", "fields", "spacing_mm", "source"),
    [
        ("CR", {"PixelSpacing": [0.2, 0.3]}, (0.3, 0.2, 1.0), "PixelSpacing"),
        ("DX", {"ImagerPixelSpacing": [0.2, 0.3]}, (0.3, 0.2, 1.0), "ImagerPixelSpacing"),
        ("MG", {"ImagerPixelSpacing": [0.2, 0.3]}, (0.3, 0.2, 1.0), "ImagerPixelSpacing"),
        ("CR", {"ImagerPixelSpacing": [0.2, 0.3]}, (0.3, 0.2, 1.0), "ImagerPixelSpacing"),
        ("DX", {"ImagerPixelSpacing": [0.2, 0.3], "PixelSpacing": [0.2, 0.3]}, (0.3, 0.2, 1.0), "ImagerPixelSpacing"),
        ("DX", {"ImagerPixelSpacing": [0.2, 0.3], "PixelSpacing": [0.1, 0.15]}, (0.15, 0.1, 1.0), "PixelSpacing"),
        ("DX", {"ImagerPixelSpacing": [0.2, 0.3], "PixelSpacing": [0.2, 0.3],
                "PixelSpacingCalibrationType": "FIDUCIAL"}, (0.3, 0.2, 1.0), "PixelSpacing"),
        ("MG", {"NominalScannedPixelSpacing": [0.2, 0.3]}, (0.3, 0.2, 1.0), "NominalScannedPixelSpacing"),
        ("DX", {"PixelSpacing": [0.0, 0.0]}, None, None),
        ("DX", {}, None, None),
    ],
)  # fmt: skip
def test_spacing_of_radiographs(tmp_path, modality, fields, spacing_mm, source):
    drop = ["PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"]
    ds = dataset(noise((9, 11)), Modality=modality, RescaleIntercept=0, drop=drop)
    for keyword, value in fields.items():
        setattr(ds, keyword, value)
    image = read(tmp_path, ds)
    assert image.has_spacing == (spacing_mm is not None)
    assert image.spacing_mm == (None if spacing_mm is None else pytest.approx(spacing_mm))
    assert image.header.get("spacing_source") == source
    assert image.orientation == "LPS"
    assert ("pixel spacing is at the detector, not in the patient" in image.repairs) == (source == "ImagerPixelSpacing")


def test_spacing_of_ultrasound_regions(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 10, 3)).astype(np.uint8)
    drop = ["PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"]
    ds = dataset(pixels, Modality="US", drop=drop)
    region = Dataset()
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.02, -0.03
    doppler = Dataset()
    doppler.PhysicalUnitsXDirection, doppler.PhysicalUnitsYDirection = 4, 7
    doppler.PhysicalDeltaX, doppler.PhysicalDeltaY = 0.5, 0.5
    ds.SequenceOfUltrasoundRegions = Sequence([region, doppler])
    assert read(tmp_path, ds).spacing_mm == pytest.approx((0.2, 0.3, 1.0))
    doppler.PhysicalUnitsXDirection = doppler.PhysicalUnitsYDirection = 3  # two scales: none holds for the picture
    assert read(tmp_path, ds).spacing_mm is None


def test_a_single_slice_is_as_deep_as_it_is_thick(tmp_path):
    image = read(tmp_path, dataset(noise((9, 11))))
    assert image.spacing_mm == pytest.approx((0.9, 0.7, 2.5))
    np.testing.assert_allclose(image.affine[:3, 3], [10, 20, 30])
    image = read(tmp_path, dataset(noise((9, 11)), drop=["SliceThickness"]))
    assert image.spacing_mm == pytest.approx((0.9, 0.7, 1.0))
    assert image.repairs == ("slice thickness not stated: the voxel is taken as 1 mm deep",)
    with pytest.raises(UnreadableImage, match="no pair of perpendicular directions"):
        read(tmp_path, dataset(noise((9, 11)), ImageOrientationPatient=[1, 0, 0, 0.8, 0.6, 0]))


def test_facts_hold_no_patient_data(tmp_path):
    ds = dataset(noise((9, 11)), BodyPartExamined="CHEST", PatientSex="F", PatientAge="044Y", AccessionNumber="ACC1")
    image = read(tmp_path, ds)
    assert image.header["body_part"] == "CHEST"
    text = str(dict(image.header))
    for secret in ("Hasenbein", "550123", "044Y", "ACC1"):
        assert secret not in text
    assert image.header["uids"]["instances"] == (ds.SOPInstanceUID,)


def test_dose_in_gray(tmp_path):
    ds = pydicom.dcmread(pydicom_folder() / "test_files" / "rtdose.dcm")
    ds.DoseUnits = "GY"
    image = read(tmp_path, ds)
    assert image.unit == "Gy"
    np.testing.assert_allclose(image.voxels.transpose(2, 1, 0), ds.pixel_array * float(ds.DoseGridScaling), rtol=1e-6)


def test_padding_that_is_written_as_negative_beside_unsigned_pixels(tmp_path):
    ds = dataset(np.full((4, 5), 63536, np.uint16), Modality="OT", RescaleIntercept=0)
    ds.add_new("PixelPaddingValue", "SS", -2000)
    image = read(tmp_path, ds)
    assert image.header["padding"] == (63536.0, 63536.0)
    assert rescale.padding_mask(image).all()
