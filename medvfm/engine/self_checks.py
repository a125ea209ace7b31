"""A model that is asked again about mirrored images, so that its answers can be doubted without their truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from medvfm.core.array import Array
from medvfm.core.capabilities import PromptedAdapter, SureAdapter
from medvfm.core.item import PIXELS, Item
from medvfm.core.protocols import Adapter, Answer, Record
from medvfm.core.result_row import as_records
from medvfm.core.task_capabilities import SelfCheckingTask
from medvfm.engine.evaluate import Judging
from medvfm.engine.fitting import Collected, FittedFold
from medvfm.engine.plan import Plan

CONFIDENCE = "confidence"


def signs(task: SelfCheckingTask, adapter: Adapter, item: Item, answer: Answer) -> Mapping[str, Array]:
    """Sign of quality to (T,) numbers, from the answer to an item and what the model says to its mirrored image."""
    with torch.inference_mode():
        if isinstance(adapter, SureAdapter):
            again, sure = adapter.answer_surely(task.mirrored(item))
            return {**task.signs(answer, again, item), CONFIDENCE: sure}
        return task.signs(answer, adapter.answer([task.mirrored(item)])[0], item)


@dataclass(frozen=True, eq=False)
class SelfChecks:
    """Signs of quality of the answers to validation and test cases, in the order in which they are given."""

    task: SelfCheckingTask
    signs: dict[str, list[Mapping[str, Array]]] = field(default_factory=lambda: {"val": [], "test": []})

    @classmethod
    def of(cls, plan: Plan, fitted: FittedFold) -> SelfChecks | None:
        """None where the recipe wants none, for a task without, and for prompts, which lie where the image showed
        something."""
        adapter = fitted.learner.adapter
        recipe = plan.recipe
        prompted = isinstance(adapter, PromptedAdapter) and recipe.adapter.prompts is not None
        left = adapter.oracle is not None or prompted or not recipe.evaluate.self_check
        if left or not isinstance(plan.task, SelfCheckingTask):
            return None
        return cls(plan.task)

    def watched(self, fold: FittedFold, split: str, answers: Iterator[Answer]) -> Iterator[Answer]:
        """The answers as they are; signs are kept on the way."""
        for row, answer in zip(fold.rows[split], answers, strict=True):
            self.signs[split].append(self._signs(fold, int(row), answer))
            yield answer

    def _signs(self, fold: FittedFold, row: int, answer: Answer) -> Mapping[str, Array]:
        learner = fold.learner
        item = learner.store.item(row, for_training=False, with_truth=False)
        if PIXELS not in item.arrays:
            return {}
        learner.adapter.module.eval()
        return signs(self.task, learner.adapter, item, answer)

    def judged(self, judging: Judging, found: Collected) -> tuple[Collected, Record]:
        """Predictions with what is expected of each case, and what run.json says: rows, and how they were fitted."""
        if not all(self.signs["test"]) or not self.signs["test"]:
            return found, {}
        told = self.task.self_checked(found.val, found.test, self._stacked("val"), self._stacked("test"))
        rows = [
            row
            for rival, estimands in told.estimands
            for row in as_records(judging.as_rows(estimands, found.test, baseline=rival))
        ]
        return replace(found, test=told.test), {"rows": rows, **told.record}

    def _stacked(self, split: str) -> dict[str, Array]:
        listed = self.signs[split]
        names = listed[0] if listed else {}
        return {name: np.stack([one[name] for one in listed]) for name in names}
