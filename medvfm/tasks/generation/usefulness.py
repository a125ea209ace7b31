"""What a classifier learns from images: a probe on features, tested on real test images, with several seeds.

Every probe sees the same number of images, SEEN times as many as were made, drawn at random from its own: made ones, as
many real training images, these with classic augmentation (every one that is seen is changed anew, before its features
are taken), or real and made ones, half of what is seen each. A seed chooses the real training images, what is seen of
all, and how it is changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from medvfm.core.array import Array
from medvfm.tasks.generation import rivals

SEEDS = 3
SEEN = 3  # how often an image is seen, on average, where they are of one kind
BLOCK = 512  # images that are changed and encoded at once


class ProbeFit(Protocol):
    """Features (n, d) and labels (n, T) to scores (r, T) of the real test images; NaN for what cannot be learned."""

    def __call__(self, features: Array, labels: Array) -> Array: ...


def of_made(features: Array, labels: Array, learn: ProbeFit) -> Array:
    """(SEEDS, r, T) of a set of images with its features (n, d) and labels (n, T)."""
    return _each(lambda rng: _seen(features, labels, SEEN * len(features), rng), learn)


def of_real(features: Array, labels: Array, count: int, learn: ProbeFit) -> Array:
    """The same of `count` of N real training images."""

    def drawn(rng: np.random.Generator) -> tuple[Array, Array]:
        own = _some(len(features), count, rng)
        return _seen(features[own], labels[own], SEEN * count, rng)

    return _each(drawn, learn)


def of_augmented(pixels: Array, labels: Array, count: int, encode: Callable[[Array], Array], learn: ProbeFit) -> Array:
    """The same of `count` of N real training images (N, C, H, W), each changed anew whenever it is seen."""

    def drawn(rng: np.random.Generator) -> tuple[Array, Array]:
        own = _some(len(pixels), count, rng)
        seen = own[rng.integers(len(own), size=SEEN * count)]
        blocks = [seen[start : start + BLOCK] for start in range(0, len(seen), BLOCK)]
        return np.concatenate([encode(rivals.augmented(pixels[rows], rng)) for rows in blocks]), labels[seen]

    return _each(drawn, learn)


def of_both(real: tuple[Array, Array], made: tuple[Array, Array], learn: ProbeFit) -> Array:
    """The same of made images and as many real training images: features and labels of both."""
    count = len(made[0])

    def drawn(rng: np.random.Generator) -> tuple[Array, Array]:
        own = _some(len(real[0]), count, rng)
        half = SEEN * count // 2
        of_real = _seen(real[0][own], real[1][own], SEEN * count - half, rng)
        of_made = _seen(*made, half, rng)
        return np.concatenate([of_real[0], of_made[0]]), np.concatenate([of_real[1], of_made[1]])

    return _each(drawn, learn)


def _each(drawn: Callable[[np.random.Generator], tuple[Array, Array]], learn: ProbeFit) -> Array:
    return np.stack([learn(*drawn(np.random.default_rng([seed, 23]))) for seed in range(SEEDS)])


def _some(among: int, count: int, rng: np.random.Generator) -> Array:
    """Rows of `count` images, or of all where there are fewer."""
    return np.sort(rng.permutation(among)[:count])


def _seen(features: Array, labels: Array, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    rows = rng.integers(len(features), size=count)
    return features[rows], labels[rows]
