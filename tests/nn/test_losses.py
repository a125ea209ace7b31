"""Losses with unknown labels, ordinal probabilities, pooling, and the order of cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from medvfm.nn import heads, losses, samplers

NAN = float("nan")


def test_unknown_labels_do_not_count():
    logits = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    truth = torch.tensor([[1, NAN], [0, 1.0], [NAN, NAN], [1, 0]])
    known = ~truth.isnan()
    wanted = functional.binary_cross_entropy_with_logits(logits[known], truth[known])
    assert losses.classification(logits, truth, "multi_label") == pytest.approx(wanted.item())
    classes = torch.tensor([[1.0, 0], [0, 1], [NAN, NAN], [0, 1]])
    wanted = functional.cross_entropy(logits[[0, 1, 3]], torch.tensor([0, 1, 1]))
    assert losses.classification(logits, classes, "multi_class") == pytest.approx(wanted.item())


def test_balanced_weights_as_torch_weighs_classes():
    truth = torch.eye(3)[torch.tensor([0, 0, 0, 0, 1, 1, 2])]
    logits = torch.randn(7, 3, generator=torch.Generator().manual_seed(1))
    weights = losses.balanced_weights(truth, "multi_class")
    assert weights.tolist() == pytest.approx([7 / 12, 7 / 6, 7 / 3])
    wanted = functional.cross_entropy(logits, truth.argmax(1), weight=weights.float())
    assert losses.classification(logits, truth, "multi_class", weights) == pytest.approx(wanted.item(), rel=1e-5)


def test_ordinal_heads_have_a_step_fewer_and_probabilities_that_sum_to_one():
    assert losses.outputs("ordinal", 4) == 3
    logits = torch.randn(50, 3, generator=torch.Generator().manual_seed(2))
    found = losses.probabilities(logits, "ordinal")
    assert found.shape == (50, 4)
    assert torch.allclose(found.sum(1), torch.ones(50))
    assert (found >= 0).all()
    sure = torch.tensor([[9.0, 9.0, -9.0]])  # above the first two steps: the third class
    assert losses.probabilities(sure, "ordinal").argmax() == 2
    right, wrong = (losses.classification(sure, torch.eye(4)[[c]], "ordinal") for c in (2, 0))
    assert right < 0.01 < wrong


@pytest.mark.parametrize("how", ["mean", "max", "attention"])
def test_pooling_sees_no_padding(how):
    torch.manual_seed(0)
    pool = heads.SlicePool(how, 6)
    vectors = torch.randn(2, 5, 6)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]).bool()
    alone = pool(vectors[:1, :3], mask[:1, :3])
    vectors[0, 3:] = 1e6
    assert torch.allclose(pool(vectors, mask)[:1], alone, atol=1e-5)
    if how != "attention":
        assert torch.allclose(alone[0], vectors[0, :3].mean(0) if how == "mean" else vectors[0, :3].amax(0), atol=1e-6)


def test_the_order_of_cases_is_a_function_of_seed_and_epoch():
    truth = np.array([[1.0]] * 5 + [[0.0]] * 45)
    one = samplers.order(50, None, count=50, seeds=(1, 3))
    assert sorted(one) == list(range(50))
    assert np.array_equal(one, samplers.order(50, None, count=50, seeds=(1, 3)))
    assert not np.array_equal(one, samplers.order(50, None, count=50, seeds=(1, 4)))
    more = samplers.order(50, None, count=120, seeds=(1, 3))
    assert np.bincount(more).tolist().count(3) == 20 and np.bincount(more).min() == 2  # all twice before any thrice
    even = samplers.order(50, truth, count=400, seeds=(1, 0))
    assert abs((truth[even, 0] == 1).mean() - 0.5) < 0.01
