"""A unit that a caller states: computed, accepted where the file says nothing of it, else refused."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from PIL import Image as pillow

from medvfm.core.data_card import DataCard
from medvfm.core.errors import DataCardError, UnreadableImage
from medvfm.core.yaml_source import parse, validated
from medvfm.io.read import read_image
from tests.samples.dicom import dataset, noise, save, write_series
from tests.samples.pet import pet, suv


def test_suv_of_a_pet_is_computed_through_the_one_reader(tmp_path):
    folder = write_series(tmp_path / "series", **pet())
    plain, image = read_image(folder), read_image(folder, unit="SUV")
    assert (plain.unit, image.unit) == ("Bq/ml", "SUV")
    np.testing.assert_allclose(image.voxels, plain.voxels * suv(3600), rtol=1e-6)
    one = next(folder.iterdir())
    np.testing.assert_allclose(read_image(one, unit="SUV").voxels, read_image(one).voxels * suv(3600), rtol=1e-6)


@pytest.mark.parametrize(
    ("fields", "unit", "said"),
    [
        (pet(), "HU", r"its values are in Bq/ml, and no HU can be made of them; leave the unit out, or say Bq/ml"),
        (pet(), "Gy", "in Bq/ml, and no Gy"),
        (pet(Units="CNTS"), "Bq/ml", r"does not say that its values are in Bq/ml \(Units\)"),
        (pet(PatientWeight=None), "SUV", "PatientWeight"),
        ({}, "SUV", "only SUV, and only of PET"),
        ({}, "Bq/ml", "its values are in HU"),
        ({"Modality": "MR"}, "HU", "modality MR holds no HU"),
        ({"Modality": "CR"}, "SUV", "modality CR"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "HU", "inverted .MONOCHROME1.: they are in no HU"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "HU", "a localizer"),
        ({}, "label", "label=True"),
        ({}, "RGB", "three channels"),
    ],
)
def test_a_unit_that_the_file_cannot_give_is_refused(tmp_path, fields, unit, said):
    path = save(dataset(noise((9, 11)), **fields), tmp_path / "p.dcm")
    with pytest.raises(UnreadableImage, match=said):
        read_image(path, unit=unit)


def test_a_unit_that_the_caller_alone_knows(tmp_path):
    assert read_image(save(dataset(noise((9, 11)), Modality="OT"), tmp_path / "a.dcm"), unit="HU").unit == "HU"
    assert read_image(save(dataset(noise((9, 11))), tmp_path / "b.dcm"), unit="HU").unit == "HU"
    assert read_image(save(dataset(noise((9, 11))), tmp_path / "b.dcm"), unit="arbitrary").unit == "arbitrary"
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2), np.float32), np.eye(4)), tmp_path / "v.nii.gz")
    assert read_image(tmp_path / "v.nii.gz", unit="SUV").unit == "SUV"
    pillow.fromarray(np.zeros((3, 3), np.uint8)).save(tmp_path / "p.png")
    with pytest.raises(UnreadableImage, match="unit HU of a picture file, which holds grey levels"):
        read_image(tmp_path / "p.png", unit="HU")


@pytest.mark.parametrize(
    ("reading", "said"),
    [("{unit: SUv}", "did you mean 'SUV'"), ("{time: first}", "reading.time is a number"), ("{channel: red}", "or all"),
     ("{volume: [1]}", "volume"), ("{sequence: 1}", "sequence")],
)  # fmt: skip
def test_what_a_card_says_of_reading_is_checked(reading, said):
    text = f"name: x\ntitle: X\nreading: {reading}\nlayouts: [{{table: t.csv}}]\n"
    with pytest.raises(DataCardError, match=said):
        validated(parse(text, "card.yaml", DataCardError), DataCard, DataCardError)
