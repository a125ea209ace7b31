"""The learner that trains weights by the loop, in one stage or several; the last may be of any kind."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch

from medvfm.core.array import Array
from medvfm.core.capabilities import (
    Choose,
    Embedded,
    FeatureAdapter,
    SettlingAdapter,
    StartingAdapter,
    TowerAdapter,
)
from medvfm.core.case import Case
from medvfm.core.errors import DataError, RecipeError
from medvfm.core.metric_spec import MetricSpec
from medvfm.core.protocols import Adapter, Answer, Augment, Batch, Record, Task, TruthReader
from medvfm.engine import features, train
from medvfm.engine.answering import Change, answers
from medvfm.engine.case_store import CaseStore
from medvfm.engine.context import FoldRows, RunContext
from medvfm.engine.plan import LOSS, StagePlan
from medvfm.engine.towers import TowerOutputs
from medvfm.engine.training_examples import Examples, loaded, rng_of, start_from_towers, training_item, unchanged
from medvfm.nn import augment, losses, state

START, FINAL = "start", "final"


class LoopLearner:
    """An adapter whose weights go through the training loop, in one stage or several; the last may be of any kind.

    truth_of_stage  reads the truth of a stage's own data, by the stage's number
    select          what is selected by on validation cases: a metric, or the training loss
    """

    def __init__(
        self,
        adapter: Adapter,
        task: Task,
        truth: TruthReader | None,
        stages: Sequence[StagePlan],
        select: MetricSpec,
        seed: int,
    ) -> None:
        """The adapter stands ready for the first stage."""
        self.adapter, self._task, self._truth, self._stages = adapter, task, truth, stages
        self._select, self._seed = select, seed
        self.store = CaseStore(adapter.preparer, truth, task)
        self.stage_stores: dict[int, CaseStore] = {}
        self._context: RunContext | None = None
        self._moments: dict[str, dict[str, torch.Tensor]] = {}
        self.towers: TowerOutputs | None = None  # of the stage that is trained, or was trained last

    def read(self, cases: Sequence[Case], context: RunContext) -> list[tuple[str, str]]:
        self._context = context
        self.adapter.module.to(context.device)
        left_out = self.store.read(cases, context)
        if isinstance(self.adapter, SettlingAdapter) and self.store.cases:
            said = self.adapter.settle(self.store.item(0, for_training=False, with_truth=False))
            self.adapter.module.to(context.device)
            if said:
                context.console.say(f"  {said}")
        for number, stage in enumerate(self._stages):
            if stage.table is not None:
                self.stage_stores[number] = self._read_stage(stage, context)
        return left_out

    def _read_stage(self, stage: StagePlan, context: RunContext) -> CaseStore:
        """The cases of a stage's own data; those that cannot be read are said and left out."""
        assert stage.table is not None and stage.card is not None
        table = stage.table()
        reader = self._task.truth_reader(stage.card) if stage.method.needs_truth else None
        preparer = self.adapter.preparer
        own = replace(preparer, windows=stage.card.windows, read=stage.card.reading)  # type: ignore[type-var]
        store = CaseStore(own, reader, self._task)
        usable = [c for c in table.cases if not stage.method.needs_truth or self._task.has_truth(c)]
        left_out = store.read(usable, context, f"cases of stage {stage.method_name} read")
        context.console.say(f"  stage {stage.method_name}: {len(store.cases)} cases of {stage.card.name}")
        for case_id, reason in left_out[:5]:
            context.console.say(f"  left out of stage {stage.method_name}: {case_id}: {reason}")
        if not store.cases:
            raise DataError(f"stage {stage.method_name}: no case of {stage.card.name} can be used")
        return store

    def leave_out_of_stages(self, case_ids: Mapping[int, set[str]]) -> None:
        """Cases of a stage's own data that must not train it: they occur in validation or test."""
        for number, out in case_ids.items():
            store = self.stage_stores[number]
            store.use([(case, key) for case, key in store.keyed if case.case_id not in out])

    def fit(self, rows: FoldRows, choose: Choose | None, moments: frozenset[str] = frozenset()) -> Record:
        histories, choice = [], {}
        if isinstance(self.adapter, StartingAdapter):
            self.adapter.start_from(self.store.item(int(r), for_training=True, with_truth=False) for r in rows.train)
        start_from_towers(self.adapter, self._towers_of(self._stages[0]), self.store, rows.train, self._context)
        self._remember(START, moments)
        for number, stage in enumerate(self._stages):
            if number:
                self.adapter.start_stage(stage.method_name, stage.options)
                self._complete_moments()
            self.towers = self._towers_of(stage)
            if stage.method.fits == "weights":
                histories.append(self._train(number, stage, rows, choose))
            elif stage.method.fits == "features":
                choice = {"choice": self._fit_head(rows, choose)}
            self._remember(f"stage {number + 1}", moments)
        unknown = moments - {FINAL} - set(self._moments)
        if unknown:
            known = [START, *(f"stage {n + 1}" for n in range(len(self._stages))), FINAL]
            raise RecipeError(f"no moment {sorted(unknown)[0]!r} of training; one of: {', '.join(known)}")
        if not histories:
            return choice
        best = histories[-1]
        return {"training": best if len(histories) == 1 else {**best, "stages": histories}, **choice}

    def _remember(self, moment: str, moments: frozenset[str]) -> None:
        if moment in moments:
            self._moments[moment] = state.trained(self.adapter.module)

    def _complete_moments(self) -> None:
        """What a later stage trains was, at every earlier moment, as it is before that stage."""
        if self._moments:
            now = state.trained(self.adapter.module)
            self._moments = {moment: {**now, **then} for moment, then in self._moments.items()}

    @contextmanager
    def at(self, moment: str) -> Iterator[None]:
        """Weights of an earlier stage go back where the last stage has tensors of the same name, and then those that
        were there, of every stage."""
        if moment == FINAL:
            yield
            return
        known = self.adapter.module.state_dict()
        then = {n: w for n, w in self._moments[moment].items() if n in known}
        now = {n: known[n].detach().to("cpu", copy=True) for n in then} | state.trained(self.adapter.module)
        state.put_trained(self.adapter.module, then)
        try:
            yield
        finally:
            state.put_trained(self.adapter.module, now)

    def answer(
        self, rows: Array, variant: str | None = None, change: Change | None = None, seen: Array | None = None
    ) -> Iterator[Answer]:
        yield from answers(self.adapter, self.store, rows, variant, change, self.towers, seen)

    def _fit_head(self, rows: FoldRows, choose: Choose | None) -> Record:
        """A last stage that fits a head on features of weights that earlier stages trained: never from a cache."""
        adapter = self.adapter
        assert isinstance(adapter, FeatureAdapter)
        adapter.module.eval()
        embedded = []
        for part in (rows.train, rows.val):
            items = [self.store.item(int(row), for_training=False, with_truth=False) for row in part]
            batches = [items[s : s + features.BATCH_CASES] for s in range(0, len(items), features.BATCH_CASES)]
            with torch.inference_mode():
                values = [adapter.embed(adapter.collate(batch)).float().cpu().numpy() for batch in batches]
            joined = np.concatenate(values) if values else np.zeros((0, 1), np.float32)
            embedded.append(Embedded(joined, [self.store.keyed[int(row)][0] for row in part]))
        return adapter.fit_features(embedded[0], embedded[1], choose, self._seed)

    def _train(self, number: int, stage: StagePlan, rows: FoldRows, choose: Choose | None) -> Record:
        assert self._context is not None
        context, own = self._context, dict(stage.settings)
        store = self.stage_stores.get(number, self.store)
        train_rows = np.arange(len(store.cases)) if number in self.stage_stores else rows.train
        batch_size, steps = own.pop("batch_size"), own.pop("steps", None)
        assert isinstance(batch_size, int) and (steps is None or isinstance(steps, int))
        labels = self._task.labels([store.keyed[int(r)][0] for r in train_rows]) if stage.method.needs_truth else None
        balanced = bool(own.pop("balanced_sampling", False))
        weights = None
        if own.pop("class_weights", "none") == "balanced" and labels is not None:
            weights = losses.balanced_weights(torch.as_tensor(labels), self._task.kind)
        transform = augment.build(own.pop("augment", None) or ())  # type: ignore[arg-type]
        if self.towers is not None:
            self.towers.fill(store, context)
        select = self._select if stage.method.needs_truth else LOSS  # what needs no truth answers no task yet
        examples = Examples(self.adapter, store, train_rows, transform, self.towers, labels, balanced)
        per_epoch = steps * batch_size if steps else len(train_rows)
        an_epoch, epochs = math.ceil(per_epoch / batch_size), own["epochs"]

        def batches(epoch: int) -> Iterable[tuple[Batch, int]]:
            examples.plan(per_epoch, self._seed, epoch, batch_size)
            drawn = loaded(examples, batch_size, self.adapter, context)
            for batch, count in context.console.track(drawn, an_epoch, f"epoch {epoch + 1}/{epochs}", done=False):
                yield (batch if weights is None else {**batch, "class_weights": weights}), count

        def validate() -> dict[str, float]:
            if select.name == LOSS.name:
                return {LOSS.name: self._validation_loss(rows.val, batch_size)} if len(rows.val) else {}
            if choose is None:
                return {}
            answered = context.console.track(self.answer(rows.val), len(rows.val), "validation cases", done=False)
            return {select.name: choose(list(answered))}

        history = train.fit(
            self.adapter,
            batches,
            an_epoch,
            validate,
            train.Settings(**own),  # type: ignore[arg-type]
            select=select.name,
            better=select.metric.better,
            seed=self._seed,
            device=context.device,
            folder=context.checkpoint / f"stage{number}",
            say=context.console.say,
        )
        return {"settings": {**stage.settings}, **history.as_record()}

    def _validation_loss(self, rows: Array, batch_size: int) -> float:
        """The mean loss of validation cases; its randomness depends on the seed and the case_id alone."""
        self.adapter.module.eval()
        total, count = 0.0, 0
        with torch.no_grad(), torch.random.fork_rng():
            for start in range(0, len(rows), batch_size):
                part = rows[start : start + batch_size]
                items = [training_item(self.store, int(row), self.towers) for row in part]
                same: Augment = unchanged  # type: ignore[assignment]
                examples = [self.adapter.example(i, rng_of(self._seed, i.case_id), same) for i in items]
                torch.manual_seed(int(rng_of(self._seed, items[0].case.case_id).integers(2**62)))
                total += float(self.adapter.loss(self.adapter.collate(examples))) * len(items)
                count += len(items)
        return total / max(count, 1)

    def _towers_of(self, stage: StagePlan) -> TowerOutputs | None:
        """Outputs of the towers that the method leaves frozen; None of a model that is taken as a whole."""
        if not stage.method.frozen or not isinstance(self.adapter, TowerAdapter):
            return None
        return TowerOutputs(self.adapter, stage.method.frozen)
