"""Images of conditions that were held out of training together, as sets of their own.

Whether a class of a combination is seen in them is asked beside images for the same conditions but for that class: a
lesion among images of large ventricles alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from medvfm.core.array import Array
from medvfm.core.protocols import Record
from medvfm.tasks.generation.held_out import Combination
from medvfm.tasks.generation.image_set import ImageSet
from medvfm.tasks.generation.made_set import MadeSet

GROUP = "held_out"


def views(found: MadeSet, held_out: Sequence[Combination], classes: Sequence[str]) -> dict[str, MadeSet]:
    """`held_out=lesion+ventricles` to the images that were made for it, beside the real ones that show it.

    No training image shows it: in place of those that references are made of stand others, as many as there are real
    ones to compare them with.
    """
    shown: dict[str, MadeSet] = {}
    for combination, columns in _columns(held_out):
        made, real = (_meeting(side, columns) for side in (found.made, found.real))
        if found.reference:
            made = np.linspace(0, len(found.made) - 1, min(len(real), len(found.made))).astype(int)
        if not len(made) or not len(real):
            continue
        contrasts = {}
        for place, (name, _) in enumerate(combination.conditions):
            if name in classes:
                others = np.delete(columns, place)
                apart = [s.rows(_meeting(s, others, but=columns[place])) for s in (found.made, found.real)]
                contrasts[list(classes).index(name)] = apart[0], apart[1]
        shown[f"{GROUP}={combination.name}"] = replace(found.beside(made, real), contrasts=contrasts)
    return shown


def record(found: MadeSet, held_out: Sequence[Combination]) -> list[Record]:
    """For run.json: each combination, how many images were made for it, and how many real test images show it."""
    return [
        {
            "group": f"{GROUP}={combination.name}",
            "conditions": dict(combination.conditions),
            "made": len(_meeting(found.made, columns)),
            "real": len(_meeting(found.real, columns)),
        }
        for combination, columns in _columns(held_out)
    ]


def _columns(held_out: Sequence[Combination]) -> Iterator[tuple[Combination, Array]]:
    """Each with the columns of `ImageSet.met` that are its conditions."""
    start = 0
    for combination in held_out:
        yield combination, start + np.arange(len(combination.conditions))
        start += len(combination.conditions)


def _meeting(images: ImageSet, columns: Array, but: int | None = None) -> Array:
    """Rows that meet all conditions of `columns`, and not that of `but`."""
    assert images.met is not None
    rows = (images.met[:, columns] == 1).all(axis=1)
    return np.flatnonzero(rows if but is None else rows & (images.met[:, but] == 0))
