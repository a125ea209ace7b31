"""From estimands to the rows of run.json: values with intervals, written once for every task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from medvfm.core.metric_spec import MetricSpec
from medvfm.core.protocols import Points, Predictions, Task
from medvfm.core.recipe_sections import Confidence
from medvfm.core.result_row import ResultRow
from medvfm.core.task_capabilities import ViewingTask
from medvfm.engine.of_seeds import OfSeeds
from medvfm.statistics import bootstrap, seeds
from medvfm.statistics.estimand import Estimand
from medvfm.statistics.interval import Drawing, Interval, none
from medvfm.statistics.seed_part import Seeded


@dataclass(frozen=True)
class Judging:
    """How rows are made: what does not change from split to split, or from the model to a baseline."""

    task: Task
    specs: Sequence[MetricSpec]
    confidence: Confidence
    seed: int

    @property
    def drawing(self) -> Drawing:
        """How intervals and tests are asked for."""
        exact = self.confidence.method == "clopper_pearson"
        shares: Literal["wilson", "clopper_pearson"] = "clopper_pearson" if exact else "wilson"
        return Drawing(self.confidence.level, self.confidence.resamples, self.seed, shares)

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
        found = self.estimands(predictions, points, specs)
        return self.as_rows(found, predictions, split=split, group=group, baseline=baseline, note=note)

    def estimands(
        self, predictions: Predictions, points: Points, specs: Sequence[MetricSpec] | None = None
    ) -> list[Estimand]:
        """Of each metric and target; the mean over seeds of predictions that are of several."""
        asked = self.specs if specs is None else specs
        if not isinstance(predictions, OfSeeds):
            return list(self.task.estimands(predictions, asked, points))
        fixed = points.of_seeds or (points,) * len(predictions.parts)
        each = [
            self.task.estimands(part, asked, replace(own, in_sample=points.in_sample))
            for part, own in zip(predictions.parts, fixed, strict=True)
        ]
        return [seeds.mean_over_seeds(same) for same in zip(*each, strict=True)]

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
        if isinstance(self.task, ViewingTask) and isinstance(predictions, OfSeeds):
            each = [self.task.views(part) for part in predictions.parts]
            shared = [group for group in each[0] if all(group in other for other in each)]
            found.update({group: OfSeeds(tuple(views[group] for views in each)) for group in shared})
        elif isinstance(self.task, ViewingTask):
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
        ours = self.estimands(predictions, points)
        for mine, theirs in zip(ours, other, strict=True):
            apart = seeds.difference(mine, theirs)
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
        interval, sampling = self._interval(estimand, predictions)
        part = estimand.seeds
        if part is not None:
            row = replace(row, seeds=len(part.values), sampling_error=sampling.error, seed_error=part.error)
        return replace(
            row,
            value=estimand.value,
            low=_number(interval.low),
            high=_number(interval.high),
            method=interval.method or None,
            note=_joined([note, *estimand.notes, interval.note]),
        )

    def _interval(self, estimand: Estimand, predictions: Predictions) -> tuple[Interval, Interval]:
        """The number's own, or percentiles of resamples where it has none or the recipe asks for them; and, where seeds
        are averaged, that of these very seeds, which the first widens."""
        confidence, part = self.confidence, estimand.seeds
        if estimand.bare is not None:
            return (none(confidence.level, "", estimand.bare),) * 2
        if estimand.spread is not None and confidence.method not in ("bootstrap", "bca"):
            own = estimand.spread.sampling if isinstance(estimand.spread, Seeded) else estimand.spread
            sampling = own.interval(self.drawing)
        elif estimand.statistic is None:
            sampling = Interval(None, None, confidence.level, "")
        else:
            sampling = bootstrap.bootstrap_interval(
                estimand.statistic,
                predictions.patients,
                level=confidence.level,
                resamples=confidence.resamples,
                seed=self.seed,
                method="bca" if confidence.method == "bca" else "percentile",
            )
            sampling = sampling.marked(bootstrap.FOUND if sampling.method == "bootstrap" else None)
        if part is None or estimand.value is None:
            return sampling, sampling
        within = estimand.spread.within if isinstance(estimand.spread, Seeded) else estimand.metric.metric.within
        return part.widened(sampling, estimand.value, within), sampling


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
