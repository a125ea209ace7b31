"""Losses of label maps beside torch's own and closed forms, those of objects beside their formulas pixel by pixel; the
border is ignored; decoders reach every pixel."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from medvfm.nn import decoders, dense_losses

IGNORED = dense_losses.IGNORED


def drawn(kinds: int = 3):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, kinds, 6, 5, generator=generator)
    labels = torch.randint(0, kinds, (2, 6, 5), generator=generator)
    labels[:, -1] = IGNORED
    return logits, labels


def test_cross_entropy_is_torchs():
    logits, labels = drawn()
    wanted = functional.cross_entropy(logits, labels, ignore_index=IGNORED)
    assert dense_losses.exclusive(logits, labels, "ce") == pytest.approx(wanted.item(), abs=1e-6)
    truth = (labels[:, None] == torch.arange(3)[None, :, None, None]).long()
    truth[:, :, -1] = IGNORED
    wanted = functional.binary_cross_entropy_with_logits(logits[:, :, :-1], truth[:, :, :-1].float())
    assert dense_losses.overlapping(logits, truth, "ce") == pytest.approx(wanted.item(), abs=1e-6)


def test_soft_dice_by_hand():
    """One structure: shares .8 and .4 in it, .2 outside: 2 (.8 + .4) + 1 over (1.4 + 2) + 1."""
    share = torch.tensor([0.8, 0.4, 0.2, 0.9]).view(1, 1, 2, 2)
    truth = torch.tensor([1, 1, 0, 0]).view(1, 1, 2, 2)
    known = torch.tensor([True, True, True, False]).view(1, 1, 2, 2)
    assert dense_losses.soft_dice(share, truth, known).item() == pytest.approx(1 - 3.4 / 4.4, abs=1e-6)


def test_a_structure_that_the_batch_lacks_is_left_to_the_cross_entropy():
    logits, labels = drawn()
    labels[labels == 2] = 0
    alone = dense_losses.exclusive(logits, labels, "dice")
    shares = logits.softmax(1)[:, 1:2]
    known = (labels != IGNORED)[:, None]
    assert alone == pytest.approx(dense_losses.soft_dice(shares, (labels == 1)[:, None], known).item(), abs=1e-6)


@pytest.mark.parametrize("name", dense_losses.NAMES)
def test_right_logits_cost_nothing_and_the_border_never(name):
    _, labels = drawn()
    right = 30.0 * functional.one_hot(labels.where(labels != IGNORED, 0), 3).movedim(-1, 1).float()
    assert dense_losses.exclusive(right, labels, name).item() < 0.02
    other = right.clone()
    other[:, :, -1] = torch.randn(2, 3, 5)
    assert dense_losses.exclusive(other, labels, name) == dense_losses.exclusive(right, labels, name)
    assert dense_losses.exclusive(-right, labels, name).item() > 0.5


@pytest.mark.parametrize("name", decoders.NAMES)
@pytest.mark.parametrize("sizes", [[(16, 16), (8, 8), (4, 4), (2, 2)], [(5, 5)] * 4])
def test_decoders_give_logits_for_every_pixel_and_every_weight_learns(name, sizes):
    decoder = decoders.build(name, [8, 12, 16, 20], 3, 3)
    levels = [torch.randn(2, width, *size) for width, size in zip([8, 12, 16, 20], sizes, strict=True)]
    logits = decoder(levels, torch.randn(2, 3, 70, 61))
    assert logits.shape == (2, 3, 70, 61)
    (logits**2).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in decoder.parameters())


@pytest.fixture
def masks():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 5, 4, generator=generator) * 3, (torch.rand(3, 5, 4, generator=generator) > 0.6).float()


def by_hand(logits, truth, pixel):
    return [[pixel(1 / (1 + math.exp(-x)), y) for x, y in zip(a, b, strict=True)]
            for a, b in zip(logits.flatten(1).tolist(), truth.flatten(1).tolist(), strict=True)]  # fmt: skip


def test_cross_entropy_and_focal_of_objects_are_their_formulas(masks):
    logits, truth = masks
    values = by_hand(logits, truth, lambda p, y: -math.log(p if y else 1 - p))
    assert dense_losses.object_cross_entropy(logits, truth).tolist() == pytest.approx(
        [sum(v) / 20 for v in values], rel=1e-5
    )
    assert dense_losses.object_cross_entropy(logits, truth, per="object").tolist() == pytest.approx(
        [sum(v) / max(16, float(t.sum())) for v, t in zip(values, truth, strict=True)], rel=1e-5
    )

    def focal(p, y):
        right = p if y else 1 - p
        return -(0.25 if y else 0.75) * (1 - right) ** 2 * math.log(right)

    assert dense_losses.object_focal(logits, truth).tolist() == pytest.approx(
        [sum(v) / 20 for v in by_hand(logits, truth, focal)], rel=1e-5
    )


def test_dice_of_objects_goes_from_nothing_right_to_all_right(masks):
    _, truth = masks
    assert dense_losses.object_dice((truth - 0.5) * 100, truth).max() < 1e-4
    assert dense_losses.object_dice((0.5 - truth) * 100, truth).min() > 0.9
    empty = torch.zeros(1, 5, 4)
    assert dense_losses.object_dice(empty - 100, empty).item() == pytest.approx(0, abs=1e-6)


def test_iou_of_objects_is_that_of_sets(masks):
    logits, truth = masks
    for found, a, b in zip(dense_losses.object_iou(logits, truth), logits > 0, truth > 0.5, strict=True):
        ours, theirs = ({tuple(p) for p in m.nonzero().tolist()} for m in (a, b))
        assert found.item() == pytest.approx(len(ours & theirs) / len(ours | theirs))


def test_losses_pull_logits_towards_the_truth(masks):
    logits, truth = masks
    for loss in (dense_losses.object_dice, dense_losses.object_cross_entropy, dense_losses.object_focal):
        moving = logits.clone().requires_grad_()
        loss(moving, truth).sum().backward()
        assert ((moving.grad < 0) == (truth > 0.5)).float().mean() > 0.99
