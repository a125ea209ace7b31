"""Volumes as pictures for sheets: the axial, the coronal and the sagittal slice in the middle, side by side."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from medvfm.core.array import Array


def of(pixels: Array, spacing_mm: tuple[float, float, float] | None) -> Array:
    """(n, C, h, w) of volumes (n, C, S, H, W), in the proportions of the patient, head up; pictures as they are.

    spacing_mm  between slices, rows and columns; None counts voxels
    """
    if pixels.ndim == 4:
        return pixels
    between, down, across = spacing_mm or (1.0, 1.0, 1.0)
    slices, rows, columns = (side // 2 for side in pixels.shape[2:])
    found = [
        _scaled(pixels[:, :, slices], down, across, spacing_mm),
        _scaled(pixels[:, :, ::-1, rows], between, across, spacing_mm),
        _scaled(pixels[:, :, ::-1, :, columns], between, down, spacing_mm),
    ]
    height = max(plane.shape[2] for plane in found)
    return np.concatenate([_raised(plane, height) for plane in found], axis=3)


def _scaled(pictures: Array, down_mm: float, across_mm: float, spacing_mm: tuple[float, float, float] | None) -> Array:
    """Pictures whose pixels are as large as the finest distance of the volume."""
    least = min(spacing_mm or (1.0,))
    height, width = (
        max(1, round(n * mm / least)) for n, mm in zip(pictures.shape[2:], (down_mm, across_mm), strict=True)
    )
    given = torch.from_numpy(np.ascontiguousarray(pictures)).float()
    return np.asarray(functional.interpolate(given, size=(height, width), mode="bilinear").numpy())


def _raised(pictures: Array, height: int) -> Array:
    lack = height - pictures.shape[2]
    return np.pad(pictures, ((0, 0), (0, 0), (lack // 2, lack - lack // 2), (0, 0)))
