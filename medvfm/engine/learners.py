"""Learners: fit an adapter on training cases, then answer for others.

Three, for every task: one that fits nothing by gradients, one that fits a head on stored features, and one that trains
weights by the loop (`loop_learner`). All are used alike: `read` the cases once, `fit` on rows of them, `answer` rows of
them. Truth is hidden from every item that is answered, unless the adapter's prompts come from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch

from medvfm.core.array import Array
from medvfm.core.capabilities import CaseFittingAdapter, Choose, Embedded, FeatureAdapter
from medvfm.core.case import Case
from medvfm.core.errors import RecipeError
from medvfm.core.item import Item
from medvfm.core.protocols import Adapter, Answer, Record, Task, TruthReader
from medvfm.engine import features
from medvfm.engine.answering import Change, answers
from medvfm.engine.case_store import CaseStore
from medvfm.engine.context import FoldRows, RunContext
from medvfm.engine.towers import TowerOutputs


class Learner(Protocol):
    """See the module's docstring. `store` holds the cases that were read."""

    adapter: Adapter
    store: CaseStore

    @property
    def towers(self) -> TowerOutputs | None:
        """Outputs of the towers that the last stage left frozen."""
        ...

    def read(self, cases: Sequence[Case], context: RunContext) -> list[tuple[str, str]]:
        """Read every case once; (case_id, reason) of those that cannot be used."""
        ...

    def fit(self, rows: FoldRows, choose: Choose | None, moments: frozenset[str] = frozenset()) -> Record:
        """Fit on rows; `choose` is None without validation cases. Returns what run.json says about it.

        moments  of training, whose weights `at` shall find again: `start`, `stage 1`, ...
        """
        ...

    def answer(
        self, rows: Array, variant: str | None = None, change: Change | None = None, seen: Array | None = None
    ) -> Iterator[Answer]:
        """An answer to each row, in order. seen: rows whose images are seen in place of their own."""
        ...

    @contextmanager
    def at(self, moment: str) -> Iterator[None]:
        """The weights of a moment of training, for as long as the context lasts."""
        ...


class FrozenLearner:
    """An adapter whose weights stay as they are. Baselines that count over training cases are fitted here too."""

    towers: TowerOutputs | None = None

    def __init__(self, adapter: Adapter, task: Task, truth: TruthReader | None) -> None:
        self.adapter, self._task = adapter, task
        self.store = CaseStore(adapter.preparer, truth, task)

    def read(self, cases: Sequence[Case], context: RunContext) -> list[tuple[str, str]]:
        self.adapter.module.to(context.device)
        return self.store.read(cases, context)

    def fit(self, rows: FoldRows, choose: Choose | None, moments: frozenset[str] = frozenset()) -> Record:
        if not isinstance(self.adapter, CaseFittingAdapter):
            return {}
        items = (self.store.item(int(row), for_training=True, with_truth=True) for row in rows.train)
        return self.adapter.fit_items(list(items))

    def answer(
        self, rows: Array, variant: str | None = None, change: Change | None = None, seen: Array | None = None
    ) -> Iterator[Answer]:
        yield from answers(self.adapter, self.store, rows, variant, change, None, seen)

    @contextmanager
    def at(self, moment: str) -> Iterator[None]:
        """Nothing is trained: every moment has the same weights."""
        yield


class FeatureLearner:
    """A head on features of a frozen model, which are computed once and kept on disk."""

    towers: TowerOutputs | None = None

    def __init__(self, adapter: Adapter, task: Task, truth: TruthReader | None, seed: int) -> None:
        self.adapter, self._task, self._seed = adapter, task, seed
        self.store = CaseStore(adapter.preparer, truth, task)
        self._features = Embedded(np.zeros((0, 1), np.float32), [])

    def read(self, cases: Sequence[Case], context: RunContext) -> list[tuple[str, str]]:
        adapter = self.adapter
        assert isinstance(adapter, FeatureAdapter)
        adapter.module.to(context.device)
        found = features.compute(
            cases, self.store.reader, adapter.features_key(), self._embed, context, "images encoded"
        )
        self.store.use(found.keyed)
        self._features = Embedded(found.values, self.store.cases)
        if any(key for _, key in found.keyed) and found.computed < len(found.keyed):
            context.console.say(f"  features of {len(found.keyed) - found.computed} cases were in the cache")
        return found.left_out

    def embedded(self, rows: Array) -> Embedded:
        """Features of rows that were read."""
        return self._features.rows(rows)

    def embed_others(self, cases: Sequence[Case], context: RunContext) -> tuple[Embedded, list[tuple[str, str]]]:
        """Features of cases that are none of the run's own, and (case_id, reason) of those that cannot be read."""
        assert isinstance(self.adapter, FeatureAdapter)
        key = self.adapter.features_key()
        found = features.compute(cases, self.store.reader, key, self._embed, context, "images encoded")
        return Embedded(found.values, [case for case, _ in found.keyed]), found.left_out

    def fit(self, rows: FoldRows, choose: Choose | None, moments: frozenset[str] = frozenset()) -> Record:
        if moments:
            raise RecipeError(f"a head on features has no weights at {sorted(moments)[0]!r}", where="baselines")
        assert isinstance(self.adapter, FeatureAdapter)
        found = self._features
        choice = self.adapter.fit_features(found.rows(rows.train), found.rows(rows.val), choose, self._seed)
        dimension = int(np.prod(found.values.shape[-1:]))
        return {"choice": choice, "features": {"dimension": dimension, "cases": len(found.values)}}

    def answer(
        self, rows: Array, variant: str | None = None, change: Change | None = None, seen: Array | None = None
    ) -> Iterator[Answer]:
        if variant is not None or change is not None or seen is not None:
            yield from answers(self.adapter, self.store, rows, variant, change, None, seen)
            return
        assert isinstance(self.adapter, FeatureAdapter)
        found = self._features.rows(rows)
        hidden = Embedded(found.values, [self._task.hide(case) for case in found.cases])
        yield from self.adapter.answer_features(hidden)

    @contextmanager
    def at(self, moment: str) -> Iterator[None]:
        """The head that was fitted: `fit` refuses every other moment."""
        yield

    def _embed(self, items: Sequence[Item]) -> torch.Tensor:
        assert isinstance(self.adapter, FeatureAdapter)
        return self.adapter.embed(self.adapter.collate([replace(i, case=self._task.hide(i.case)) for i in items]))
