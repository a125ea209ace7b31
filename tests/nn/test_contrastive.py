"""Losses of pairs beside open_clip's, a slow count and closed forms; batches in chunks beside plain ones."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from medvfm.nn import contrastive


def unit(n, width=6, seed=0):
    return functional.normalize(torch.randn(n, width, generator=torch.Generator().manual_seed(seed)), dim=1)


@pytest.fixture
def pairs():
    return unit(7, seed=1), unit(7, seed=2), torch.tensor(9.0)


def test_without_duplicates_the_losses_are_those_of_open_clip(pairs):
    from open_clip.loss import ClipLoss, SigLipLoss

    images, texts, scale = pairs
    right, bias = torch.eye(7, dtype=torch.bool), torch.tensor(-3.0)
    mine = contrastive.clip_loss(images, texts, scale, right)
    torch.testing.assert_close(mine, ClipLoss()(images, texts, scale))
    mine = contrastive.siglip_loss(images, texts, scale, bias, right)
    torch.testing.assert_close(mine, SigLipLoss()(images, texts, scale, bias))


def slow_clip(images, texts, scale, right, weight):
    """Khosla et al. 2020, eq. 2 (the sum outside the logarithm), entry by entry, in both directions."""

    def way(queries, candidates, good):
        total = 0.0
        for i, query in enumerate(queries):
            cosines = [float(scale) * float(query @ c) for c in candidates]
            below = math.log(sum(math.exp(c) for c in cosines))
            hits = [j for j in range(len(candidates)) if good(i, j)]
            total += sum(below - cosines[j] for j in hits) / len(hits)
        return total / len(queries)

    to_texts = way(images, texts, lambda i, j: right[i, j])
    to_images = way(texts, images, lambda j, i: right[i, j])
    return weight * to_texts + (1 - weight) * to_images


@pytest.mark.parametrize("weight", [0.5, 0.75, 0.0, 1.0])
def test_several_right_texts_and_the_weight_of_a_direction_equal_a_slow_count(pairs, weight):
    images, texts, scale = pairs
    right = torch.eye(7, dtype=torch.bool)
    right[0, 3] = right[2, 5] = right[5, 2] = True  # not symmetric: a caption may stand in another case's text alone
    found = contrastive.clip_loss(images, texts, scale, right, weight)
    assert float(found) == pytest.approx(slow_clip(images, texts, scale, right, weight), rel=1e-5)


def test_a_batch_of_one_text_has_the_least_loss_where_all_are_alike():
    """All pairs right, all cosines equal: the cross entropy of a uniform aim is log n, and nothing is to be learned."""
    same = functional.normalize(torch.ones(5, 4), dim=1).requires_grad_()
    loss = contrastive.clip_loss(same, same.detach(), torch.tensor(10.0), torch.ones(5, 5, dtype=torch.bool))
    assert float(loss.detach()) == pytest.approx(math.log(5), rel=1e-6)
    (gradient,) = torch.autograd.grad(loss, same)
    assert float(gradient.abs().max()) < 1e-6
    apart = contrastive.clip_loss(same, same.detach(), torch.tensor(10.0), torch.eye(5, dtype=torch.bool))
    assert float(apart.detach()) == pytest.approx(
        math.log(5), rel=1e-6
    )  # as identity the same value, with false negatives


def test_the_sigmoid_loss_counts_every_right_pair_once(pairs):
    images, texts, scale = pairs
    right, bias = torch.eye(7, dtype=torch.bool), torch.tensor(-2.0)
    right[1, 4] = True
    total = 0.0
    for i in range(7):
        for j in range(7):
            logit = float(scale * images[i] @ texts[j] + bias)
            total += math.log1p(math.exp(-logit if right[i, j] else logit))
    found = contrastive.siglip_loss(images, texts, scale, bias, right)
    assert float(found) == pytest.approx(total / 7, rel=1e-5)


class Counted(nn.Module):
    """A layer between two norms with dropout, that counts how often it ran."""

    def __init__(self):
        super().__init__()
        self.calls = 0
        self.layers = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 16), nn.GELU(), nn.Dropout(0.3), nn.Linear(16, 6))

    def forward(self, x):
        self.calls += 1
        return self.layers(x)


def in_batches(encode, parts):
    return torch.cat([encode(part) for part in parts])


@pytest.mark.parametrize("training", [False, True], ids=["no dropout", "dropout"])
@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_loss_and_gradients_in_chunks_are_those_of_the_plain_batch(training, kind):
    """Both towers in chunks of 3; with dropout the plain batch goes through part by part, to draw the same masks."""
    torch.manual_seed(0)
    towers = [Counted().train(training), Counted().train(training)]
    given = [torch.randn(10, 8), torch.randn(10, 8)]
    right = torch.eye(10, dtype=torch.bool)
    right[2, 6] = right[6, 2] = True
    scale, bias = torch.tensor(7.0, requires_grad=True), torch.tensor(-1.0, requires_grad=True)
    trained = [*towers[0].parameters(), *towers[1].parameters(), scale, *([bias] if kind == "siglip" else [])]

    def found(join, chunk):
        torch.manual_seed(3)
        vectors = [
            functional.normalize(join(t, list(x.split(chunk))), dim=1) for t, x in zip(towers, given, strict=True)
        ]
        if kind == "siglip":
            loss = contrastive.siglip_loss(*vectors, scale, bias, right)
        else:
            loss = contrastive.clip_loss(*vectors, scale, right)
        return loss, torch.autograd.grad(loss, trained)

    plain, gradients = found(in_batches, 3 if training else 10)
    chunked, again = found(contrastive.in_chunks, 3)
    torch.testing.assert_close(chunked, plain, rtol=1e-5, atol=1e-5)
    for one, other in zip(again, gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    assert max(float(g.abs().max()) for g in gradients) > 1e-3


def test_what_lies_between_is_computed_again_when_a_gradient_is_due():
    tower, parts = Counted().eval(), list(torch.randn(9, 8).split(3))
    vectors = contrastive.in_chunks(tower, parts)
    assert tower.calls == 3
    vectors.sum().backward()
    assert tower.calls == 6
    with torch.no_grad():
        contrastive.in_chunks(tower, parts)
    assert tower.calls == 9
    contrastive.in_chunks(tower, parts[:1]).sum().backward()  # one part alone needs no second pass
    assert tower.calls == 10


def test_between_chunks_no_more_than_one_part_is_held():
    """Tensors that autograd keeps: with chunks they do not grow with what lies inside the encoder."""
    tower, x = Counted().eval(), torch.randn(40, 8)

    def held(join):
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
            join(tower, list(x.split(4)))
        return sum(kept)

    assert held(contrastive.in_chunks) < held(in_batches) / 5
