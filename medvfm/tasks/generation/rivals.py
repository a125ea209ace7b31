"""Images that need no generator, made from the training images alone: rivals that it must beat, and references.

Each takes training images (n, C, H, W), or volumes (n, C, S, H, W), in [0, 1] and gives `count` images. References are
real images, as they are or spoilt a little: they say what a distance means.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from medvfm.core.array import Array

RIVALS = {  # for `medvfm list baselines`
    "noise": "noise with the mean and the spectrum of the training images, phases drawn at random",
    "gaussian": "every pixel drawn on its own, with the mean and the deviation that it has in training",
    "gaussian_full": "all pixels drawn together, with the mean and the covariance of the training images",
    "mean_image": "the mean of the training images, again and again",
}
REFERENCES = {
    "real": "real training images against real test images, at equal n",
    "real_blur_1": "the same, blurred by a normal kernel of 1 pixel",
    "real_blur_2": "the same, blurred by 2 pixels",
    "real_blur_4": "the same, blurred by 4 pixels",
    "real_augmented": "the same, flipped, moved and changed in contrast: what classic augmentation gives",
    "real_and_made": "real training images and images that the model made",
}
MOVE_PX, CONTRAST, BRIGHTNESS = 3, 0.15, 0.08  # most, of classic augmentation; pixels at 64 px, scaled with the size


def noise(train: Array, count: int, rng: np.random.Generator) -> Array:
    """The mean image plus noise whose mean power at every frequency is that of the training images about their mean."""
    mean = train.mean(axis=0)
    sides = tuple(range(1, mean.ndim))
    root = np.sqrt(sum(np.abs(np.fft.fftn(image - mean, axes=sides)) ** 2 for image in train) / len(train))
    drawn = (np.fft.fftn(rng.standard_normal(mean.shape), axes=sides) for _ in range(count))
    size = np.sqrt(mean[0].size)
    return _image(np.stack([mean + np.fft.ifftn(one / size * root, axes=sides).real for one in drawn]))


def gaussian(train: Array, count: int, rng: np.random.Generator) -> Array:
    """Independent pixels."""
    return _image(train.mean(axis=0) + train.std(axis=0) * rng.standard_normal((count, *train.shape[1:])))


def gaussian_full(train: Array, count: int, rng: np.random.Generator) -> Array:
    """Sums of the centred training images with normal weights have their covariance exactly."""
    mean = train.mean(axis=0)
    weights = rng.standard_normal((count, len(train))) / np.sqrt(max(len(train) - 1, 1))
    return _image(mean + (weights @ (train - mean).reshape(len(train), -1)).reshape(count, *mean.shape))


def mean_image(train: Array, count: int, rng: np.random.Generator) -> Array:
    return _image(np.broadcast_to(train.mean(axis=0), (count, *train.shape[1:])))


MAKERS: dict[str, Callable[[Array, int, np.random.Generator], Array]] = {
    "noise": noise, "gaussian": gaussian, "gaussian_full": gaussian_full, "mean_image": mean_image,
}  # fmt: skip


def blurred(images: Array, sigma_px: float) -> Array:
    """Blurred by a normal kernel, in all directions alike."""
    return _image(ndimage.gaussian_filter(images, (0, 0, *[sigma_px] * (images.ndim - 2)), mode="nearest"))


def augmented(images: Array, rng: np.random.Generator) -> Array:
    """Flipped from left to right in half of the cases, moved by a few pixels, changed in contrast and brightness."""
    most = [max(1, round(MOVE_PX * side / 64)) for side in images.shape[2:]]
    found = []
    for image in images:
        turned = image[..., ::-1] if rng.random() < 0.5 else image
        by = [int(rng.integers(-far, far + 1)) for far in most]
        moved = np.asarray(ndimage.shift(turned, (0, *by), order=0, mode="nearest"))
        gain, lift = 1 + rng.uniform(-CONTRAST, CONTRAST), rng.uniform(-BRIGHTNESS, BRIGHTNESS)
        found.append((moved - moved.mean()) * gain + moved.mean() + lift)
    return _image(np.stack(found))


def _image(values: Array) -> Array:
    return np.clip(values, 0, 1).astype(np.float32)
