"""`tiny` is drawn from its seed and learns."""

from __future__ import annotations

import torch
from torch.nn import functional

from medvfm.models.encoders.load import load_encoder


def test_the_seed_alone_decides_the_weights():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = load_encoder("tiny", seed=1)
    assert torch.equal(torch.rand(3), expected)  # the global generator was left alone
    second, third = load_encoder("tiny", seed=1), load_encoder("tiny", seed=2)
    assert first.weights_record["sha256"] == second.weights_record["sha256"] != third.weights_record["sha256"]
    pixels = torch.randn(2, 3, 128, 128)
    assert torch.equal(first(pixels).pooled, second(pixels).pooled)


def test_shapes():
    encoder = load_encoder("tiny", size_px=96)
    levels = encoder.pyramid(torch.randn(2, 3, 96, 96))
    assert [tuple(level.shape[1:]) for level in levels] == [(16, 24, 24), (32, 12, 12), (64, 6, 6), (128, 3, 3)]
    assert encoder.width == 128 and encoder.unused() == [] and len(encoder.blocks()) == 6
    assert 5e5 < sum(parameter.numel() for parameter in encoder.parameters()) < 1e6


def test_it_learns_in_seconds():
    """Dark discs of 3 to 5 px on a smooth noisy ground, of any brightness: the mean grey value does not tell."""
    generator = torch.Generator().manual_seed(0)

    def pictures(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        ground = functional.interpolate(torch.rand(count, 1, 4, 4, generator=generator), 64, mode="bicubic")
        x = 0.3 + 0.4 * ground + 0.05 * torch.randn(count, 1, 64, 64, generator=generator)
        truth = torch.arange(count) % 2
        axis = torch.arange(64.0)
        for i in range(count):
            row, column = torch.randint(8, 56, (2,), generator=generator)
            radius = 3 + 2 * torch.rand(1, generator=generator)
            disc = (axis[:, None] - row) ** 2 + (axis - column) ** 2 < radius**2
            x[i, 0, disc] *= 0.5 if truth[i] else 1.0
        return x.clamp(0, 1), truth.float()

    encoder = load_encoder("tiny", size_px=64)
    head = torch.nn.Linear(encoder.width, 1)
    torch.nn.init.zeros_(head.weight)
    optimiser = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=2e-3)
    (train, train_truth), (test, test_truth) = pictures(512), pictures(256)
    encoder.train()
    for _ in range(6):
        for batch in torch.randperm(512, generator=generator).split(32):
            logits = head(encoder(encoder.contract.apply(train[batch])).pooled)[:, 0]
            loss = functional.binary_cross_entropy_with_logits(logits, train_truth[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    encoder.eval()
    with torch.no_grad():
        logits = head(encoder(encoder.contract.apply(test)).pooled)[:, 0]
    assert ((logits > 0) == test_truth.bool()).float().mean() > 0.9
