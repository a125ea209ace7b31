"""Augmentation: pixels and labels move together, volumes move as one, draws follow the generator alone."""

from __future__ import annotations

import numpy as np
import pytest

from medvfm.core.errors import RecipeError
from medvfm.nn import augment

GEOMETRIC = [
    {"name": "RandomHorizontalFlip", "p": 1.0},
    {"name": "RandomVerticalFlip", "p": 1.0},
    {"name": "RandomRotation", "degrees": [20, 20]},
    {"name": "RandomAffine", "degrees": 0, "translate": [0.2, 0.2]},
]


def pair(shape=(3, 24, 20)):
    """Labels are where the pixels are bright."""
    labels = np.zeros(shape, np.int64)
    labels[:, 4:12, 9:17] = 1
    return labels[None].astype(np.float32), labels


@pytest.mark.parametrize("entry", GEOMETRIC, ids=lambda e: e["name"])
def test_labels_go_where_the_pixels_go(entry):
    pixels, labels = pair()
    moved, named = augment.build([entry])(pixels, labels, np.random.default_rng(3))
    assert not np.array_equal(named, labels)
    assert ((moved[0] > 0.5) == (named == 1)).mean() > 0.97
    assert all(np.array_equal(named[0], other) for other in named)  # all slices alike


def test_intensity_leaves_labels_alone():
    pixels, labels = pair()
    moved, named = augment.build([{"name": "GaussianNoise", "sigma": 0.2}])(pixels, labels, np.random.default_rng(1))
    assert np.array_equal(named, labels) and not np.array_equal(moved, pixels)
    assert moved.min() >= 0 and moved.max() <= 1


def test_the_same_generator_draws_the_same():
    apply = augment.build([{"name": "RandomRotation", "degrees": 90}])
    first, second = (apply(*pair(), np.random.default_rng(5))[1] for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, apply(*pair(), np.random.default_rng(6))[1])


def test_nothing_asked_for_is_nothing_done():
    pixels, labels = pair()
    assert augment.build(())(pixels, labels, np.random.default_rng(0)) == (pixels, labels)


def test_pixels_without_labels_move_as_they_do_with_them():
    pixels, labels = pair()
    apply = augment.build([{"name": "RandomRotation", "degrees": 90}])
    alone, none = apply(pixels, None, np.random.default_rng(5))
    assert none is None and np.array_equal(alone, apply(pixels, labels, np.random.default_rng(5))[0])


def test_an_unknown_name_is_refused():
    with pytest.raises(RecipeError, match="did you mean 'RandomRotation'"):
        augment.build([{"name": "RandomRotatoin"}])
