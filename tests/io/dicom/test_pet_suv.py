"""Body-weight SUV against the closed form, and refused where the header does not allow it."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medvfm.core.errors import UnreadableImage
from medvfm.io.dicom import read
from tests.samples.dicom import dataset, noise, save, write_series

INJECTION = "RadiopharmaceuticalInformationSequence"
HALF_LIFE_S = 6586.2  # fluorine 18
DOSE_BQ, WEIGHT_KG = 3.7e8, 72.0


def injection(**fields) -> Sequence:
    item = Dataset()
    item.RadionuclideTotalDose, item.RadionuclideHalfLife = DOSE_BQ, HALF_LIFE_S
    item.RadiopharmaceuticalStartTime = "093000.00"
    for keyword, value in fields.items():
        if value is None:
            delattr(item, keyword)
        else:
            setattr(item, keyword, value)
    return Sequence([item])


def pet(**fields) -> dict:
    return {
        "Modality": "PT", "Units": "BQML", "DecayCorrection": "START", "PatientWeight": WEIGHT_KG,
        "RescaleSlope": 2.5, "RescaleIntercept": 0, "SeriesDate": "20260302", "SeriesTime": "103000",
        "AcquisitionDate": "20260302", "AcquisitionTime": "103000.5",
        "RadiopharmaceuticalInformationSequence": injection(), **fields,
    }  # fmt: skip


def suv(decayed_s: float) -> float:
    return WEIGHT_KG * 1000 / (DOSE_BQ * 2 ** (-decayed_s / HALF_LIFE_S))


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
        ({"PatientWeight": 0}, "weight or injection is not stated"),
        ({INJECTION: Sequence([])}, "weight or injection is not stated"),
        ({INJECTION: injection(RadionuclideTotalDose=370)}, "too small to be in Bq"),
        ({INJECTION: injection(RadionuclideTotalDose=None)}, "dose or half-life"),
        ({INJECTION: injection(RadionuclideHalfLife=0)}, "dose or half-life"),
        ({INJECTION: injection(RadiopharmaceuticalStartTime=None)}, "time of injection"),
        ({"DecayCorrection": "NONE"}, "not corrected for decay"),
        ({"Units": "CNTS"}, r"not in Bq/ml"),
        ({"SeriesDate": ""}, "a date or time is missing"),
        ({"SeriesTime": "180000", "AcquisitionTime": "104000"}, "changed after the scan"),
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
