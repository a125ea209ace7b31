"""Distance from training features: against a slow count, whoever the patients are, on every device that is there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medvfm.nn import feature_distance
from medvfm.nn.feature_distance import FeatureDistance

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def drawn(n: int, seed: int = 0, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(n, 2, 6, generator=torch.Generator().manual_seed(seed)) + shift


def slow(features: np.ndarray, bank: np.ndarray, train: np.ndarray, k: int) -> list[float]:
    found = []
    for row in features:
        row = (row - train.mean(0)) / train.std(0, ddof=1) / np.sqrt(12)
        found.append(sorted(float(np.linalg.norm(row - other)) for other in bank)[k - 1])
    return found


@pytest.mark.parametrize("device", DEVICES)
def test_distances_are_those_of_a_slow_count(device):
    train, new = drawn(40), drawn(7, 1)
    distance = FeatureDistance.fit(train.to(device), [f"p{i // 2}" for i in range(40)])
    assert distance is not None
    flat = train.flatten(1).double().numpy()
    bank = (flat - flat.mean(0)) / flat.std(0, ddof=1) / np.sqrt(12)
    found = distance.of(new.to(device))
    assert found.device.type == device
    assert found.cpu().numpy() == pytest.approx(slow(new.flatten(1).double().numpy(), bank, flat, 5), abs=1e-4)
    usual = [slow(flat[[i]], np.delete(bank, [i // 2 * 2, i // 2 * 2 + 1], axis=0), flat, 5)[0] for i in range(40)]
    assert distance.usual.cpu().numpy() == pytest.approx(np.sort(usual), abs=1e-4)
    shares = distance.quantile(found).cpu().numpy()
    assert shares == pytest.approx([np.mean(np.array(usual) < d) for d in found.cpu().numpy()], abs=1e-6)


def test_what_is_like_the_training_set_is_rarely_far_and_another_kind_is():
    def made(n: int, seed: int, centre: torch.Tensor) -> torch.Tensor:
        return centre + 0.3 * torch.randn(n, 12, generator=torch.Generator().manual_seed(seed))

    centres = torch.randn(4, 12, generator=torch.Generator().manual_seed(9))
    train = torch.cat([made(75, s, c) for s, c in enumerate(centres)])
    distance = FeatureDistance.fit(train, [str(i) for i in range(300)])
    assert distance is not None
    like = torch.cat([made(250, 10 + s, c) for s, c in enumerate(centres)])
    share = distance.far(distance.of(like)).float().mean()
    assert share < 0.04  # promised: 1 in 100
    assert distance.far(distance.of(made(50, 20, -centres.sum(0)))).float().mean() > 0.9


def test_few_patients_have_no_distance_and_many_cases_are_thinned(monkeypatch):
    assert FeatureDistance.fit(drawn(6), ["one"] * 6) is None
    monkeypatch.setattr(feature_distance, "MOST", 10)
    distance = FeatureDistance.fit(drawn(40), [str(i) for i in range(40)], seed=3)
    assert distance is not None and distance.bank.shape == (10, 12)


def test_what_is_kept_gives_the_same_distances():
    distance = FeatureDistance.fit(drawn(30), [str(i) for i in range(30)])
    assert distance is not None
    again = FeatureDistance.from_arrays({n: torch.from_numpy(a) for n, a in distance.arrays().items()})
    assert again.of(drawn(9, 4)).numpy() == pytest.approx(distance.of(drawn(9, 4)).numpy(), abs=1e-3)
