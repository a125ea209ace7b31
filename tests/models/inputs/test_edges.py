"""Edges of pictures, beside scikit-image's Canny."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage import data, feature

from medvfm.models.inputs.edges import canny

PICTURES = {"camera": data.camera()[::4, ::4] / 255.0, "coins": data.coins()[::3, ::3] / 255.0}


@pytest.mark.parametrize("name", list(PICTURES))
def test_edges_lie_where_scikit_image_has_them(name):
    """Within a pixel: it compares gradients between pixels, we compare those of the nearest ones."""
    mine = canny(PICTURES[name])
    theirs = feature.canny(PICTURES[name], 1.0, low_threshold=0.1, high_threshold=0.2, mode="nearest")
    for one, other in ((mine, theirs), (theirs, mine)):
        near = ndimage.distance_transform_edt(~other)[one] <= 1
        assert near.mean() > 0.97


def test_weak_edges_count_where_they_go_on_from_strong_ones():
    """A step that fades along its length is one edge down to the lower threshold; alone, its weak end is none."""
    fading = np.linspace(0.2, 0.03, 60)
    picture = np.zeros((60, 40))
    picture[:, 20:] = fading[:, None]
    rows = np.flatnonzero(canny(picture).any(1))
    weak = canny(picture[rows.max() - 10 :])
    assert rows.max() > 30 and np.array_equal(rows, np.arange(1, rows.max() + 1))
    assert not weak.any()


def test_a_plain_picture_and_its_border_have_none():
    assert not canny(np.full((16, 16), 0.7)).any()
    noise = canny(np.random.default_rng(0).random((16, 16)))
    assert noise.any() and not noise[[0, -1]].any() and not noise[:, [0, -1]].any()
