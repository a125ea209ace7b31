"""What classifiers learn of: each sees as many images, of the right kind, and seeds draw them anew."""

from __future__ import annotations

import numpy as np
import pytest

from medvfm.core.metric_spec import parse
from medvfm.core.protocols import Points
from medvfm.tasks.generation import usefulness
from medvfm.tasks.generation.image_set import ImageSet
from medvfm.tasks.generation.made_set import MadeSet
from medvfm.tasks.generation.task import METRICS, GenerationTask
from medvfm.tasks.generation.usefulness import SEEDS, SEEN

MADE, REAL = 20, 50


class Watched:
    """Keeps what it is taught; scores are the mean of the labels."""

    def __init__(self):
        self.taught = []

    def __call__(self, features, labels):
        self.taught.append((features, labels))
        return np.full((7, 1), labels.mean())


@pytest.fixture(scope="module")
def real():
    return np.arange(REAL, dtype=np.float32)[:, None], np.zeros((REAL, 1))


@pytest.fixture(scope="module")
def made():
    return 1000 + np.arange(MADE, dtype=np.float32)[:, None], np.ones((MADE, 1))


@pytest.mark.parametrize("kind", ["made", "real", "augmented", "both"])
def test_every_kind_sees_as_many_images(kind, real, made):
    learn, encoded = Watched(), []
    pixels = np.broadcast_to(np.linspace(0.2, 0.8, 64).reshape(8, 8), (REAL, 1, 8, 8)).astype(np.float32)

    def encode(images):
        encoded.append(images)
        return images.reshape(len(images), -1)

    scores = {
        "made": lambda: usefulness.of_made(*made, learn),
        "real": lambda: usefulness.of_real(*real, MADE, learn),
        "augmented": lambda: usefulness.of_augmented(pixels, real[1], MADE, encode, learn),
        "both": lambda: usefulness.of_both(real, made, learn),
    }[kind]()
    assert scores.shape == (SEEDS, 7, 1) and len(learn.taught) == SEEDS
    assert all(len(f) == len(y) == SEEN * MADE for f, y in learn.taught)
    assert not np.array_equal(learn.taught[0][0], learn.taught[1][0])  # another seed sees others
    first, labels = learn.taught[0]
    if kind == "augmented":  # changed before features are taken, and never twice alike
        assert len(np.unique(np.concatenate(encoded).reshape(SEEDS * SEEN * MADE, -1), axis=0)) == SEEDS * SEEN * MADE
        return
    assert {"made": 0, "real": len(first), "both": SEEN * MADE / 2}[kind] == (first < 1000).sum()
    assert len(np.unique(first[first < 1000])) <= MADE  # as many real images as were made, though there are more
    np.testing.assert_array_equal(labels, first >= 1000)


def test_the_number_is_the_mean_of_three_seeds_and_its_interval_is_wider_than_of_one():
    rng = np.random.default_rng(1)
    labels = (np.arange(80) % 2).astype(float)[:, None]
    owners, ids = np.array([f"p{n}" for n in range(80)], dtype=object), tuple(f"c{n}" for n in range(80))
    strength = np.array([0.3, 1.0, 2.5])[:, None, None]
    learned = strength * labels + rng.normal(size=(1, 80, 1))
    one = ImageSet(ids, owners, rng.normal(size=(80, 3)), labels, learned=learned)
    nothing = np.array([""] * 80, dtype=object)
    sets = MadeSet(one, one, nothing, np.zeros(80, int), nothing)
    (found,) = GenerationTask(("bright",)).estimands(sets, [parse("usefulness_auroc", METRICS)], Points())
    each = [np.mean([[a > b for b in s[labels == 0]] for a in s[labels == 1]]) for s in learned]
    assert found.value == pytest.approx(np.mean(each)) and found.seeds.values == pytest.approx(each)
    assert found.seeds.error > 0.02 and "mean of 3 seeds" in found.notes[0]
    assert "saw 240 images each" in found.notes[1]
