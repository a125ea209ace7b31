"""Answers to cases of a store, as many at once as an adapter takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import cast

import torch

from medvfm.core.array import Array
from medvfm.core.item import Item
from medvfm.core.protocols import Adapter, Answer
from medvfm.engine.case_store import CaseStore
from medvfm.engine.towers import TowerOutputs

Change = Callable[[Item], Item]  # of an item before it is answered, for baselines that reuse the fitted model


def answers(
    adapter: Adapter,
    store: CaseStore,
    rows: Array,
    variant: str | None = None,
    change: Change | None = None,
    towers: TowerOutputs | None = None,
    seen: Array | None = None,
) -> Iterator[Answer]:
    """Answers to rows of a store, as many at once as the adapter takes; outputs of frozen `towers` are offered with
    the items that nobody changed. seen: see Learner.answer."""
    adapter.module.eval()
    size = adapter.answers_at_once
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        items = [store.item(int(r), for_training=False, with_truth=adapter.oracle is not None) for r in part]
        if seen is not None:
            part = seen[start : start + size]
            items = [
                _seeing(item, store.item(int(r), for_training=False, with_truth=False))
                for item, r in zip(items, part, strict=True)
            ]
        if change is not None:
            items = [change(item) for item in items]
        elif towers is not None:
            items = [towers.offered(item, store, int(r)) for item, r in zip(items, part, strict=True)]
        yield from _one_by_one(partial(adapter.answer, items, variant))


def _one_by_one(begin: Callable[[], Iterable[Answer]]) -> Iterator[Answer]:
    """Each answer is made in inference mode, which ends before it is handed over: answers of several models are taken
    in turn, and a mode that one of them left on would be found on by whoever trains next."""
    done = object()
    with torch.inference_mode():
        made = iter(begin())
    while True:
        with torch.inference_mode():
            answer = next(made, done)
        if answer is done:
            return
        yield cast(Answer, answer)


def _seeing(item: Item, other: Item) -> Item:
    """The item with the images of another."""
    case = replace(item.case, images=other.case.images, image_id=other.case.image_id)
    return replace(item, case=case, arrays=other.arrays, slices=other.slices)
