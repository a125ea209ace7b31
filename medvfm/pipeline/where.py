"""Where a run runs: the device that is asked for, and the worker processes that suit it."""

from __future__ import annotations

from pathlib import Path

from medvfm.core.errors import RecipeError
from medvfm.engine import case_reading
from medvfm.engine.context import RunContext
from medvfm.io.console import Console


def context(checkpoint: Path, device: str | None, strict: bool, console: Console) -> RunContext:
    chosen = _device(device)
    return RunContext(checkpoint, chosen, case_reading.default_workers(chosen), strict, console)


def _device(wanted: str | None) -> str:
    import torch

    if wanted is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise RecipeError("no CUDA device is here", where="--device", remedy="`medvfm doctor` shows what is")
    try:
        return str(torch.device(wanted))
    except RuntimeError:
        raise RecipeError(f"no device {wanted!r}; one of: cpu, cuda, cuda:0", where="--device") from None
