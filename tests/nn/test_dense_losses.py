"""Losses of label maps beside torch's own and closed forms; the border is ignored; decoders reach every pixel."""

from __future__ import annotations

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
