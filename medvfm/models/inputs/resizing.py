"""Bilinear and bicubic resizing with a low-pass filter, as PIL and torch do it, at less than half of torch's time.

One side resized is a product with a matrix of few weights, so a picture is resized by two sparse products, which MKL
does faster than torch's own kernel does. Elsewhere (other devices and types, gradients, torch without MKL) torch's
kernel is used, whose result differs by rounding only.
"""

from __future__ import annotations

import functools
import warnings
from typing import Literal

import numpy as np
import torch
from torch.nn import functional

_REACH = {"bilinear": 1.0, "bicubic": 2.0}  # of the filters, in pixels of the coarser grid


def lowpass_resized(
    pictures: torch.Tensor, size_px: tuple[int, int], filtering: Literal["bilinear", "bicubic"]
) -> torch.Tensor:
    """Pictures (N, C, H, W) at `size_px`, each side that shrinks low-passed before."""
    if not _suits_mkl(pictures):
        return functional.interpolate(pictures, size_px, mode=filtering, align_corners=False, antialias=True)
    (height, width), (down, across) = pictures.shape[-2:], size_px
    rows, columns = _weights(height, down, filtering), _weights(width, across, filtering)
    resized = pictures.new_empty((*pictures.shape[:2], down, across))
    for picture, into in zip(pictures.flatten(0, 1), resized.flatten(0, 1), strict=True):
        into.copy_(torch.mm(columns, torch.mm(rows, picture).T).T)
    return resized


def _suits_mkl(pictures: torch.Tensor) -> bool:
    plain = pictures.device.type == "cpu" and pictures.dtype == torch.float32 and pictures.numel() > 0
    return (
        plain and torch.backends.mkl.is_available() and not (pictures.requires_grad or torch.is_autocast_enabled("cpu"))
    )


@functools.lru_cache(maxsize=64)
def _weights(before: int, after: int, filtering: str) -> torch.Tensor:
    """What each of `before` pixels of a side gives to each of `after`, as a CSR matrix (after, before)."""
    step = before / after
    blur = max(step, 1.0)
    centres = step * (np.arange(after) + 0.5)
    reach = _REACH[filtering] * blur
    first = np.maximum((centres - reach + 0.5).astype(int), 0)
    count = np.minimum((centres + reach + 0.5).astype(int), before) - first
    ends = np.concatenate([[0], np.cumsum(count)])
    sources = np.arange(ends[-1]) - np.repeat(ends[:-1] - first, count)
    weights = _filter((sources + 0.5 - np.repeat(centres, count)) / blur, filtering)
    weights /= np.repeat(np.add.reduceat(weights, ends[:-1]), count)
    values = torch.from_numpy(weights.astype(np.float32))
    with warnings.catch_warnings():  # torch calls its CSR layout a beta, once a process
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support", category=UserWarning)
        return torch.sparse_csr_tensor(
            torch.from_numpy(ends), torch.from_numpy(sources), values, (after, before), check_invariants=True
        )


def _filter(distance: np.ndarray, filtering: str) -> np.ndarray:
    """The triangle, or Keys' cubic with a = -0.5."""
    away = np.abs(distance)
    if filtering == "bilinear":
        return np.maximum(1 - away, 0)
    near = (1.5 * away - 2.5) * away**2 + 1
    far = ((-0.5 * away + 2.5) * away - 4) * away + 2
    return np.where(away < 1, near, np.where(away < 2, far, 0))
