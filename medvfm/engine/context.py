"""Run context (device, workers, console), and the case rows that a learner may train and select on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medvfm.core.array import Array
from medvfm.io.console import Console


@dataclass(frozen=True)
class RunContext:
    """Where and how a run runs; nothing here changes its numbers. expected_s: how long it was expected to take."""

    checkpoint: Path
    device: str
    workers: int
    strict: bool
    console: Console
    expected_s: float | None = None


@dataclass(frozen=True, eq=False)
class FoldRows:
    """Row numbers of the readable cases that are fitted on and selected on; rows of test cases occur in neither."""

    train: Array
    val: Array
