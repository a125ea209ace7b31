"""Vectors of new images by a finished run whose model puts images and texts into one space, and who is nearest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medvfm.core.array import Array
from medvfm.core.capabilities import SearchingAdapter
from medvfm.core.case import Case
from medvfm.core.errors import DataError, RunError
from medvfm.core.item import Item
from medvfm.core.protocols import Adapter
from medvfm.engine import case_reading, training_inputs
from medvfm.engine.context import RunContext
from medvfm.engine.predict import InputReader, Model, input_of


@dataclass(frozen=True, eq=False)
class Vectors:
    """Unit vectors (n, D) of the cases that could be read; (input, reason) of the others, and of what is unlike."""

    cases: list[Case]
    values: Array
    left_out: list[tuple[str, str]]
    unlike: list[tuple[str, str]]


def searching(model: Model) -> Adapter:
    """The adapter that embeds; of several folds the first, as each has a space of its own."""
    adapter = model.adapters[0]
    if not isinstance(adapter, SearchingAdapter):
        raise RunError(
            "the model of this run puts no images and texts into one space",
            remedy="a run of the adapter clip does, by any method but linear_probe and knn",
        )
    return adapter


def vectors(model: Model, cases: Sequence[Case], reader: InputReader, context: RunContext) -> Vectors:
    """Embed every case; with `context.strict`, the first that is unreadable or unlike the training images stops."""
    adapter = searching(model)
    assert isinstance(adapter, SearchingAdapter)
    adapter.module.to(context.device).eval()
    found = Vectors([], np.zeros((0, 0)), [], [])
    rows: list[Array] = []
    read = case_reading.prepared(cases, reader, context.workers, context.strict)
    for case, item in zip(cases, context.console.track(read, len(cases), "embedded"), strict=True):
        given = input_of(case)
        if isinstance(item, str):
            found.left_out.append((given, item))
            continue
        arrays, facts = item
        unlike = "; ".join(dict.fromkeys(w for f in facts for w in training_inputs.unlike(f, model.trained_on)))
        if unlike:
            if context.strict:
                raise DataError(f"unlike the images that the model was trained on: {unlike}", where=given)
            found.unlike.append((given, unlike))
        rows.append(adapter.image_vectors([Item(case, arrays)])[0])
        found.cases.append(case)
    if not rows:
        given, reason = found.left_out[0]
        raise DataError(f"no input could be read; {given}: {reason}")
    return Vectors(found.cases, np.stack(rows), found.left_out, found.unlike)


def nearest(values: Array, query: Array) -> tuple[Array, Array]:
    """Order from the nearest on, and the cosine of each in that order; of equal ones the first given stands first."""
    scores = values.astype(np.float64) @ query.astype(np.float64)
    order = np.argsort(-scores, kind="stable")
    return order, scores[order]
