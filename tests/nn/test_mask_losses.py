"""Losses of masks against their formulas, pixel by pixel."""

from __future__ import annotations

import math

import pytest
import torch

from medvfm.nn import mask_losses


@pytest.fixture
def masks():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 5, 4, generator=generator) * 3, (torch.rand(3, 5, 4, generator=generator) > 0.6).float()


def by_hand(logits, truth, pixel):
    return [[pixel(1 / (1 + math.exp(-x)), y) for x, y in zip(a, b, strict=True)]
            for a, b in zip(logits.flatten(1).tolist(), truth.flatten(1).tolist(), strict=True)]  # fmt: skip


def test_cross_entropy_and_focal_are_their_formulas(masks):
    logits, truth = masks
    values = by_hand(logits, truth, lambda p, y: -math.log(p if y else 1 - p))
    assert mask_losses.cross_entropy(logits, truth).tolist() == pytest.approx([sum(v) / 20 for v in values], rel=1e-5)
    assert mask_losses.cross_entropy(logits, truth, per="object").tolist() == pytest.approx(
        [sum(v) / max(16, float(t.sum())) for v, t in zip(values, truth, strict=True)], rel=1e-5
    )

    def focal(p, y):
        right = p if y else 1 - p
        return -(0.25 if y else 0.75) * (1 - right) ** 2 * math.log(right)

    assert mask_losses.focal(logits, truth).tolist() == pytest.approx(
        [sum(v) / 20 for v in by_hand(logits, truth, focal)], rel=1e-5
    )


def test_dice_goes_from_nothing_right_to_all_right(masks):
    _, truth = masks
    assert mask_losses.dice((truth - 0.5) * 100, truth).max() < 1e-4
    assert mask_losses.dice((0.5 - truth) * 100, truth).min() > 0.9
    empty = torch.zeros(1, 5, 4)
    assert mask_losses.dice(empty - 100, empty).item() == pytest.approx(0, abs=1e-6)


def test_iou_is_that_of_sets(masks):
    logits, truth = masks
    for found, a, b in zip(mask_losses.iou(logits, truth), logits > 0, truth > 0.5, strict=True):
        ours, theirs = ({tuple(p) for p in m.nonzero().tolist()} for m in (a, b))
        assert found.item() == pytest.approx(len(ours & theirs) / len(ours | theirs))


def test_losses_pull_logits_towards_the_truth(masks):
    logits, truth = masks
    for loss in (mask_losses.dice, mask_losses.cross_entropy, mask_losses.focal):
        moving = logits.clone().requires_grad_()
        loss(moving, truth).sum().backward()
        assert ((moving.grad < 0) == (truth > 0.5)).float().mean() > 0.99
