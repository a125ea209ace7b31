"""A fitted model asked about the images of other cases: what it answers without what it should look at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from medvfm.core.array import Array
from medvfm.core.protocols import Answer, Exchange, Predictions
from medvfm.engine.fitting import Answering, FittedFold
from medvfm.engine.loop_learner import FINAL


class ExchangedImages:
    """Answers to test cases, each with the images of another, drawn anew for every number of a draw.

    A pair of images and question that was answered before, by the model itself or in an earlier draw, is not asked
    again: where every image is asked the same questions, nothing is.
    """

    def __init__(self, exchange: Exchange, at: str, fitted: Sequence[FittedFold], test: Predictions, seed: int) -> None:
        self._exchange, self._at, self._fitted, self._seed = exchange, at, fitted, seed
        self._known: list[dict[tuple[str, str], Answer]] = [{} for _ in fitted]
        own = iter(exchange.given(test) if at == FINAL else ())
        for known, fold in zip(self._known, fitted, strict=True):
            rows = fold.rows["test"]
            known.update(zip(self._pairs(fold, rows, rows), own, strict=False))

    def answering(self, draw: int) -> Answering:
        def answers(fold: FittedFold, rows: Array) -> Iterator[Answer]:
            number = next(n for n, other in enumerate(self._fitted) if other is fold)
            known = self._known[number]
            cases = [fold.learner.store.keyed[int(row)][0] for row in rows]
            seen = rows[self._exchange.places(cases, np.random.default_rng([self._seed, draw, 3, number]))]
            pairs = self._pairs(fold, rows, seen)
            new = np.array([place for place, pair in enumerate(pairs) if pair not in known], dtype=int)
            with fold.learner.at(self._at):
                found = fold.learner.answer(rows[new], seen=seen[new])
                known.update({pairs[int(place)]: answer for place, answer in zip(new, found, strict=True)})
            yield from (known[pair] for pair in pairs)

        return answers

    def _pairs(self, fold: FittedFold, rows: Array, seen: Array) -> list[tuple[str, str]]:
        """What is asked, and the content of the images."""
        keyed, hide = fold.learner.store.keyed, fold.learner.store.task.hide
        images = [keyed[int(row)] for row in seen]
        return [
            (self._exchange.asked(hide(keyed[int(row)][0])), key or repr(case.files) if case.files else case.case_id)
            for row, (case, key) in zip(rows, images, strict=True)
        ]
