"""Edges of a picture, as ControlNets for edges are asked with them."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

SIGMA_PX, LOW, HIGH = 1.0, 0.1, 0.2  # scikit-image's defaults
_STEPS = ((0, 1), (1, 1), (1, 0), (1, -1))  # rows, columns: across edges at 0, 45, 90 and 135 degrees


def canny(picture: np.ndarray, sigma_px: float = SIGMA_PX, low: float = LOW, high: float = HIGH) -> np.ndarray:
    """(H, W) bool of a grey picture (H, W) in [0, 1]: Canny 1986.

    Of a smoothed picture, where the gradient (Sobel, whose weights sum to 4 on either side) is greatest across
    an edge and above `low`, in pieces that somewhere reach `high`. The outermost pixels have none.
    """
    smooth = ndimage.gaussian_filter(np.asarray(picture, np.float64), sigma_px, mode="nearest")
    down, right = (ndimage.sobel(smooth, axis) for axis in (0, 1))
    strength = np.hypot(down, right)
    across = np.rint(np.arctan2(down, right) / (np.pi / 4)).astype(int) % 4
    padded = np.pad(strength, 1)
    greatest = np.zeros(strength.shape, bool)
    for direction, (row, column) in enumerate(_STEPS):
        ahead, behind = (_shifted(padded, sign * row, sign * column) for sign in (1, -1))
        greatest |= (across == direction) & (strength >= ahead) & (strength > behind)
    greatest[[0, -1]] = greatest[:, [0, -1]] = False
    pieces, count = ndimage.label(greatest & (strength > low), np.ones((3, 3)))
    strong = np.zeros(count + 1, bool)
    strong[pieces[greatest & (strength > high)]] = True
    strong[0] = False
    return strong[pieces]


def _shifted(padded: np.ndarray, row: int, column: int) -> np.ndarray:
    """The neighbour of each pixel, of a picture with a border of 1."""
    height, width = padded.shape
    return padded[1 + row : height - 1 + row, 1 + column : width - 1 + column]
