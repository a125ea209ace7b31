"""How alike two images are: peak signal-to-noise ratio, structural similarity, and that at several scales.

Functions take images in [0, 1], (n, c, h, w) twice or volumes (n, c, s, h, w), the first of each pair true, and give
(n,) float64. Structural similarity (Wang et al. 2004) has a Gaussian window of 11 px, sigma 1.5, in all directions of
an image, K1 = 0.01, K2 = 0.03, and is averaged over the places where the whole window lies in it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from medvfm.core.errors import PredictionError, Undefined

WINDOW_PX, SIGMA_PX = 11, 1.5
C1, C2 = 0.01**2, 0.03**2
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang, Simoncelli and Bovik 2003
PAIRS = 1000  # of made images, drawn where there are more
BATCH_PX = 1 << 21  # pixels of a batch


def psnr(truth: Tensor, made: Tensor) -> Tensor:
    """10 log10(1 / mean squared error), in dB; infinite for equal images."""
    truth, made = _checked(truth, made)
    error = (truth.to(torch.float64) - made.to(torch.float64)).square().flatten(1).mean(1)
    return -10 * error.log10()


def ssim(truth: Tensor, made: Tensor) -> Tensor:
    """Structural similarity, averaged over channels; 1 for equal images. Undefined for sides below 11 px."""
    truth, made = _checked(truth, made)
    _check_size(truth)
    return _batched(truth, made, lambda a, b: _similarity(a, b)[0].mean(1))


def ms_ssim(truth: Tensor, made: Tensor) -> Tensor:
    """Structural similarity over up to five scales, averaged over channels. Undefined for sides below 11 px.

    Images below 176 px have fewer scales, as `scales` says, whose exponents are made to sum to 1. Contrast that goes
    against that of the other image counts as 0.
    """
    truth, made = _checked(truth, made)
    _check_size(truth)
    exponents = torch.tensor(SCALES[: scales(truth)], dtype=torch.float64, device=truth.device)
    exponents = exponents / exponents.sum()
    return _batched(truth, made, lambda a, b: _over_scales(a, b, exponents))


def diversity(made: Tensor) -> Tensor:
    """Mean ms_ssim over pairs of made images (m, c, h, w): the lower, the more they differ from each other.

    Odena et al. 2017, section 4.2. Over all pairs, or PAIRS of them where there are more, which are always the same for
    the same number of images. Undefined for fewer than 2 images.
    """
    return pair_similarities(made)[1].mean()


def pair_similarities(made: Tensor) -> tuple[Tensor, Tensor]:
    """(p, 2) which images (m, c, h, w) were paired, and (p,) the ms_ssim of each pair."""
    if made.ndim not in (4, 5):
        raise PredictionError(f"images {tuple(made.shape)}: expected (m, c, h, w) or (m, c, s, h, w)")
    pairs = pairs_of(len(made)).to(made.device)
    step = max(1, BATCH_PX // max(1, made[0].numel()))
    found = [ms_ssim(made[some[:, 0]], made[some[:, 1]]) for some in pairs.split(step)]
    return pairs, torch.cat(found)


def pairs_of(count: int, most: int = PAIRS, seed: int = 0) -> Tensor:
    """(p, 2) pairs i < j of `count` images, `most` of them drawn without replacement where there are more."""
    if count < 2:
        raise Undefined(f"{count} image{'s' * (count != 1)}: a pair takes 2")
    total = count * (count - 1) // 2
    if total <= most:
        return torch.combinations(torch.arange(count), 2)
    drawn = np.random.Generator(np.random.PCG64(seed)).choice(total, most, replace=False)
    starts = np.cumsum(np.r_[0, np.arange(count - 1, 1, -1)])  # where the pairs (i, ...) begin
    first = np.searchsorted(starts, drawn, side="right") - 1
    return torch.from_numpy(np.stack([first, drawn - starts[first] + first + 1], 1))


def scales(images: Tensor) -> int:
    """How many scales of ms_ssim images (n, c, h, w) have: the window fits into the coarsest."""
    shorter = min(images.shape[2:])
    return max(s for s in range(1, len(SCALES) + 1) if s == 1 or shorter // 2 ** (s - 1) >= WINDOW_PX)


def _checked(truth: Tensor, made: Tensor) -> tuple[Tensor, Tensor]:
    if truth.ndim not in (4, 5) or truth.shape != made.shape:
        raise PredictionError(
            f"images {tuple(truth.shape)} and {tuple(made.shape)}: expected (n, c, h, w) or (n, c, s, h, w) twice"
        )
    for images in (truth, made):
        if len(images) and not (images.min() >= 0 and images.max() <= 1):
            raise PredictionError("images must lie in [0, 1]")
    return truth, made


def _check_size(images: Tensor) -> None:
    if min(images.shape[2:]) < WINDOW_PX:
        size = " x ".join(map(str, images.shape[2:]))
        raise Undefined(f"images of {size} px: the window takes {WINDOW_PX} px")


def _batched(truth: Tensor, made: Tensor, function: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    step = max(1, BATCH_PX // max(1, truth[0].numel() if len(truth) else 1))
    parts = zip(truth.split(step), made.split(step), strict=True)
    return torch.cat([function(a.to(torch.float64), b.to(torch.float64)) for a, b in parts])


def _over_scales(a: Tensor, b: Tensor, exponents: Tensor) -> Tensor:
    found = torch.ones(a.shape[:2], dtype=torch.float64, device=a.device)
    for number, exponent in enumerate(exponents):
        if number:
            halved = functional.avg_pool2d if a.ndim == 4 else functional.avg_pool3d
            a, b = halved(a, 2), halved(b, 2)
        whole, contrast = _similarity(a, b)
        last = number == len(exponents) - 1
        found = found * (whole if last else contrast).clamp(min=0) ** exponent
    return found.mean(1)


def _similarity(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """(n, c) structural similarity, and its part without luminance; eq. 13 of Wang et al. 2004."""
    mean_a, mean_b = _blurred(a), _blurred(b)
    var_a = _blurred(a * a) - mean_a**2
    var_b = _blurred(b * b) - mean_b**2
    both = _blurred(a * b) - mean_a * mean_b
    contrast = (2 * both + C2) / (var_a + var_b + C2)
    luminance = (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
    return (luminance * contrast).flatten(2).mean(2), contrast.flatten(2).mean(2)


def _blurred(images: Tensor) -> Tensor:
    """Means in the window, every side 10 shorter: a product with a matrix along each, faster than convolutions in
    float64."""
    slices, height, width = (_means(side).to(images.device) for side in (images.shape[2], *images.shape[-2:]))
    found = height @ images @ width.T
    return found if images.ndim == 4 else (slices @ found.flatten(3)).unflatten(3, found.shape[3:])


@functools.lru_cache(maxsize=16)
def _means(side: int) -> Tensor:
    """(side - 10, side) the window's weights at each of its places along a side."""
    away = torch.arange(WINDOW_PX, dtype=torch.float64) - (WINDOW_PX - 1) / 2
    weights = torch.exp(-(away**2) / (2 * SIGMA_PX**2))
    places = side - WINDOW_PX + 1
    found = torch.zeros(places, side, dtype=torch.float64)
    rows = torch.arange(places)[:, None]
    found[rows, rows + torch.arange(WINDOW_PX)] = weights / weights.sum()
    return found
