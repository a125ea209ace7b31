"""The fitted model asked in other ways: prompts disturbed, classes in other words. Rows in groups of their own."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np

from medvfm.core.array import Array
from medvfm.core.capabilities import WordedAdapter
from medvfm.core.metric_spec import MetricSpec
from medvfm.core.protocols import Answer, Points, Record
from medvfm.core.result_row import ResultRow
from medvfm.engine import fitting
from medvfm.engine.case_store import StoredCases
from medvfm.engine.context import RunContext
from medvfm.engine.evaluate import Judging
from medvfm.engine.fitting import FittedFold
from medvfm.engine.plan import Plan


def rows(
    plan: Plan, judging: Judging, fitted: Sequence[FittedFold], points: Points, context: RunContext
) -> tuple[list[ResultRow], list[Record]]:
    """Test rows for each variant: group `box_jitter_px=5`, an oracle's where prompts come from the truth; and how long
    each took to answer: `{group, cases, seconds}`.

    A variant costs as much as the test itself, so of more cases than the task names a random subset stands for all.
    """
    task, adapter = plan.task, fitted[0].learner.adapter
    variants, specs = adapter.variants(), _specs(plan)
    if not variants or not specs:
        return [], []
    share = -(-task.variant_cases // len(fitted))
    chosen = [_draw(f.rows["test"], share, plan.recipe.seed) for f in fitted]
    total, some = sum(len(f.rows["test"]) for f in fitted), sum(map(len, chosen))
    drawn_note = f"; {some} of {total} test cases, drawn by the seed" if some < total else ""
    kind = "oracle prompt: " if adapter.oracle is not None else ""
    found: list[ResultRow] = []
    took: list[Record] = []
    for variant in context.console.track(variants, len(variants), "variants of the prompts"):
        note = f"{kind}{variant}{drawn_note}"
        watch = Watch()
        found += _asked(plan, judging, fitted, chosen, points, variant, "test", note, specs, watch)
        took.append({"group": variant, "cases": some, "seconds": round(watch.seconds, 3)})
    return found, took


def wordings(
    plan: Plan, judging: Judging, fitted: Sequence[FittedFold], points: Points, context: RunContext
) -> list[ResultRow]:
    """Validation rows for each wording alone, the best first: group `wording=...`."""
    adapter, specs = fitted[0].learner.adapter, _specs(plan)[:1]
    if not isinstance(adapter, WordedAdapter) or not specs or not all(len(f.rows["val"]) for f in fitted):
        return []
    names = adapter.wordings()
    own = [f.rows["val"] for f in fitted]
    found = [
        _asked(plan, judging, fitted, own, points, name, "val", None, specs)
        for name in context.console.track(names, len(names), "wordings compared")
    ]
    up = specs[0].metric.better != "lower"
    return [row for part in sorted(found, key=lambda part: _mean(part, up), reverse=up) for row in part]


def sway(worded: Sequence[ResultRow], test: Sequence[ResultRow]) -> list[str]:
    """A warning where the choice of words moves the number more than its interval is wide."""
    if not worded:
        return []
    metric = worded[0].metric
    main = next((r for r in test if r.metric == metric and r.low is not None and r.high is not None), None)
    values = [_mean([r for r in worded if r.group == group]) for group in dict.fromkeys(r.group for r in worded)]
    values = [value for value in values if np.isfinite(value)] or [0.0]
    apart = max(values) - min(values)
    if main is None or main.low is None or main.high is None or not apart > main.high - main.low:
        return []
    return [
        f"The choice of words moves {metric} on validation cases from {min(values):.2f} to {max(values):.2f}, more "
        f"than the interval of the result is wide ({main.high - main.low:.2f})."
    ]


def _asked(
    plan: Plan,
    judging: Judging,
    fitted: Sequence[FittedFold],
    chosen: Sequence[Array],
    points: Points,
    variant: str,
    split: str,
    note: str | None,
    specs: Sequence[MetricSpec],
    watch: Watch | None = None,
) -> list[ResultRow]:
    task, watch = plan.task, watch or Watch()
    parts = [
        fitting.collect(
            f.task,
            f.learner,
            StoredCases(f.learner.store, part),
            watch.over(f.learner.answer(part, variant)),
            None,
            specs,
        )
        for f, part in zip(fitted, chosen, strict=True)
    ]
    return judging.rows(task.join(parts), points, split=split, group=variant, note=note, specs=specs)


class Watch:
    """Seconds that answers took to be made, without those in which they were judged."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def over(self, answers: Iterator[Answer]) -> Iterator[Answer]:
        done = object()
        while True:
            start = time.perf_counter()
            answer = next(answers, done)
            self.seconds += time.perf_counter() - start
            if answer is done:
                return
            yield answer


def _specs(plan: Plan) -> list[MetricSpec]:
    return [spec for spec in plan.specs if spec.name in plan.task.variant_metrics]


def _draw(rows: Array, count: int, seed: int) -> Array:
    return np.sort(np.random.default_rng([seed, 2]).permutation(rows)[:count])


def _mean(rows: Sequence[ResultRow], up: bool = True) -> float:
    values = [r.value for r in rows if r.value is not None]
    return float(np.mean(values)) if values else (-np.inf if up else np.inf)
