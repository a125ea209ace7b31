"""Made images as PNG that say what made them."""

import io

import numpy as np
from PIL import Image

from medvfm.tasks.generation.image_files import png


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
