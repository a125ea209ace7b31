"""Metrics joined with statistics: from scored units to the rows of run.json.

A row's value is computed within folds and averaged over them; its interval resamples patients (all units of a patient
together), or is DeLong's where every patient has one unit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from medvfm.core.errors import Undefined
from medvfm.core.metric_spec import MetricSpec
from medvfm.core.protocols import Metric
from medvfm.core.recipe import Confidence
from medvfm.core.result_row import ResultRow
from medvfm.engine.scored import ScoreTable
from medvfm.metrics import calibration, decision, ranking
from medvfm.statistics import bootstrap, delong
from medvfm.statistics.interval import Interval, few_positives

METRICS: dict[str, Metric] = {**ranking.METRICS, **decision.METRICS, **calibration.METRICS}
MACRO = "macro"
NO_PROBABILITIES = "scores are no probabilities; evaluate.recalibrate=platt fits them on validation data"
Weights = torch.Tensor | None
Thresholds = Mapping[tuple[str, str], np.ndarray]
Component = Callable[[Weights], torch.Tensor]


@dataclass(frozen=True)
class Judge:
    """How rows are made: what does not change from split to split, or from the model to a baseline.

    Thresholds are metric name and target to (folds,) thresholds that were fixed on validation data. Metrics at a wanted
    specificity or sensitivity have their own, by name; `decision` serves all others. A decision is score >= threshold.
    """

    wanted: Sequence[MetricSpec]
    exclusive: bool
    confidence: Confidence
    seed: int
    device: str = "cpu"

    def rows(
        self,
        scored: ScoreTable,
        thresholds: Thresholds,
        *,
        split: str = "test",
        group: str | None = None,
        baseline: str | None = None,
    ) -> list[ResultRow]:
        """Every metric, per target and over all targets where there are several."""
        return [
            self._row(scored, wanted, target, parts, split, group, baseline)
            for wanted in self.wanted
            for target, parts in self._targets(scored, wanted, thresholds)
        ]

    def subgroups(
        self, scored: ScoreTable, thresholds: Thresholds, columns: Sequence[str], split: str = "test"
    ) -> list[ResultRow]:
        """The same rows for every value of every column; `sex=F`."""
        rows = []
        for column in columns:
            values = scored.groups[column]
            for value in sorted({str(v) for v in values}):
                part = scored.subset(np.array([str(v) == value for v in values]))
                rows += self.rows(part, thresholds, split=split, group=f"{column}={value or 'unknown'}")
        return rows

    def differences(
        self,
        scored: ScoreTable,
        other: ScoreTable,
        thresholds: Thresholds,
        other_thresholds: Thresholds,
        baseline: str,
    ) -> list[ResultRow]:
        """Model minus baseline on the same units, resampled together: rows `auroc_difference`, ..."""
        rows = []
        for wanted in self.wanted:
            ours = self._targets(scored, wanted, thresholds)
            theirs = self._targets(other, wanted, other_thresholds)
            for (target, mine), (_, base) in zip(ours, theirs, strict=True):
                if len(mine) == 1 and len(base) == 1:
                    paired = [_minus(mine[0], base[0])]
                    row = self._row(scored, wanted, target, paired, "test", None, baseline, paired=other)
                    better = row.better if row.better == "higher" else "lower" if row.better == "lower" else ""
                    rows.append(replace(row, metric=f"{wanted.name}_difference", better=better))
        return rows

    def value(self, scored: ScoreTable, wanted: MetricSpec, target: str | None = None) -> float:
        """One number without an interval, for selection: the mean over targets; NaN where it does not exist."""
        parts = [p for t, ps in self._targets(scored, wanted, {}) if t in (target, None) or target is None for p in ps]
        values = [v for v in (_value_or_none(p) for p in parts) if v is not None]
        return float(np.mean(values)) if values else math.nan

    def _targets(
        self, scored: ScoreTable, wanted: MetricSpec, thresholds: Thresholds
    ) -> list[tuple[str | None, list[Component]]]:
        if wanted.metric.takes in ("class", "class_score") and (self.exclusive or len(scored.targets) == 1):
            return [(self._joint_target(scored), [self._joint(scored, wanted, thresholds)])]
        each = [
            (target, self._single(scored, wanted, column, thresholds)) for column, target in enumerate(scored.targets)
        ]
        found: list[tuple[str | None, list[Component]]] = [(target, [part]) for target, part in each]
        return [*found, (MACRO, [part for _, part in each])] if len(each) > 1 else found

    @staticmethod
    def _joint_target(scored: ScoreTable) -> str | None:
        return scored.targets[0] if len(scored.targets) == 1 else None

    def _single(self, scored: ScoreTable, wanted: MetricSpec, column: int, thresholds: Thresholds) -> Component:
        """One target against the rest."""
        takes = wanted.metric.takes
        known = ~np.isnan(scored.truth[:, column])
        prediction: np.ndarray | str = scored.scores[:, column]
        if takes in ("decision", "class"):
            prediction = self._decided(scored, column, wanted, thresholds)
        if takes == "probability" and not scored.probabilities:
            return _undefined(NO_PROBABILITIES)
        truth = (scored.truth[:, column] > 0.5).astype(np.int64)
        return self._component(scored, wanted, known, truth, prediction)

    def _joint(self, scored: ScoreTable, wanted: MetricSpec, thresholds: Thresholds) -> Component:
        """All classes at once; the decision is the class of the highest score, or the threshold for one class."""
        known = ~np.isnan(scored.truth).any(axis=1)
        if len(scored.targets) == 1:
            truth = (scored.truth[:, 0] > 0.5).astype(np.int64)
            decided = self._decided(scored, 0, wanted, thresholds)
            if wanted.metric.takes == "class_score" and not scored.probabilities and wanted.metric.better == "lower":
                return _undefined(NO_PROBABILITIES)
            both = np.stack([1 - scored.scores[:, 0], scored.scores[:, 0]], axis=1)
            return self._component(scored, wanted, known, truth, decided if wanted.metric.takes == "class" else both)
        truth = np.where(known, np.nan_to_num(scored.truth).argmax(axis=1), 0)
        if wanted.metric.better == "lower" and not scored.probabilities:  # those of all classes that are not ranked
            return _undefined(NO_PROBABILITIES)
        prediction = scored.scores.argmax(axis=1) if wanted.metric.takes == "class" else scored.scores
        return self._component(scored, wanted, known, truth, prediction)

    @staticmethod
    def _decided(scored: ScoreTable, column: int, wanted: MetricSpec, thresholds: Thresholds) -> np.ndarray | str:
        target = scored.targets[column]
        own = wanted.name if wanted.metric.parameter else "decision"
        threshold = thresholds.get((own, target))
        if threshold is None or np.isnan(threshold).any():
            return "no threshold could be fixed on validation data"
        return (scored.scores[:, column] >= threshold[scored.fold]).astype(np.int64)

    def _component(
        self, scored: ScoreTable, wanted: MetricSpec, known: np.ndarray, truth: np.ndarray, prediction: np.ndarray | str
    ) -> Component:
        if isinstance(prediction, str):
            return _undefined(prediction)
        assert scored.fold is not None
        folds = [np.flatnonzero(known & (scored.fold == f)) for f in np.unique(scored.fold)]
        tensors = [
            (torch.from_numpy(rows), torch.as_tensor(truth[rows]), torch.as_tensor(prediction[rows])) for rows in folds
        ]
        placed = [tuple(t.to(self.device) for t in part) for part in tensors]

        def value(weights: Weights) -> torch.Tensor:
            parts = []
            for rows, true, given in placed:
                if len(rows) == 0:
                    raise Undefined("no unit with a known label")
                more = {} if weights is None else {"weights": weights[:, rows]}
                parts.append(wanted.metric.function(true, given, **wanted.arguments, **more))
            return torch.stack(parts).mean(dim=0)

        return value

    def _row(
        self,
        scored: ScoreTable,
        wanted: MetricSpec,
        target: str | None,
        parts: list[Component],
        split: str,
        group: str | None,
        baseline: str | None,
        paired: ScoreTable | None = None,
    ) -> ResultRow:
        known = self._known(scored, target)
        positives = None
        if target in scored.targets:
            positives = int((scored.truth[known, scored.targets.index(str(target))] > 0.5).sum())
        row = ResultRow(
            wanted.name, target, split, group, baseline, None, None, None, self.confidence.level, None,
            int(known.sum()), len(set(scored.patients[known].tolist())), positives, wanted.metric.unit,
            wanted.metric.better,
        )  # fmt: skip
        values = [(p, _value_or_none(p)) for p in parts]
        defined = [(p, v) for p, v in values if v is not None]
        if not defined:
            return replace(row, note=_reason(parts[0]))
        notes = [few_positives(positives, int(known.sum()))] if positives is not None else []
        if target in scored.targets and len(set(scored.scores[known, scored.targets.index(str(target))])) == 1:
            notes.append("the score is the same for every case")
        if len(defined) < len(parts):
            notes.append(f"the mean of {len(defined)} of {len(parts)} targets; the others are not defined")
        interval = self._interval(scored, wanted, target, [p for p, _ in defined], known, paired)
        notes.append(interval.note)
        return replace(
            row,
            value=float(np.mean([v for _, v in defined])),
            low=_number(interval.low),
            high=_number(interval.high),
            method=interval.method,
            note="; ".join(n for n in notes if n) or None,
        )

    def _interval(
        self,
        scored: ScoreTable,
        wanted: MetricSpec,
        target: str | None,
        parts: list[Component],
        known: np.ndarray,
        paired: ScoreTable | None,
    ) -> Interval:
        level = self.confidence.level
        lone = len(set(scored.patients[known].tolist())) == int(known.sum())
        assert scored.fold is not None
        one_fold = len(np.unique(scored.fold)) == 1
        asked = self.confidence.method
        delongs = wanted.name == "auroc" and target in scored.targets and one_fold
        if delongs and asked != "bootstrap" and (lone or asked == "delong"):
            column = scored.targets.index(str(target))
            truth = (scored.truth[known, column] > 0.5).astype(int)
            if paired is None:
                found = delong.delong_interval(truth, scored.scores[known, column], level)
            else:
                found = delong.delong_difference(
                    truth, scored.scores[known, column], paired.scores[known, column], level
                ).interval
            ignored = "" if lone else "DeLong takes the units of a patient as independent, which they are not"
            return replace(found, note="; ".join(n for n in (found.note, ignored) if n) or None)
        return bootstrap.bootstrap_interval(
            lambda weights: _mean_of(parts, torch.as_tensor(weights).to(self.device)),
            scored.patients,
            level=level,
            resamples=self.confidence.resamples,
            seed=self.seed,
        )

    @staticmethod
    def _known(scored: ScoreTable, target: str | None) -> np.ndarray:
        if target in scored.targets:
            return ~np.isnan(scored.truth[:, scored.targets.index(str(target))])
        return ~np.isnan(scored.truth).all(axis=1)


def _mean_of(parts: list[Component], weights: torch.Tensor) -> np.ndarray:
    return torch.stack([part(weights) for part in parts]).mean(dim=0).cpu().numpy()


def _minus(mine: Component, base: Component) -> Component:
    return lambda weights: mine(weights) - base(weights)


def _undefined(reason: str) -> Component:
    def value(weights: Weights) -> torch.Tensor:
        raise Undefined(reason)

    return value


def _value_or_none(part: Component) -> float | None:
    try:
        value = float(part(None))
    except Undefined:
        return None
    return None if math.isnan(value) else value


def _reason(part: Component) -> str:
    try:
        value = float(part(None))
    except Undefined as undefined:
        return str(undefined)
    return f"the value is {value}"


def _number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(value)
