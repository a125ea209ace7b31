"""Body-weight SUV against the closed form, and refused where the header does not allow it."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.sequence import Sequence

from medvfm.core.errors import UnreadableImage
from medvfm.io.dicom import read
from tests.samples.dicom import dataset, noise, save, write_series
from tests.samples.pet import DOSE_BQ, HALF_LIFE_S, INJECTION, WEIGHT_KG, injection, pet, suv


@pytest.mark.parametrize(
    ("fields", "decayed_s"),
    [
        ({}, 3600),
        ({"DecayCorrection": "ADMIN"}, 0),
        ({INJECTION: injection(RadiopharmaceuticalStartDateTime="20260302100000")}, 1800),
        ({"SeriesTime": "001000", "AcquisitionTime": "001500",
          INJECTION: injection(RadiopharmaceuticalStartTime="234000")}, 1800),
        # the series was written anew after the scan: its time is of no use, the reference of the frame is
        ({"SeriesTime": "180000", "AcquisitionTime": "104000", "FrameReferenceTime": 600_000}, 3600),
    ],
)  # fmt: skip
def test_suv_by_its_definition(tmp_path, fields, decayed_s):
    pixels = noise((9, 11))
    path = save(dataset(pixels, **pet(**fields)), tmp_path / "p.dcm")
    stored = read.read_file(path)
    assert stored.unit == "Bq/ml"
    np.testing.assert_allclose(stored.voxels[:, :, 0].T, pixels * 2.5)
    image = read.read_file(path, unit="SUV")
    assert image.unit == "SUV"
    np.testing.assert_allclose(image.voxels[:, :, 0].T, pixels * 2.5 * suv(decayed_s), rtol=1e-6)
    assert "body-weight SUV computed from dose, weight and decay" in image.repairs


def test_suv_of_a_series(tmp_path):
    write_series(tmp_path, **pet())
    plain, image = read.read_series(tmp_path), read.read_series(tmp_path, unit="SUV")
    np.testing.assert_allclose(image.voxels, plain.voxels * suv(3600), rtol=1e-6)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"PatientWeight": 0}, "weight is not stated .PatientWeight"),
        ({"PatientWeight": 70_000}, "weight stated, 70000, is too large to be in kg .PatientWeight"),
        ({INJECTION: Sequence([])}, "injection is not stated .RadiopharmaceuticalInformationSequence"),
        ({INJECTION: injection(RadionuclideTotalDose=370)}, "too small to be in Bq"),
        ({INJECTION: injection(RadionuclideTotalDose=None)}, "injected dose is not stated .RadionuclideTotalDose"),
        ({INJECTION: injection(RadionuclideHalfLife=0)}, "half-life is not stated .RadionuclideHalfLife"),
        ({INJECTION: injection(RadiopharmaceuticalStartTime=None)}, "time of injection is not stated"),
        ({INJECTION: injection(RadiopharmaceuticalStartDateTime="20260228100000")}, "cannot be right"),
        ({"DecayCorrection": "NONE"}, "not corrected for decay .*DecayCorrection NONE"),
        ({"DecayCorrection": ""}, "DecayCorrection is not stated"),
        ({"CorrectedImage": ["DECY", "RAN"]}, "not corrected for attenuation .CorrectedImage has no ATTN"),
        ({"CorrectedImage": ["ATTN"]}, "not corrected for decay .CorrectedImage has no DECY"),
        ({"Units": "CNTS"}, r"counts .Units CNTS., and no factor .7053,1000."),
        ({"Units": ""}, r"not in Bq/ml .Units is not stated"),
        ({"Units": "GML", "SUVType": "LBM"}, "SUV by lean body mass, not by body weight"),
        ({"SeriesDate": ""}, "a date or a time is missing.*SeriesDate, SeriesTime"),
        ({"SeriesTime": "180000", "AcquisitionTime": "104000"}, "written anew after the scan.* FrameReferenceTime"),
    ],
)
def test_no_suv_where_the_header_does_not_allow_it(tmp_path, fields, said):
    path = save(dataset(noise((9, 11)), **pet(**fields)), tmp_path / "p.dcm")
    with pytest.raises(UnreadableImage, match=said):
        read.read_file(path, unit="SUV")
    read.read_file(path)


def test_what_is_no_pet_has_no_suv(tmp_path):
    path = save(dataset(noise((9, 11))), tmp_path / "p.dcm")
    with pytest.raises(UnreadableImage, match="only SUV, and only of PET"):
        read.read_file(path, unit="SUV")
    inverted = pet(PhotometricInterpretation="MONOCHROME1")
    path = save(dataset(noise((9, 11)), **inverted), tmp_path / "inverted.dcm")
    assert read.read_file(path).unit == "arbitrary"
    with pytest.raises(UnreadableImage, match="no SUV: its values are inverted"):
        read.read_file(path, unit="SUV")
    path = save(dataset(noise((9, 11)), **pet(Units="GML", SUVType="BW")), tmp_path / "p.dcm")
    assert read.read_file(path).unit == read.read_file(path, unit="SUV").unit == "SUV"


def test_a_radionuclide_that_lives_for_days_is_scanned_days_later(tmp_path):
    """Zirconium 89: 3.27 days."""
    given = injection(RadionuclideHalfLife=282_276, RadiopharmaceuticalStartDateTime="20260227103000")
    path = save(dataset(noise((9, 11)), **pet(**{INJECTION: given})), tmp_path / "p.dcm")
    scale = read.read_file(path, unit="SUV").voxels / read.read_file(path).voxels
    np.testing.assert_allclose(scale, WEIGHT_KG * 1000 / (DOSE_BQ * 2 ** (-3 * 86400 / 282_276)), rtol=1e-6)


def test_a_series_written_anew_has_the_time_of_the_scanner_or_of_its_frame(tmp_path):
    late = {"SeriesTime": "180000", "AcquisitionTime": "104000", "FrameReferenceTime": 600_000}
    ds = dataset(noise((9, 11)), **pet(**late))
    ds.private_block(0x0009, "GEMS_PETD_01", create=True).add_new(0x0D, "DT", "20260302102000.00")
    path = save(ds, tmp_path / "ge.dcm")
    factor = read.read_file(path, unit="SUV").voxels / read.read_file(path).voxels
    np.testing.assert_allclose(factor, suv(3000), rtol=1e-6)
    # QIBA: values are those of the moment of the frame's average count rate, ln(x / (1 - exp(-x))) / lambda behind
    # its start, with x = lambda T; for a frame of 20 minutes 597.9 s
    path = save(dataset(noise((9, 11)), **pet(**late, ActualFrameDuration="1200000")), tmp_path / "frame.dcm")
    factor = read.read_file(path, unit="SUV").voxels / read.read_file(path).voxels
    x = np.log(2) / HALF_LIFE_S * 1200
    np.testing.assert_allclose(factor, suv(3600 + np.log(x / (1 - np.exp(-x))) / (x / 1200)), rtol=1e-6)


@pytest.mark.parametrize(("number", "wanted"), [(0x00, 0.0123), (0x09, 3.5 * suv(3600))])
def test_counts_with_the_factors_of_philips(tmp_path, number, wanted):
    ds = dataset(noise((9, 11)), **pet(Units="CNTS"))
    ds.private_block(0x7053, "Philips PET Private Group", create=True).add_new(
        number, "DS", "0.0123" if not number else "3.5"
    )
    path = save(ds, tmp_path / "p.dcm")
    assert read.read_file(path).unit == "arbitrary"
    image = read.read_file(path, unit="SUV")
    np.testing.assert_allclose(image.voxels, read.read_file(path).voxels * wanted, rtol=1e-6)
