"""Affines and arrays for NIfTI files in tests."""

from __future__ import annotations

import numpy as np


def oblique(seed: int = 0) -> np.ndarray:
    """(4, 4): a grid turned at random, with three spacings."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = q * (0.7, 1.3, 2.9)  # left- or right-handed by the draw
    affine[:3, 3] = [-12, 33.5, 101]
    return affine
