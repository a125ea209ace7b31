"""Made images as files that say what made them."""

import io

import nibabel
import numpy as np
import pytest
from PIL import Image

from medvfm.core.errors import RecipeError
from medvfm.core.made_images import MadeImages
from medvfm.core.recipe_sections import Prepare
from medvfm.io.read import read_image
from medvfm.models.inputs.grid_volumes import GridVolumePreparer
from medvfm.tasks.generation.image_files import png, written


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def test_words_in_any_script_stand_in_the_file():
    found = opened(png(np.full((4, 5, 1), 0.5), {"prompt": "Pleuraerguß, 胸水", "seed": "7"}))
    assert found.info["prompt"] == "Pleuraerguß, 胸水" and found.info["seed"] == "7"
    assert found.mode == "L" and found.size == (5, 4)


def test_sixteen_bits_keep_what_eight_lose():
    ramp = np.linspace(0, 1, 4096).reshape(64, 64, 1)
    fine, coarse = (np.asarray(opened(png(ramp, {}, bits=bits))) for bits in (16, 8))
    assert len(np.unique(fine)) == 4096 and len(np.unique(coarse)) == 256
    assert np.abs(fine / 65535 - ramp[..., 0]).max() < 1e-5


def test_colour_stays_colour_with_eight_bits():
    found = opened(png(np.zeros((3, 3, 3)), {}, bits=16))
    assert found.mode == "RGB"


def test_a_volume_becomes_nifti_that_reads_back_as_it_was_made(tmp_path):
    pixels = np.random.default_rng(0).random((2, 10, 14, 12, 1), np.float32)
    made = MadeImages(pixels, "a lesion", (3, 4), spacing_mm=(3.0, 1.0, 2.0))
    files, suffix = written(made, [{"prompt": "a lesion, größer", "seed": "3"}, {"seed": "4"}])
    assert suffix == ".nii.gz"
    path = tmp_path / "made.nii.gz"
    path.write_bytes(files[0])
    found = nibabel.load(path)
    assert nibabel.aff2axcodes(found.affine) == ("L", "P", "S") and found.header.get_zooms() == (2, 1, 3)
    assert found.header.extensions[0].get_content().decode() == "prompt: a lesion, größer\nseed: 3"
    middle = found.affine @ [*(np.array(found.shape) - 1) / 2, 1]
    assert np.abs(middle[:3]).max() < 1e-6
    prepare = GridVolumePreparer((10, 14, 12), (3.0, 1.0, 2.0), Prepare(windows=(0.0, 1.0)))
    assert np.abs(prepare.of_image(read_image(path))[0] - pixels[0, ..., 0]).max() < 1e-6


def test_a_format_of_the_other_kind_is_refused():
    volume = MadeImages(np.zeros((1, 8, 8, 8, 1), np.float32), "", (0,), spacing_mm=(1.0, 1.0, 1.0))
    picture = MadeImages(np.zeros((1, 8, 8, 1), np.float32), "", (0,))
    for form in ("png", "png16", "dicom"):
        with pytest.raises(RecipeError, match=f"a volume was made, and {form} holds none"):
            written(volume, [{}], form)
    with pytest.raises(RecipeError, match="a picture was made, and nifti holds none"):
        written(picture, [{}], "nifti")
    assert written(picture, [{}])[1] == ".png"
