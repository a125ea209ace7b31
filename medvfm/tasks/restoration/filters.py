"""Rivals that need no training: the degraded image as it is, and classic filters.

Each takes degraded images (n, C, H, W) in [0, 1]. What a filter leaves open is chosen on training images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

from medvfm.core.array import Array
from medvfm.core.degradation import Degradation, coarse

FILTERS = {  # for `medvfm list baselines`
    "degraded": "the degraded image as it is",
    "gaussian_filter": "the degraded image blurred by a normal kernel, whose width fits training images best",
    "non_local_means": "non-local means of the degraded image, whose strength fits training images best",
    "bicubic": "of a lower resolution: bicubic interpolation",
}
WIDTHS_PX = (0.4, 0.6, 0.8, 1.0, 1.3, 1.6, 2.0, 2.5)
STRENGTHS = (0.02, 0.04, 0.06, 0.08, 0.12, 0.16, 0.24, 0.32)
PATCH_PX, DISTANCE_PX = 5, 6
MOST = 200  # training images that a strength is chosen on, evenly spaced


@dataclass(frozen=True)
class ChosenFilters:
    """The strength of each filter that has one, by which training images come nearest to the true ones in PSNR."""

    degradation: Degradation
    strengths: dict[str, float]

    @classmethod
    def of(cls, truth: Array, degraded: Array, degradation: Degradation) -> ChosenFilters:
        rows = np.unique(np.linspace(0, len(truth) - 1, min(MOST, len(truth))).round().astype(int))
        found = {}
        for name, values in (("gaussian_filter", WIDTHS_PX), ("non_local_means", STRENGTHS)):
            errors = [_error(truth[rows], _ADJUSTED[name](degraded[rows], value)) for value in values]
            found[name] = values[int(np.argmin(errors))]
        return cls(degradation, found)

    def filtered(self, name: str, degraded: Array) -> Array:
        if name == "degraded":
            return degraded
        if name == "bicubic":
            return bicubic(degraded, self.degradation.factor)
        return _ADJUSTED[name](degraded, self.strengths[name])

    def note(self, name: str) -> str:
        return f"{name} {self.strengths[name]:g}" if name in self.strengths else name


def blurred(degraded: Array, sigma_px: float) -> Array:
    return _image(ndimage.gaussian_filter(degraded, (0, 0, sigma_px, sigma_px), mode="nearest"))


def non_local_means(degraded: Array, strength: float) -> Array:
    """Buades et al. 2005, by scikit-image; `strength` is its h."""
    from skimage.restoration import denoise_nl_means  # half a second to import

    how = {"patch_size": PATCH_PX, "patch_distance": DISTANCE_PX, "h": strength, "fast_mode": True}
    found = [
        denoise_nl_means(image[0], **how)[None]  # with an axis of one channel it comes back turned
        if len(image) == 1
        else np.moveaxis(denoise_nl_means(np.moveaxis(image, 0, 2), channel_axis=2, **how), 2, 0)
        for image in degraded
    ]
    return _image(np.stack(found))


def bicubic(degraded: Array, factor: int) -> Array:
    """Blocks of factor x factor pixels as one pixel each, interpolated again."""
    small = torch.from_numpy(np.stack([coarse(image, factor) for image in degraded]))
    found = functional.interpolate(small, size=degraded.shape[2:], mode="bicubic", align_corners=False)
    return _image(found.numpy())


_ADJUSTED: dict[str, Callable[[Array, float], Array]] = {
    "gaussian_filter": blurred,
    "non_local_means": non_local_means,
}


def _error(truth: Array, given: Array) -> float:
    """Minus the mean PSNR."""
    return float(np.log10(np.maximum(np.square(truth - given).mean(axis=(1, 2, 3)), 1e-12)).mean())


def _image(values: Array) -> Array:
    return np.clip(values, 0, 1).astype(np.float32)
