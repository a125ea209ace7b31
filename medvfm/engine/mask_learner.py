"""A segmenter that is trained and then draws masks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from medvfm.core.case import Case
from medvfm.engine import postprocess, train
from medvfm.engine.context import RunContext
from medvfm.engine.mask_store import MaskStore
from medvfm.io.dataset.truth_masks import TruthReader
from medvfm.nn import augment

Score = Callable[[Sequence[int], Callable[[int], np.ndarray]], float]  # rows and who masks them, to what is selected by


class MaskLearner:
    """An adapter of the task segmentation: `read` cases, `fit` on rows of them, `segment` a row.

    stages: method and its settings, defaults filled in; a method that trains nothing has none.
    """

    def __init__(
        self,
        adapter: Any,
        truth: TruthReader,
        stages: Sequence[tuple[str, Mapping[str, Any]]],
        select: str,
        better: str,
        seed: int,
        after: Sequence[postprocess.Step] = (),
    ) -> None:
        """after: what is done to each mask that is drawn, where the recipe asks for it."""
        self._after, self._kind = after, truth.kind
        self.adapter, self.store = adapter, MaskStore(adapter.preparer, truth)
        self._stages, self._select, self._better, self._seed = stages, select, better, seed
        self._around: RunContext | None = None

    @property
    def oracle(self) -> str | None:
        """Which truth of a case its prompts take; None: it sees none."""
        return self.adapter.oracle

    def read(self, cases: Sequence[Case], around: RunContext) -> tuple[list[Case], list[tuple[str, str]]]:
        self._around = around
        self.adapter.module.to(around.device)
        return self.store.read(cases, around)

    def marks(self, around: RunContext) -> list[str | None]:
        """`leakage.fingerprint` of each case that was read."""
        return self.store.marks(around)

    def segment(self, row: int, variant: str | None = None) -> np.ndarray:
        """The label map of a row, on the grid of its image."""
        self.adapter.module.eval()
        item = self.store.item(row, with_truth=self.oracle is not None)
        with torch.inference_mode():
            drawn = self.adapter.segment(item, variant)
        return postprocess.apply(drawn, self._after, self._kind, self.store.place(row))

    def fit(self, train_rows: np.ndarray, val_rows: np.ndarray, score: Score | None) -> dict[str, Any]:
        """Train on rows, select on rows; `score` is None without validation cases. What run.json says about it."""
        histories = []
        for number, (method, settings) in enumerate(self._stages):
            if number:
                self.adapter.restage(method)
            histories.append(self._stage(number, settings, train_rows, val_rows, score))
        if not histories:
            return {}
        best = histories[-1]
        return {"training": best if len(histories) == 1 else {**best, "stages": histories}}

    def _stage(
        self, number: int, given: Mapping[str, Any], train_rows: np.ndarray, val_rows: np.ndarray, score: Score | None
    ) -> dict[str, Any]:
        assert self._around is not None
        around, own = self._around, dict(given)
        batch_size, steps = own.pop("batch_size"), own.pop("steps", None)
        draws = _Draws(self.adapter, self.store, train_rows, augment.build_paired(own.pop("augment", None) or ()))
        per_epoch = steps * batch_size if steps else len(train_rows)

        def batches(epoch: int) -> Iterable[tuple[Any, torch.Tensor]]:
            draws.plan(per_epoch, self._seed, epoch)
            yield from _loaded(draws, batch_size, self.adapter.collate, around)

        def validate() -> dict[str, float]:
            return {} if score is None else {self._select: score(val_rows.tolist(), self.segment)}

        history = train.fit(
            self.adapter,
            batches,
            math.ceil(per_epoch / batch_size),
            validate,
            train.Settings(**own),
            select=self._select,
            better=self._better,
            seed=self._seed,
            device=around.device,
            folder=around.checkpoint / f"stage{number}",
            say=around.console.say,
        )
        return {"settings": {**given}, **history.as_record()}


class _Draws(Dataset):
    """Training examples of an epoch: each is drawn from (seed, epoch, place in the epoch), in any process."""

    def __init__(self, adapter: Any, store: MaskStore, rows: np.ndarray, transform: augment.Paired) -> None:
        self._adapter, self._store, self._cases, self._transform = adapter, store, rows, transform
        self._rows = np.zeros(0, int)
        self._seeds = (0, 0)

    def plan(self, count: int, seed: int, epoch: int) -> None:
        """Every case once before any case twice."""
        rng = np.random.default_rng([seed, epoch, 1])
        rounds = [rng.permutation(self._cases) for _ in range(-(-count // len(self._cases)))]
        self._rows, self._seeds = np.concatenate(rounds)[:count], (seed, epoch)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: int) -> Any:
        rng = np.random.default_rng([*self._seeds, place])
        item = self._store.item(int(self._rows[place]), with_truth=True)
        return self._adapter.draw(item, rng, lambda pixels, labels: self._transform(pixels, labels, rng))


def _loaded(
    draws: _Draws, batch_size: int, collate: Callable[[list[Any]], Any], around: RunContext
) -> Iterator[tuple[Any, torch.Tensor]]:
    """Batches, with a stand-in for the truth, which a mask's batch holds itself; workers draw beside a GPU."""
    beside = 0 if around.device == "cpu" else around.workers
    loader = DataLoader(draws, batch_size=batch_size, collate_fn=list, num_workers=beside)
    for examples in loader:
        yield collate(examples), torch.zeros(len(examples))
