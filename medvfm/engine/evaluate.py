"""From estimands to the rows of run.json: values with intervals, written once for every task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from medvfm.core.capabilities import ViewingTask
from medvfm.core.metric_spec import MetricSpec
from medvfm.core.protocols import Points, Predictions, Task
from medvfm.core.recipe import Confidence
from medvfm.core.result_row import ResultRow
from medvfm.statistics import bootstrap
from medvfm.statistics.estimand import Estimand
from medvfm.statistics.interval import Drawing, Interval, none


@dataclass(frozen=True)
class Judging:
    """How rows are made: what does not change from split to split, or from the model to a baseline."""

    task: Task
    specs: Sequence[MetricSpec]
    confidence: Confidence
    seed: int

    def rows(
        self,
        predictions: Predictions,
        points: Points,
        *,
        split: str = "test",
        group: str | None = None,
        baseline: str | None = None,
        note: str | None = None,
        specs: Sequence[MetricSpec] | None = None,
    ) -> list[ResultRow]:
        """Every metric for every target; `note` stands before each row's own."""
        found = self.task.estimands(predictions, self.specs if specs is None else specs, points)
        return self.as_rows(found, predictions, split=split, group=group, baseline=baseline, note=note)

    def as_rows(
        self,
        estimands: Iterable[Estimand],
        predictions: Predictions,
        *,
        split: str = "test",
        group: str | None = None,
        baseline: str | None = None,
        note: str | None = None,
    ) -> list[ResultRow]:
        """Rows of estimands over the units of `predictions`."""
        return [self._row(e, predictions, split, group, baseline, note) for e in estimands]

    def views(self, predictions: Predictions) -> dict[str | None, Predictions]:
        """Group to what is judged there: the predictions themselves under None, then the task's further views."""
        found: dict[str | None, Predictions] = {None: predictions}
        if isinstance(self.task, ViewingTask):
            found.update(self.task.views(predictions))
        return found

    def differences(
        self,
        predictions: Predictions,
        points: Points,
        other: Sequence[Estimand],
        baseline: str,
        *,
        group: str | None = None,
    ) -> list[ResultRow]:
        """Model minus baseline on the same units, resampled together: rows `auroc_difference`, ..."""
        rows = []
        ours = self.task.estimands(predictions, self.specs, points)
        for mine, theirs in zip(ours, other, strict=True):
            apart = mine.minus(theirs) if mine.minus is not None else None
            if apart is not None:
                row = self._row(apart, predictions, "test", group, baseline, None)
                better = row.better if row.better in ("higher", "lower") else ""
                rows.append(replace(row, metric=f"{mine.metric.name}_difference", better=better))
        return rows

    def _row(
        self,
        estimand: Estimand,
        predictions: Predictions,
        split: str,
        group: str | None,
        baseline: str | None,
        note: str | None,
    ) -> ResultRow:
        known, spec = estimand.known, estimand.metric
        row = ResultRow(
            spec.name, estimand.target, split, group, baseline, None, None, None, self.confidence.level, None,
            int(known.sum()), len(set(predictions.patients[known].tolist())), estimand.positives, spec.metric.unit,
            spec.metric.better,
        )  # fmt: skip
        if estimand.value is None:
            return replace(row, note=_joined([note, estimand.reason]))
        interval = self._interval(estimand, predictions)
        return replace(
            row,
            value=estimand.value,
            low=_number(interval.low),
            high=_number(interval.high),
            method=interval.method or None,
            note=_joined([note, *estimand.notes, interval.note]),
        )

    def _interval(self, estimand: Estimand, predictions: Predictions) -> Interval:
        """The number's own, or percentiles of resamples where it has none or the recipe asks for them."""
        confidence = self.confidence
        if estimand.bare is not None:
            return none(confidence.level, "", estimand.bare)
        if estimand.spread is not None and confidence.method != "bootstrap":
            drawing = Drawing(confidence.level, confidence.resamples, self.seed)
            return estimand.spread.interval(drawing)
        if estimand.statistic is None:
            return Interval(None, None, confidence.level, "")
        return bootstrap.bootstrap_interval(
            estimand.statistic,
            predictions.patients,
            level=confidence.level,
            resamples=confidence.resamples,
            seed=self.seed,
        ).marked(bootstrap.FOUND)


def value(task: Task, predictions: Predictions, spec: MetricSpec) -> float:
    """One number without an interval, for selection: the mean over targets; NaN where it does not exist."""
    found = task.estimands(predictions, [spec], Points())
    single = [e for e in found if e.target is None or e.target in task.classes]
    values = [e.value for e in single or found if e.value is not None]
    return float(np.mean(values)) if values else float("nan")


def _joined(notes: Sequence[str | None]) -> str | None:
    return "; ".join(n for n in notes if n) or None


def _number(found: float | None) -> float | None:
    return None if found is None or np.isnan(found) else float(found)
