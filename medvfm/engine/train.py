"""The training loop: the only one.

An adapter gives a module, a loss and predictions; what is trained is what its module leaves with requires_grad. Each
epoch draws from (seed, epoch) alone, so that a run resumed at an epoch's end goes on as if it had never stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from medvfm.core.errors import RunError
from medvfm.engine import checkpoint, weight_audit
from medvfm.nn import state

Loader = Callable[[int], Iterable[tuple[Any, torch.Tensor]]]  # epoch -> batches of (items, truth (B, T))


@dataclass(frozen=True)
class Settings:
    """What the loop does, every default filled in by the adapter's method."""

    epochs: int
    learning_rate: float
    weight_decay: float = 0.01
    warmup: float = 0.1
    accumulate: int = 1
    clip: float | None = 1.0
    precision: str = "fp32"
    patience: int | None = None


@dataclass
class History:
    """What happened, epoch by epoch; part of the record."""

    epochs: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int | None = None
    best_value: float | None = None
    audit: dict[str, Any] | None = None
    seconds: float = 0.0

    def improved(self, value: float, better: str) -> bool:
        if math.isnan(value):
            return self.best_value is None
        if self.best_value is None or math.isnan(self.best_value):
            return True
        return value < self.best_value if better == "lower" else value > self.best_value

    def as_record(self) -> dict[str, Any]:
        return asdict(self)


def fit(
    adapter: Any,
    batches: Loader,
    steps_an_epoch: int,
    validate: Callable[[], dict[str, float]],
    settings: Settings,
    *,
    select: str,
    better: str,
    seed: int,
    device: str,
    folder: Path,
    say: Callable[[str], None],
) -> History:
    """Train `adapter.module` in place and leave it with the weights of the best validation value.

    `validate` gives metric values of the validation cases, among them `select`, whose `better` is higher or lower; with
    no validation cases it gives an empty dict and the last epoch is kept. `folder` is where the checkpoint lies.
    """
    accelerator = Accelerator(
        cpu=device == "cpu",
        mixed_precision="no" if settings.precision == "fp32" else settings.precision,
    )
    module = adapter.module.to(accelerator.device)
    optimizer = torch.optim.AdamW(_groups(module, settings.weight_decay), lr=settings.learning_rate)
    total = settings.epochs * math.ceil(steps_an_epoch / settings.accumulate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _warmup_cosine(total, settings.warmup))
    module, optimizer = accelerator.prepare(module, optimizer)
    weights, history, best = weight_audit.WeightAudit(adapter.module), History(), None
    saved = checkpoint.load(folder)
    if saved is not None:
        state.put_trained(adapter.module, saved["trained"])
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        history, best = History(**saved["history"]), saved["best"]
        say(f"resumed after epoch {len(history.epochs)}")
    for epoch in range(len(history.epochs), settings.epochs):
        if _exhausted(history, settings.patience):
            break
        start = time.perf_counter()
        torch.manual_seed(_epoch_seed(seed, epoch))
        loss = _epoch(accelerator, adapter, module, optimizer, schedule, batches(epoch), settings, weights)
        values = validate()
        history.audit = weights.as_record()
        history.seconds += time.perf_counter() - start
        rate = float(schedule.get_last_lr()[0])
        history.epochs.append({"epoch": epoch + 1, "loss": loss, "learning_rate": rate, "val": values})
        if not values or history.improved(values[select], better):
            history.best_epoch, history.best_value = epoch + 1, values.get(select)
            best = state.trained(adapter.module)
        shown = " ".join(f"{name} {value:.3f}" for name, value in values.items())
        say(f"epoch {epoch + 1}/{settings.epochs}  loss {loss:.4f}  {f'val {shown}' if shown else ''}".rstrip())
        checkpoint.save(
            folder,
            {
                "trained": state.trained(adapter.module),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "history": history.as_record(),
                "best": best,
            },
        )
    if best is not None:
        state.put_trained(adapter.module, best)
    adapter.module.eval()
    return history


def _epoch(
    accelerator: Accelerator,
    adapter: Any,
    module: torch.nn.Module,
    optimizer: Any,
    schedule: Any,
    batches: Iterable[tuple[Any, torch.Tensor]],
    settings: Settings,
    weights: weight_audit.WeightAudit,
) -> float:
    """One pass; the mean loss of its cases."""
    weight_audit.training_mode(adapter.module)
    total, cases, waiting = 0.0, 0, 0
    for batch, truth, last in _with_last(batches):
        with accelerator.autocast():
            loss = adapter.loss(batch, truth.to(accelerator.device))
        if not torch.isfinite(loss):
            raise RunError(
                f"the training loss became {float(loss.detach())}",
                remedy="lower train.learning_rate, or train.precision=fp32",
            )
        accelerator.backward(loss / settings.accumulate)
        total, cases, waiting = total + float(loss.detach()) * len(truth), cases + len(truth), waiting + 1
        if waiting < settings.accumulate and not last:
            continue
        if settings.clip:
            accelerator.clip_grad_norm_(module.parameters(), settings.clip)
        optimizer.step()
        schedule.step()
        weights.after_step()
        optimizer.zero_grad()
        waiting = 0
    return total / max(cases, 1)


def _with_last(batches: Iterable[tuple[Any, torch.Tensor]]) -> Iterator[tuple[Any, torch.Tensor, bool]]:
    """Each batch, and whether it is the last: what has been accumulated by then is stepped too."""
    waiting = None
    for item in batches:
        if waiting is not None:
            yield *waiting, False
        waiting = item
    if waiting is not None:
        yield *waiting, True


def _groups(module: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay on matrices and kernels, none on biases and normalisation."""
    trained = [p for p in module.parameters() if p.requires_grad]
    if not trained:
        raise RunError("the method leaves no weight to train")
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _warmup_cosine(total: int, warmup: float) -> Callable[[int], float]:
    """Linear from 1 / warm-up steps to 1, then half a cosine down to 0."""
    rise = max(1, round(total * warmup))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, total - rise))))

    return factor


def _epoch_seed(seed: int, epoch: int) -> int:
    return (seed * 1_000_003 + epoch * 7919 + 17) % 2**63


def _exhausted(history: History, patience: int | None) -> bool:
    return bool(patience and history.best_epoch and len(history.epochs) - history.best_epoch >= patience)
