"""Whether lesions are still there in an image that was restored, and whether it shows some that there were not.

Both follow one rule from the true outlines of lesions and the true image, so that no detector has a say. Contrast is
the mean of the pixels within RING_PX around a region (no lesion among them) minus the mean inside it. What contrast and
size are usual is measured on lesions of training images.

erased    a lesion that has at least half of the usual contrast in the true image has less than half of its own left
invented  away from lesions, a patch at least half as large as small lesions differs from the true image by half of the
          usual contrast or more in the direction of lesions, stands out from its surroundings by as much, and did not
          in the true image
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from medvfm.core.errors import Undefined
from medvfm.core.metric_spec import Metric

RING_PX = 3
HALF = 0.5
LEAST_PX = 4  # of a region: below, a mean says little
SMALL = 0.05  # share of training lesions below what is called small; a patch has half of its size or more
SMOOTH_PX = 1.0  # by which a difference is blurred before patches are looked for
_NEIGHBOURS = np.ones((3, 3), bool)


@dataclass(frozen=True)
class UsualLesion:
    """contrast  the median over lesions of training images; above 0 where lesions are darker than their surroundings
    least_px   how many pixels a patch has that counts as a lesion
    lesions    how many were measured
    """

    contrast: float
    least_px: int
    lesions: int


def usual(cases: Iterable[tuple[np.ndarray, np.ndarray]]) -> UsualLesion:
    """Of images (H, W) in [0, 1] and their lesions (H, W) of bool; Undefined where none can be measured."""
    found = [
        (contrast(image, region, lesions), int(region.sum())) for image, lesions in cases for region in _of(lesions)
    ]
    known = [(value, size) for value, size in found if not np.isnan(value)]
    if not known:
        raise Undefined(f"no training image shows a lesion of {LEAST_PX} pixels or more")
    values, sizes = np.array(known, float).T
    return UsualLesion(float(np.median(values)), max(LEAST_PX, int(HALF * np.quantile(sizes, SMALL))), len(known))


def contrast(image: np.ndarray, region: np.ndarray, lesions: np.ndarray) -> float:
    """See the module's docstring; NaN where nothing lies around the region."""
    ring = ndimage.binary_dilation(region, _NEIGHBOURS, RING_PX) & ~lesions & ~region
    return float(image[ring].mean() - image[region].mean()) if ring.any() else float("nan")


def erased(truth: np.ndarray, given: np.ndarray, lesions: np.ndarray, like: UsualLesion) -> float:
    """1 where a lesion of the true image (H, W) is gone in the given one, else 0; Undefined where none is seen."""
    own = [(contrast(truth, region, lesions), contrast(given, region, lesions)) for region in _of(lesions)]
    seen = [(true / like.contrast, left / true) for true, left in own if not np.isnan(true) and true]
    left = [share for strength, share in seen if strength >= HALF]
    if not left:
        raise Undefined("no lesion is seen in the true image")
    return float(min(left) < HALF)


def invented(truth: np.ndarray, given: np.ndarray, lesions: np.ndarray, like: UsualLesion) -> float:
    """1 where the given image (H, W) shows a lesion where the true one has none, else 0."""
    least, sign = HALF * abs(like.contrast), np.sign(like.contrast)
    apart = ndimage.gaussian_filter(sign * (truth.astype(np.float64) - given), SMOOTH_PX)
    away = ~ndimage.binary_dilation(lesions, _NEIGHBOURS, RING_PX) if lesions.any() else np.ones_like(lesions)
    for patch in _of((apart >= least) & away, like.least_px):
        before, now = (sign * contrast(image, patch, lesions) for image in (truth, given))
        if now >= least > before:
            return 1.0
    return 0.0


def _of(mask: np.ndarray, least_px: int = LEAST_PX) -> list[np.ndarray]:
    """Connected regions, corners too, of at least so many pixels."""
    numbered, count = ndimage.label(mask, _NEIGHBOURS)
    regions = [numbered == number for number in range(1, count + 1)]
    return [region for region in regions if region.sum() >= least_px]


METRICS = {
    "lesions_erased": Metric(
        erased,
        "lesions",
        "lower",
        summary="cases in which a lesion is gone: less than half of its contrast is left",
        within=(0.0, 1.0),
        interval="share",
    ),
    "lesions_invented": Metric(
        invented,
        "lesions",
        "lower",
        summary="cases that show a lesion where the true image has none",
        within=(0.0, 1.0),
        interval="share",
    ),
}
