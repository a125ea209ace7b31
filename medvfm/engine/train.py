"""The training loop: the only one.

An adapter gives a module and a loss; what is trained is what its module leaves with requires_grad. Each epoch draws
from (seed, epoch) alone, so that a run resumed at an epoch's end goes on as if it had never stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer

from medvfm.core.capabilities import GroupedAdapter, SteppingAdapter
from medvfm.core.errors import RecipeError, RunError, nearest
from medvfm.core.protocols import Adapter, Batch, Record
from medvfm.engine import checkpoint, weight_audit
from medvfm.nn import state
from medvfm.nn.ema import EMA

Batches = Iterable[tuple[Batch, int]]  # batches, and of how many examples each is
Loader = Callable[[int], Batches]  # epoch to its batches


@dataclass(frozen=True)
class Settings:
    """What the loop does, every default filled in by the adapter's method.

    rates  learning rates of parts of the model (`parameter_groups`), in place of `learning_rate`
    ema    decay of the moving average of the trained weights, which validates, answers and is saved
    """

    epochs: int
    learning_rate: float
    weight_decay: float = 0.01
    warmup: float = 0.1
    accumulate: int = 1
    clip: float | None = 1.0
    precision: str = "fp32"
    patience: int | None = None
    rates: Mapping[str, float] | None = None
    ema: float | None = None


@dataclass
class History:
    """What happened, epoch by epoch; part of the record."""

    epochs: list[Record] = field(default_factory=list)
    best_epoch: int | None = None
    best_value: float | None = None
    audit: Record | None = None
    seconds: float = 0.0

    def improved(self, value: float, better: str) -> bool:
        if math.isnan(value):
            return self.best_value is None
        if self.best_value is None or math.isnan(self.best_value):
            return True
        return value < self.best_value if better == "lower" else value > self.best_value

    def as_record(self) -> Record:
        return asdict(self)


def fit(
    adapter: Adapter,
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
    optimizer = torch.optim.AdamW(_groups(adapter, module, settings), lr=settings.learning_rate)
    total = settings.epochs * math.ceil(steps_an_epoch / settings.accumulate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _warmup_cosine(total, settings.warmup))
    module, optimizer = accelerator.prepare(module, optimizer)
    history, best = History(), None
    ema = EMA(adapter.module, settings.ema) if settings.ema is not None else None
    saved = checkpoint.load(folder)
    if saved is not None:
        state.put_trained(adapter.module, saved["trained"])
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        history, best = History(**saved["history"]), saved["best"]
        if ema is not None:
            ema.load_state_dict(saved["ema"])
        say(f"resumed after epoch {len(history.epochs)}")
    weights = weight_audit.WeightAudit(adapter.module)  # of what goes on from here: a resumed run is audited again
    for epoch in range(len(history.epochs), settings.epochs):
        if _exhausted(history, settings.patience):
            break
        start = time.perf_counter()
        torch.manual_seed(_epoch_seed(seed, epoch))
        loss = _epoch(accelerator, adapter, module, optimizer, schedule, batches(epoch), settings, weights, ema)
        with ema.swap() if ema is not None else nullcontext():
            values = validate()
            averaged = state.trained(adapter.module)
        now = averaged if ema is None else state.trained(adapter.module)
        history.audit = weights.as_record()
        history.seconds += time.perf_counter() - start
        rate = float(schedule.get_last_lr()[0])
        history.epochs.append({"epoch": epoch + 1, "loss": loss, "learning_rate": rate, "val": values})
        if not values or history.improved(values[select], better):
            history.best_epoch, history.best_value = epoch + 1, values.get(select)
            best = averaged
        shown = " ".join(f"{name} {value:.3f}" for name, value in values.items())
        say(f"epoch {epoch + 1}/{settings.epochs}  loss {loss:.4f}  {f'val {shown}' if shown else ''}".rstrip())
        checkpoint.save(
            folder,
            {
                "trained": now,
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "history": history.as_record(),
                "best": best,
                "ema": None if ema is None else ema.state_dict(),
            },
        )
    if best is not None:
        state.put_trained(adapter.module, best)
    adapter.module.eval()
    return history


def _epoch(
    accelerator: Accelerator,
    adapter: Adapter,
    module: torch.nn.Module,
    optimizer: AcceleratedOptimizer,
    schedule: torch.optim.lr_scheduler.LambdaLR,
    batches: Batches,
    settings: Settings,
    weights: weight_audit.WeightAudit,
    ema: EMA | None,
) -> float:
    """One pass; the mean loss of its cases."""
    weight_audit.training_mode(adapter.module)
    total, cases, waiting = 0.0, 0, 0
    for batch, count, last in _with_last(batches):
        with accelerator.autocast():
            loss = adapter.loss(batch)
        if not torch.isfinite(loss):
            raise RunError(
                f"the training loss became {float(loss.detach())}",
                remedy="lower train.learning_rate, or train.precision=fp32",
            )
        accelerator.backward(loss / settings.accumulate)
        total, cases, waiting = total + float(loss.detach()) * count, cases + count, waiting + 1
        if waiting < settings.accumulate and not last:
            continue
        if settings.clip:
            accelerator.clip_grad_norm_(module.parameters(), settings.clip)
        optimizer.step()
        schedule.step()
        weights.after_step()
        if isinstance(adapter, SteppingAdapter):
            adapter.after_step()
        if ema is not None:
            ema.update()
        optimizer.zero_grad()
        waiting = 0
    return total / max(cases, 1)


def _with_last(batches: Batches) -> Iterator[tuple[Batch, int, bool]]:
    """Each batch, and whether it is the last: what has been accumulated by then is stepped too."""
    waiting = None
    for item in batches:
        if waiting is not None:
            yield *waiting, False
        waiting = item
    if waiting is not None:
        yield *waiting, True


def _groups(adapter: Adapter, module: torch.nn.Module, settings: Settings) -> list[Record]:
    """Weight decay on matrices and kernels, none on biases and normalisation; parts at rates of their own."""
    trained = [p for p in module.parameters() if p.requires_grad]
    if not trained:
        raise RunError("the method leaves no weight to train")
    rates, groups = dict(settings.rates or {}), []
    known = dict(adapter.parameter_groups()) if rates and isinstance(adapter, GroupedAdapter) else {}
    for name, rate in rates.items():
        if name not in known:
            raise RecipeError(
                f"no part {name!r} of the model: {nearest(name, known) if known else 'it has one rate for all of it'}",
                where="train.rates",
            )
        part = {id(p) for p in known[name]}
        groups += _decayed([p for p in trained if id(p) in part], settings.weight_decay, {"lr": rate})
        trained = [p for p in trained if id(p) not in part]
    return groups + _decayed(trained, settings.weight_decay, {})


def _decayed(parameters: list[torch.nn.Parameter], weight_decay: float, more: Record) -> list[Record]:
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay, **more},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0, **more},
    ]
    return [group for group in groups if group["params"]] if more else groups


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
