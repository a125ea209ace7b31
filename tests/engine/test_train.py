"""The training loop: learns, audits its weights, and resumes to the same bits."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medvfm.core.errors import RunError
from medvfm.engine import checkpoint, train, weight_audit


class Toy:
    """The smallest adapter: a frozen layer with a normalisation, and a head."""

    def __init__(self, seed: int = 0, frozen: bool = True) -> None:
        torch.manual_seed(seed)
        self.module = nn.Sequential(nn.Linear(4, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 1))
        if frozen:
            self.module[:2].requires_grad_(False)

    def loss(self, batch):
        return nn.functional.binary_cross_entropy_with_logits(self.module(batch["x"]), batch["truth"].float())


def data(count=64):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(count, 4, generator=generator)
    return x, (x[:, :1] > 0).double()


def batches(size=8):
    x, y = data()

    def epoch(number):
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(number))
        for rows in order.split(size):
            yield {"x": x[rows], "truth": y[rows]}, len(rows)

    return epoch


def fit(adapter, folder, epochs=4, stop_after=None, **settings):
    x, y = data()
    done = []

    def validate():
        if stop_after is not None and len(done) == stop_after:
            raise KeyboardInterrupt
        done.append(1)
        adapter.module.eval()
        with torch.inference_mode():
            return {"accuracy": float(((adapter.module(x) > 0) == (y > 0.5)).double().mean())}

    return train.fit(
        adapter,
        batches(),
        8,
        validate,
        train.Settings(epochs=epochs, learning_rate=0.05, **settings),
        select="accuracy",
        better="higher",
        seed=0,
        device="cpu",
        folder=folder,
        say=lambda line: None,
    )


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_it_learns_and_leaves_frozen_weights_and_statistics_alone(tmp_path):
    adapter = Toy()
    before = {n: v.clone() for n, v in adapter.module.state_dict().items()}
    history = fit(adapter, tmp_path, epochs=20)
    assert history.best_value > 0.8
    after = adapter.module.state_dict()
    changed = {n for n in after if not torch.equal(after[n], before[n])}
    assert changed == {"4.weight", "4.bias"}
    assert history.audit["moved_tensors"] == 2
    assert history.audit["frozen_tensors"] >= 4


def test_a_resumed_run_equals_an_uninterrupted_one_to_the_bit(tmp_path):
    whole, stopped = Toy(), Toy()
    wanted = fit(whole, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(stopped, tmp_path / "stopped", stop_after=2)
    resumed = Toy()
    found = fit(resumed, tmp_path / "stopped")
    assert same(whole.module, resumed.module)
    assert [e["loss"] for e in found.epochs] == [e["loss"] for e in wanted.epochs]


def test_a_resumed_run_is_audited_again(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fit(Toy(), tmp_path / "cut", stop_after=2)
    resumed = Toy()
    hidden = resumed.module[:4]
    resumed.loss = lambda batch: nn.functional.mse_loss(
        nn.functional.linear(hidden(batch["x"]), resumed.module[4].weight.detach(), resumed.module[4].bias),
        batch["truth"].float(),
    )
    with pytest.raises(weight_audit.FrozenMoved, match=r"should be trained did not move in 3 steps: 4\.weight"):
        fit(resumed, tmp_path / "cut")
    with pytest.raises(KeyboardInterrupt):
        fit(Toy(), tmp_path / "again", stop_after=2)
    moving = Toy()
    honest = moving.loss

    def meddling(batch):
        with torch.no_grad():
            moving.module[0].weight += 1e-3
        return honest(batch)

    moving.loss = meddling
    with pytest.raises(weight_audit.FrozenMoved, match=r"frozen weights moved in the first step: 0\.weight"):
        fit(moving, tmp_path / "again")


def test_accumulated_gradients_equal_one_larger_batch(tmp_path):
    """Without dropout and normalisation the mean of two gradients of eight is the gradient of sixteen."""
    results = []
    x, y = data()
    for size, accumulate in ((16, 1), (8, 2)):
        torch.manual_seed(0)
        adapter = Toy()
        adapter.module = nn.Linear(4, 1)
        adapter.loss = lambda b, m=adapter.module: nn.functional.mse_loss(m(b["x"]), b["truth"].float())
        train.fit(
            adapter,
            lambda epoch, s=size: [({"x": x[r], "truth": y[r]}, s) for r in torch.arange(64).split(s)],
            64 // size,
            dict,
            train.Settings(epochs=2, learning_rate=0.01, accumulate=accumulate, clip=None),
            select="none", better="higher", seed=0, device="cpu", folder=tmp_path / str(size), say=lambda line: None,
        )  # fmt: skip
        results.append(adapter.module.weight.detach().clone())
    assert torch.allclose(*results, atol=1e-6)


def test_a_frozen_weight_that_moves_stops_the_run(tmp_path):
    adapter = Toy()
    honest = adapter.loss

    def meddling(batch):
        with torch.no_grad():
            adapter.module[0].weight += 1e-3
        return honest(batch)

    adapter.loss = meddling
    with pytest.raises(weight_audit.FrozenMoved, match=r"frozen weights moved.*0\.weight"):
        fit(adapter, tmp_path)


def test_a_trainable_weight_that_stays_stops_the_run(tmp_path):
    adapter = Toy()
    adapter.module.append(nn.Linear(1, 1))  # never called by the loss below
    adapter.loss = lambda b: nn.functional.mse_loss(adapter.module[:5](b["x"]), b["truth"].float())
    with pytest.raises(weight_audit.FrozenMoved, match="did not move"):
        fit(adapter, tmp_path, weight_decay=0.0)


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    adapter = Toy()
    adapter.loss = lambda b: adapter.module(b["x"]).sum() * float("nan")
    with pytest.raises(RunError, match="loss became nan"):
        fit(adapter, tmp_path)


def test_patience_ends_training_and_the_best_weights_stay(tmp_path):
    adapter = Toy()
    values = iter([0.5, 0.9, 0.1, 0.1, 0.1, 0.1, 0.1])
    kept = {}

    def validate():
        value = next(values)
        kept[value] = adapter.module[4].weight.detach().clone()
        return {"auroc": value}

    history = train.fit(
        adapter, batches(), 8, validate, train.Settings(epochs=7, learning_rate=0.05, patience=2),
        select="auroc", better="higher", seed=0, device="cpu", folder=tmp_path, say=lambda line: None,
    )  # fmt: skip
    assert len(history.epochs) == 4
    assert history.best_epoch == 2
    assert torch.equal(adapter.module[4].weight, kept[0.9])


def test_a_damaged_checkpoint_is_named_and_half_a_one_is_never_there(tmp_path):
    checkpoint.save(tmp_path, {"a": torch.ones(2)})
    assert torch.equal(checkpoint.load(tmp_path)["a"], torch.ones(2))
    assert [f.name for f in tmp_path.iterdir()] == [checkpoint.NAME]
    (tmp_path / checkpoint.NAME).write_bytes(b"half")
    with pytest.raises(RunError, match="damaged"):
        checkpoint.load(tmp_path)
    assert checkpoint.load(tmp_path / "nothing") is None


def test_a_weight_that_the_loss_reaches_without_effect_is_counted_and_not_refused():
    """A bias before normalisation over the batch has no effect: its gradient is what rounding leaves."""
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    found = weight_audit.WeightAudit(net)
    for _ in range(3):
        (net(torch.randn(8, 3)) ** 3).sum().backward()
        net[0].bias.grad.fill_(1e-12)
        with torch.no_grad():
            for moving in (net[0].weight, net[1].weight, net[1].bias):
                moving += 0.1
        found.after_step()
    assert found.as_record()["still_tensors"] == 1
    other = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(3, 4))
    unreached = weight_audit.WeightAudit(other)
    with pytest.raises(weight_audit.FrozenMoved, match="did not move"):
        for _ in range(3):
            other.zero_grad()
            other[0](torch.randn(8, 3)).sum().backward()
            with torch.no_grad():
                other[0].weight += 0.1
                other[0].bias += 0.1
            unreached.after_step()
