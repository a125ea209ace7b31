"""Answers of several models are taken in turn, and none of them leaves inference mode on for whoever trains next."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from medvfm.engine import answering


class Answering:
    """An adapter that answers lazily, and notes in which mode it did."""

    answers_at_once, oracle = 2, None

    def __init__(self) -> None:
        self.module, self.modes = nn.Identity(), list[bool]()

    def answer(self, items, variant):
        for item in items:
            self.modes.append(torch.is_inference_mode_enabled())
            yield item


def test_inference_mode_ends_before_an_answer_is_handed_over():
    store = SimpleNamespace(item=lambda row, **_: row)
    models = [Answering(), Answering()]
    each = [answering.answers(model, store, np.arange(5)) for model in models]
    taken = []
    for answers in zip(*each, strict=True):
        assert not torch.is_inference_mode_enabled() and torch.is_grad_enabled()
        taken.append(answers)
    assert taken == [(n, n) for n in range(5)]
    assert [model.modes for model in models] == [[True] * 5] * 2
    unfinished = answering.answers(Answering(), store, np.arange(5))
    next(unfinished)
    assert torch.nn.functional.linear(torch.ones(1, 1), torch.ones(1, 1, requires_grad=True)).requires_grad
