"""The moving average against its closed form, and the weights of a teacher, which move without a gradient."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from medvfm.core.errors import WeightsError
from medvfm.nn import state
from medvfm.nn.ema import EMA


def by_hand(values: list[torch.Tensor], decay: float) -> torch.Tensor:
    """Sum of each value times its own share and the decays of all later steps; the first value has no share of its
    own."""
    decays = [min(decay, (1 + t) / (10 + t)) for t in range(len(values) - 1)]
    total = torch.zeros_like(values[0])
    for i, value in enumerate(values):
        share = 1.0 if i == 0 else 1 - decays[i - 1]
        for later in decays[i:]:
            share *= later
        total += share * value
    return total


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.999])
def test_it_is_the_closed_form(decay):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    net[1].requires_grad_(False)
    average = EMA(net, decay)
    values = [net[0].weight.detach().clone().double()]
    for _ in range(40):
        with torch.no_grad():
            net[0].weight += torch.randn(2, 3)
        average.update()
        values.append(net[0].weight.detach().clone().double())
    found = average.state_dict()["average"]
    assert set(found) == {"0.weight", "0.bias"}
    torch.testing.assert_close(found["0.weight"].double(), by_hand(values, decay), atol=1e-5, rtol=1e-5)


def test_swap_gives_the_average_and_gives_the_weights_back_to_the_bit():
    net = nn.Linear(4, 4).to(torch.bfloat16)
    average = EMA(net, 0.5)
    for _ in range(3):
        with torch.no_grad():
            net.weight.add_(1.0)
        average.update()
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(RuntimeError, match="in validation"), average.swap():
        expected = average.state_dict()["average"]["weight"].to(torch.bfloat16)
        assert torch.equal(net.weight, expected) and not torch.equal(net.weight, before["weight"])
        raise RuntimeError("in validation")
    assert all(torch.equal(net.state_dict()[n], w) for n, w in before.items())
    assert net.weight.requires_grad


def test_a_half_precision_weight_that_drifts_is_followed():
    """A thousandth beside 1 is less than a bfloat16 resolves: an average of that type would stay at 1."""
    net = nn.Linear(1, 1, bias=False).to(torch.bfloat16)
    net.weight.data.fill_(1.0)
    average = EMA(net, 0.999)
    average.steps = 100_000  # past the ramp
    net.weight.data.fill_(2.0)
    for _ in range(1000):
        average.update()
    assert average.state_dict()["average"]["weight"].item() == pytest.approx(2 - 0.999**1000, abs=1e-3)


def test_a_resumed_average_goes_on_as_if_it_had_never_stopped():
    torch.manual_seed(1)
    steps = [torch.randn(2, 3) for _ in range(6)]
    net = nn.Linear(3, 2)
    other = copy.deepcopy(net)
    whole, first = EMA(net, 0.9), EMA(other, 0.9)
    for step in steps:
        net.weight.data += step
        whole.update()
    for step in steps[:3]:
        other.weight.data += step
        first.update()
    resumed = EMA(other, 0.9)
    resumed.load_state_dict(first.state_dict())
    for step in steps[3:]:
        other.weight.data += step
        resumed.update()
    expected, found = whole.state_dict(), resumed.state_dict()
    assert found["steps"] == expected["steps"] == 6
    assert all(torch.equal(found["average"][n], a) for n, a in expected["average"].items())
    with pytest.raises(WeightsError, match=r"do not fit.*weight"):
        EMA(nn.Linear(4, 2), 0.9).load_state_dict(expected)
    with pytest.raises(WeightsError, match="decay"):
        EMA(other, 0.99).load_state_dict(expected)


class Pair(nn.Module):
    """A student and its teacher, with a queue of keys, as MoCo has them (He et al. 2020)."""

    averaged = ("teacher", "queue")

    def __init__(self):
        super().__init__()
        self.encoder, self.student, self.teacher = nn.Linear(4, 4), nn.Linear(4, 2), nn.Linear(4, 2)
        self.encoder.requires_grad_(False)
        self.teacher.requires_grad_(False)
        self.register_buffer("queue", torch.randn(8, 2))
        self.register_buffer("mean", torch.zeros(4))
        self.teachers_head = nn.Linear(2, 2).requires_grad_(False)  # not below the prefix `teacher.`


@pytest.mark.parametrize("outer", [nn.Identity, nn.ModuleList])
def test_what_is_declared_as_averaged_is_saved_with_what_is_trained(outer, tmp_path):
    pair = Pair()
    module = pair if outer is nn.Identity else outer([pair])
    prefix = "" if module is pair else "0."
    kept = state.trained(module)
    names = ("student.weight", "student.bias", "teacher.weight", "teacher.bias", "queue")
    assert set(kept) == {prefix + n for n in names}
    state.write(tmp_path / "model.safetensors", kept)
    with torch.no_grad():
        pair.teacher.weight.zero_()
        pair.queue.zero_()
    state.put_trained(module, state.read(tmp_path / "model.safetensors"))
    assert torch.equal(pair.teacher.weight, kept[f"{prefix}teacher.weight"])
    assert torch.equal(pair.queue, kept[f"{prefix}queue"])


def test_a_declared_tensor_that_is_not_there_is_named():
    pair = Pair()
    pair.averaged = ("tutor",)
    with pytest.raises(ValueError, match="Pair declares 'tutor'"):
        state.trained(pair)
