"""Slices in a square and back: pixels and labels lie alike, the way back undoes the way there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medvfm.models.encoders import dense


@pytest.mark.parametrize("shape", [(35, 50), (50, 35), (200, 90), (64, 64)])
def test_what_is_drawn_on_the_square_lies_on_the_slice(shape):
    frame = dense.PaddedFrame(shape, 64)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    blob = ((rows - shape[0] * 0.6) ** 2 + (columns - shape[1] * 0.3) ** 2 < (min(shape) * 0.2) ** 2).astype(np.float32)
    pixels = frame.pixels(torch.from_numpy(blob)[None, None])
    labels = frame.labels(torch.from_numpy(blob).long()[None, None], 255)
    height, width = frame.inside
    assert pixels.shape == labels.shape == (1, 1, 64, 64)
    assert (labels[..., height:, :] == 255).all() and (labels[..., width:] == 255).all()
    assert ((pixels[..., :height, :width] > 0.5) == (labels[..., :height, :width] == 1)).float().mean() > 0.98
    back = frame.back(pixels)[0, 0].numpy() > 0.5
    assert 2 * (back & (blob > 0)).sum() / (back.sum() + blob.sum()) > 0.93


def test_neighbours_stand_beside_a_slice_and_repeat_at_the_ends():
    pixels = np.arange(4, dtype=np.float16).reshape(1, 4, 1, 1)
    assert dense.neighbours(pixels, 0, 1).ravel().tolist() == [0, 0, 1]
    assert dense.neighbours(pixels, 2, 1).ravel().tolist() == [1, 2, 3]
    assert dense.neighbours(pixels, 3, 1).ravel().tolist() == [2, 3, 3]
    assert dense.neighbours(pixels, 1, 0).ravel().tolist() == [1]


def test_gray_fills_the_channels_and_others_must_fit():
    assert dense.as_channels(torch.zeros(2, 1, 4, 4), 3).shape == (2, 3, 4, 4)
    assert dense.as_channels(torch.zeros(2, 3, 4, 4), 3).shape == (2, 3, 4, 4)
    with pytest.raises(ValueError, match="2 channels"):
        dense.as_channels(torch.zeros(2, 2, 4, 4), 3)
