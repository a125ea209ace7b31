"""What people hand to `encode`: taken for what it is, or refused with what to give."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image as Picture

import medvfm
from medvfm.core.errors import MedvfmError, UnreadableImage
from medvfm.core.image import Image
from medvfm.io.read import read_image
from medvfm.models.inputs.given_images import images_of
from tests.samples.dicom import dataset, noise, save

GREY = np.random.default_rng(0).integers(0, 255, (20, 30)).astype(np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 255, (20, 30, 3)).astype(np.uint8)


@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
def test_all_ways_to_hand_over_one_picture_are_alike(tmp_path, pixels):
    path = tmp_path / "a.png"
    Picture.fromarray(pixels).save(path)
    wanted = read_image(path)
    for given in (path, str(path), wanted, pixels, Picture.open(path), Picture.fromarray(pixels)):
        for one in (images_of(given), images_of([given]), images_of(given for _ in "a")):
            assert len(one) == 1
            np.testing.assert_array_equal(one[0].voxels, wanted.voxels)
            assert (one[0].unit, one[0].header["value_range"]) == (wanted.unit, (0, 255))


def test_arrays_of_other_types():
    np.testing.assert_array_equal(images_of(COLOUR / 255)[0].voxels, images_of(COLOUR)[0].voxels)
    np.testing.assert_array_equal(images_of(GREY[..., None])[0].voxels, images_of(GREY)[0].voxels)
    assert images_of(GREY.astype(np.float64) - 100)[0].unit == "arbitrary"
    assert images_of(GREY > 100)[0].voxels.max() == 255
    assert [i.shape_vox for i in images_of([GREY, COLOUR])] == [(30, 20, 1)] * 2


def test_a_pil_picture_is_turned_as_its_file_is(tmp_path):
    exif = Picture.Exif()
    exif[0x0112] = 6
    Picture.fromarray(COLOUR).save(tmp_path / "a.png", exif=exif)
    found = images_of(Picture.open(tmp_path / "a.png"))[0]
    np.testing.assert_array_equal(found.voxels, read_image(tmp_path / "a.png").voxels)
    assert found.shape_vox == (20, 30, 1)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "None is no image; give a path"),
        ([], "an empty list"),
        (7, "type int is no image"),
        ({"image": GREY}, "type dict"),
        (torch.zeros(4, 4), "type Tensor"),
        ([GREY, 7], "image 1: an object of type int"),
        (np.zeros((5, 20, 30)), r"shape \(5, 20, 30\) is no picture; give \(rows, columns\)"),
        (np.zeros((2, 20, 30, 3)), "is no picture"),
        (COLOUR.astype(np.int16), "colour of int16 from 0 to .*; give uint8"),
        (np.full((4, 4), np.nan), "NaN"),
        (np.array([["a"]]), "an array of <U1"),
        ("absent.png", "absent.png: there is no such file"),
    ],
)
def test_what_is_not_clear_is_refused(given, said):
    with pytest.raises(UnreadableImage, match=said):
        images_of(given)


def test_encode_takes_them(tmp_path):
    adapter = medvfm.load_adapter("dinov2", weights="tiny")
    Picture.fromarray(GREY).save(tmp_path / "a.png")
    wanted = adapter.encode([read_image(tmp_path / "a.png")])
    for given in (tmp_path / "a.png", GREY, [str(tmp_path / "a.png")]):
        np.testing.assert_allclose(adapter.encode(given), wanted, atol=1e-6)
    assert adapter.encode([GREY, COLOUR]).shape == (2, wanted.shape[1])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"wieghts": "tiny"}, "no option 'wieghts'; did you mean 'weights'"),
        ({"sizes": 224}, "did you mean 'size'"),
        ({"size": "large"}, "size"),
        ({"slices": {"pol": "max"}}, "unknown key 'pol'; did you mean 'pool'"),
    ],
)
def test_an_unknown_option_names_the_nearest(options, said):
    with pytest.raises(MedvfmError, match=said):
        medvfm.load_adapter("dinov2", **options)


def test_an_image_is_shown_in_a_line_that_names_nobody(tmp_path):
    image = read_image(save(dataset(noise((9, 11))), tmp_path / "p.dcm"))
    assert repr(image) == "Image(11 x 9 x 1 voxels, int16, HU, 0.9 x 0.7 x 2.5 mm, LPS, dicom CT)"
    assert repr(Image(np.zeros((3, 4, 1), np.uint8), np.eye(4), has_spacing=False)) == (
        "Image(3 x 4 x 1 voxels, uint8, arbitrary, no spacing)"
    )
