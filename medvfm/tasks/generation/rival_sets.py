"""A rival's or a reference's images as a set that is judged in place of the made one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from medvfm.core.array import Array
from medvfm.tasks.generation import rivals, usefulness
from medvfm.tasks.generation.image_set import ImageSet
from medvfm.tasks.generation.judge import Judge, Pictures
from medvfm.tasks.generation.made_set import MadeSet
from medvfm.tasks.generation.set_features import features_of
from medvfm.tasks.generation.usefulness import ProbeFit


def of(name: str, predictions: MadeSet, rng: np.random.Generator) -> MadeSet:
    """The images of a rival or a reference in place of the made ones, as many as these."""
    found, own = predictions.judge, predictions.pictures
    assert found is not None and own is not None
    count, train = len(predictions.made), found.train
    if name in rivals.RIVALS:
        made = rivals.MAKERS[name](train.pixels, count, rng)
        shown = Pictures(predictions.ids, predictions.patients, made, predictions.made.labels, predictions.made.met)
        own_words = [str(words) for words in predictions.asked]
        return _replaced(predictions, found.made(shown, predictions.real, own_words), made, reference=False)
    rows = rng.permutation(len(train))[:count]
    drawn = train.rows(np.sort(rows))
    pixels, labels = drawn.pixels, drawn.labels
    if name.startswith("real_blur_"):
        pixels = rivals.blurred(pixels, float(name.rpartition("_")[2]))
    elif name == "real_augmented":
        pixels = rivals.augmented(pixels, rng)
    elif name == "real_and_made":
        half = np.arange(len(drawn)) % 2 == 1
        pixels = np.where(half.reshape(-1, *[1] * (pixels.ndim - 1)), own[: len(drawn)], pixels)
        labels = np.where(half[:, None], predictions.made.labels[: len(drawn)], labels)
    shown = Pictures(drawn.ids, drawn.patients, pixels, labels, drawn.met)
    judged = found.made(shown, predictions.real, new=False, taught=_taught(name, predictions, found))
    return _replaced(predictions, judged, pixels, reference=True)


def _taught(name: str, predictions: MadeSet, judge: Judge) -> Callable[[ProbeFit], Array] | None:
    """What classifiers learn of for a reference; None: its own images alone."""
    made, train = predictions.made, judge.train
    real = judge.features, train.labels
    ways: dict[str, Callable[[ProbeFit], Array]] = {
        "real": lambda learn: usefulness.of_real(*real, len(made), learn),
        "real_augmented": lambda learn: usefulness.of_augmented(
            train.pixels, train.labels, len(made), lambda pixels: features_of(judge.extractor, pixels), learn
        ),
        "real_and_made": lambda learn: usefulness.of_both(real, (made.features, made.labels), learn),
    }
    return ways.get(name)


def _replaced(predictions: MadeSet, made: ImageSet, pictures: Array, *, reference: bool) -> MadeSet:
    count = len(made)
    return replace(
        predictions,
        made=made,
        asked=np.array([""] * count, dtype=object) if reference else predictions.asked,
        fold=predictions.fold[:count],
        files=np.array([""] * count, dtype=object),
        groups={name: values[:count] for name, values in predictions.groups.items()},
        reference=reference,
        pictures=pictures,
    )
