"""What is fitted and then scores cases: an adapter by its features, an adapter by training, or a built-in baseline.

All three are used alike: `read` the cases once, `fit` on rows of them, `score` rows of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader

from medvfm.core.case import Case
from medvfm.core.protocols import Adapter
from medvfm.engine import baselines, features, loading, train
from medvfm.engine.context import FoldRows, RunContext
from medvfm.io.cache import ArrayCache
from medvfm.nn import augment, losses, probe, samplers

Choose = Callable[[np.ndarray], float]  # (n, T) scores of the validation cases to the value that is selected by


class Learner(Protocol):
    probabilities: bool

    def read(self, cases: Sequence[Case], around: RunContext) -> tuple[list[Case], list[tuple[str, str]]]:
        """Read every case once; those that can be used, and (case_id, reason) of the others."""
        ...

    def fit(self, rows: FoldRows, choose: Choose | None) -> dict[str, Any]:
        """Fit on rows; `choose` is None without validation cases. Returns what run.json says about it."""
        ...

    def score(self, rows: np.ndarray) -> np.ndarray:
        """(n, T) scores of rows."""
        ...


class FeatureLearner:
    """A head on features of a frozen model."""

    def __init__(self, adapter: Adapter, seed: int, label: str = "images encoded") -> None:
        self.adapter, self.probabilities, self._seed, self._label = adapter, adapter.probabilities, seed, label
        self._keyed: list[tuple[Case, str]] = []
        self._values = np.zeros((0, 1), np.float32)

    def read(self, cases: Sequence[Case], around: RunContext) -> tuple[list[Case], list[tuple[str, str]]]:
        self.adapter.module.to(around.device)
        found = features.compute(
            cases,
            self.adapter.preparer,
            self.adapter.features_key(),
            lambda items: self.adapter.embed(self.adapter.collate(items)),
            around,
            self._label,
        )
        self._keyed, self._values = found.keyed, found.values
        if found.computed < len(found.cases):
            around.console.say(f"  features of {len(found.cases) - found.computed} cases were in the cache")
        return found.cases, found.left_out

    def marks(self, around: RunContext) -> list[str | None]:
        """`leakage.fingerprint` of each case that was read."""
        return loading.marks(self._keyed, self.adapter.preparer, around)

    def pooled(self) -> np.ndarray:
        """(n, d) features of the cases that were read."""
        return np.asarray(self.adapter.pooled(self._values))

    def fit(self, rows: FoldRows, choose: Choose | None) -> dict[str, Any]:
        train_set = (self._values[rows.train], rows.truth[rows.train])
        val_set = (self._values[rows.val], rows.truth[rows.val])
        dimension = int(np.prod(self._values.shape[-1:]))
        return {
            "choice": self.adapter.fit_features(train_set, val_set, choose, self._seed),
            "features": {"dimension": dimension, "cases": len(self._values)},
        }

    def score(self, rows: np.ndarray) -> np.ndarray:
        return self.adapter.score_features(self._values[rows])


class TrainedLearner:
    """An adapter whose weights go through the training loop, in one stage or several."""

    def __init__(
        self,
        adapter: Any,
        stages: Sequence[tuple[str, Mapping[str, Any]]],
        kind: str,
        select: str,
        better: str,
        seed: int,
    ) -> None:
        """stages: method and its settings, defaults filled in; the adapter stands ready for the first."""
        self.adapter, self.probabilities = adapter, adapter.probabilities
        self._stages, self._kind, self._select, self._better, self._seed = stages, kind, select, better, seed
        self._around: RunContext | None = None
        self._keyed: list[tuple[Case, str]] = []
        self._arrays = ArrayCache("prepared")

    def read(self, cases: Sequence[Case], around: RunContext) -> tuple[list[Case], list[tuple[str, str]]]:
        self._around = around
        self.adapter.module.to(around.device)
        found = loading.fill(cases, self.adapter.preparer, self._arrays, around)
        self._keyed = found.readable
        return [case for case, _ in self._keyed], found.left_out

    def marks(self, around: RunContext) -> list[str | None]:
        """`leakage.fingerprint` of each case that was read."""
        return loading.marks(self._keyed, self.adapter.preparer, around)

    def fit(self, rows: FoldRows, choose: Choose | None) -> dict[str, Any]:
        histories = []
        for number, (method, settings) in enumerate(self._stages):
            if number:
                self.adapter.restage(method)
            histories.append(self._stage(number, settings, rows, choose))
        best = histories[-1]
        return {"training": best if len(histories) == 1 else {**best, "stages": histories}}

    def _stage(self, number: int, given: Mapping[str, Any], rows: FoldRows, choose: Choose | None) -> dict[str, Any]:
        assert self._around is not None
        around, own = self._around, dict(given)
        batch_size, steps = own.pop("batch_size"), own.pop("steps", None)
        balanced = own.pop("balanced_sampling", False)
        transform = augment.build(own.pop("augment", None) or ())
        weights = None
        if own.pop("class_weights", "none") == "balanced":
            weights = losses.balanced_weights(torch.as_tensor(rows.truth[rows.train]), self._kind)
        settings = train.Settings(**own)
        per_epoch = steps * batch_size if steps else len(rows.train)

        def batches(epoch: int) -> Iterable[tuple[Any, torch.Tensor]]:
            order = samplers.order(
                rows.truth[rows.train], count=per_epoch, balanced=balanced, seed=self._seed, epoch=epoch
            )
            generator = torch.Generator().manual_seed(self._seed * 1009 + epoch)
            chosen = rows.train[np.asarray(order)]
            for start in range(0, len(chosen), batch_size):
                part = chosen[start : start + batch_size]
                items = [transform(item, generator) for item in self._items(part)]
                batch = dict(self.adapter.collate(items))
                if weights is not None:
                    batch["class_weights"] = weights
                yield batch, torch.as_tensor(rows.truth[part])

        def validate() -> dict[str, float]:
            return {} if choose is None else {self._select: choose(self.score(rows.val))}

        history = train.fit(
            self.adapter,
            batches,
            math.ceil(per_epoch / batch_size),
            validate,
            settings,
            select=self._select,
            better=self._better,
            seed=self._seed,
            device=around.device,
            folder=around.checkpoint / f"stage{number}",
            say=around.console.say,
        )
        return {"settings": {**given}, **history.as_record()}

    def score(self, rows: np.ndarray) -> np.ndarray:
        self.adapter.module.eval()
        size = 8
        parts = [
            self.adapter.predict(self.adapter.collate(list(self._items(rows[s : s + size]))))
            for s in range(0, len(rows), size)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, 1))

    def _items(self, rows: np.ndarray) -> Iterator[Any]:
        dataset = loading.PreparedCases([self._keyed[r] for r in rows], self.adapter.preparer, self._arrays)
        return iter(DataLoader(dataset, batch_size=None, collate_fn=lambda item: item))


class Prevalence:
    """Every case gets the share of positives among the training cases."""

    probabilities = True

    def read(self, cases: Sequence[Case], around: RunContext) -> tuple[list[Case], list[tuple[str, str]]]:
        return list(cases), []

    def fit(self, rows: FoldRows, choose: Choose | None) -> dict[str, Any]:
        self._share = baselines.prevalence(rows.truth[rows.train])
        return {"choice": {"share": self._share.tolist()}}

    def score(self, rows: np.ndarray) -> np.ndarray:
        return np.repeat(self._share[None], len(rows), axis=0)


class ProbeBaseline:
    """A probe on what is not a foundation model: voxel statistics, columns of the table, or columns beside features."""

    probabilities = True

    def __init__(
        self,
        preparer: baselines.Intensity | None,
        columns: Sequence[str],
        beside: FeatureLearner | None,
        kind: str,
        where: str,
    ) -> None:
        self._preparer, self._columns, self._beside, self._kind, self._where = preparer, columns, beside, kind, where
        self._cases: list[Case] = []
        self._fixed: list[np.ndarray] = []

    def read(self, cases: Sequence[Case], around: RunContext) -> tuple[list[Case], list[tuple[str, str]]]:
        self._cases, left_out = list(cases), []
        if self._preparer is not None:
            found = features.compute(
                cases,
                self._preparer,
                self._preparer.key(),
                lambda items: torch.from_numpy(np.stack(items)),
                around,
                "histograms",
            )
            self._cases, left_out, self._fixed = found.cases, found.left_out, [found.values]
        if self._beside is not None:
            self._cases, left_out = self._beside.read(cases, around)
            self._fixed = [self._beside.pooled()]
        return self._cases, left_out

    def fit(self, rows: FoldRows, choose: Choose | None) -> dict[str, Any]:
        columns = baselines.attributes(self._cases, self._columns, rows.train, self._where)
        self._values = torch.as_tensor(np.concatenate([*self._fixed, columns], axis=1), dtype=torch.float32)
        truth = torch.as_tensor(rows.truth)
        self._probe, record = probe.sweep(
            (self._values[rows.train], truth[rows.train]),
            (self._values[rows.val], truth[rows.val]),
            choose,
            kind=self._kind,
        )
        return {"choice": record}

    def score(self, rows: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return probe.probabilities(self._probe(self._values[rows]), self._kind).double().numpy()
