"""The rows of run.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

SEEDS = ("seeds", "sampling_error", "seed_error")


@dataclass(frozen=True)
class ResultRow:
    """One number of a report, with everything that is needed to read it."""

    metric: str
    target: str | None
    split: str
    group: str | None
    baseline: str | None
    value: float | None
    low: float | None
    high: float | None
    level: float
    method: str | None
    cases: int
    patients: int
    positives: int | None
    unit: str
    better: str
    note: str | None = None
    task: str | None = None  # in a run of several tasks
    p: float | None = None  # of a row that holds a tested difference, and adjusted for the tests beside it
    p_adjusted: float | None = None
    seeds: int | None = None  # of a mean over models trained with so many seeds, and the two parts of its error
    sampling_error: float | None = None
    seed_error: float | None = None


def as_records(rows: Sequence[ResultRow]) -> list[dict]:
    """Plain data for run.json; the model's test rows first."""
    order = {"test": 0, "val": 2, "train": 3}
    key = lambda row: (order.get(row.split, 1), row.baseline is not None, row.group is not None)  # noqa: E731
    several = any(row.task for row in rows)
    found = [asdict(row) for row in sorted(rows, key=key)]
    left = {"p", "p_adjusted", *SEEDS} | (set() if several else {"task"})
    return [{k: v for k, v in row.items() if k not in left or (k != "task" and v is not None)} for row in found]
