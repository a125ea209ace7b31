"""Metrics of scores as estimands: for each target, over all targets, and over exclusive classes at once.

A value is computed within folds and averaged over them. How its interval is found stands in `spreads`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from medvfm.core.array import Array
from medvfm.core.errors import Undefined
from medvfm.core.metric_spec import Metric, MetricSpec
from medvfm.core.protocols import Points
from medvfm.metrics import calibration, clinical_use, decision, ranking
from medvfm.statistics.estimand import Estimand, few_patients, jackknifed
from medvfm.tasks.classification import spreads
from medvfm.tasks.classification.operating_points import DECISION, RECALIBRATED, has_own_threshold
from medvfm.tasks.classification.scores import ScoreTable
from medvfm.tasks.classification.spreads import Component

METRICS: dict[str, Metric] = {**ranking.METRICS, **decision.METRICS, **calibration.METRICS, **clinical_use.METRICS}
MACRO = "macro"
NO_PROBABILITIES = "scores are no probabilities; evaluate.recalibrate fits them on validation data"
IN_SAMPLE = "in-sample: {} on these very cases"


def estimands(scored: ScoreTable, specs: Sequence[MetricSpec], points: Points, exclusive: bool) -> list[Estimand]:
    """Every metric per target, and over all targets where there are several."""
    return [
        _estimand(scored, spec, target, parts, points)
        for spec in specs
        for target, parts in _targets(scored, spec, points, exclusive)
    ]


def _targets(
    scored: ScoreTable, spec: MetricSpec, points: Points, exclusive: bool
) -> list[tuple[str | None, list[Component]]]:
    if spec.metric.takes in ("class", "class_score") and (exclusive or len(scored.targets) == 1):
        joint = scored.targets[0] if len(scored.targets) == 1 else None
        return [(joint, [_joint(scored, spec, points)])]
    each = [(target, _single(scored, spec, column, points)) for column, target in enumerate(scored.targets)]
    found: list[tuple[str | None, list[Component]]] = [(target, [part]) for target, part in each]
    return [*found, (MACRO, [part for _, part in each])] if len(each) > 1 else found


def _single(scored: ScoreTable, spec: MetricSpec, column: int, points: Points) -> Component:
    """One target against the rest."""
    takes = spec.metric.takes
    known = np.asarray(~np.isnan(scored.truth[:, column]))
    prediction: Array | str = scored.scores[:, column]
    if takes in ("decision", "class"):
        prediction = _decided(scored, column, spec, points)
    if takes == "probability" and not scored.probabilities:
        return _undefined(NO_PROBABILITIES)
    truth = (scored.truth[:, column] > 0.5).astype(np.int64)
    return _component(scored, spec, known, truth, prediction)


def _joint(scored: ScoreTable, spec: MetricSpec, points: Points) -> Component:
    """All classes at once; the decision is the class of the highest score, or the threshold for one class."""
    known = np.asarray(~np.isnan(scored.truth).any(axis=1))
    if len(scored.targets) == 1:
        truth = (scored.truth[:, 0] > 0.5).astype(np.int64)
        decided = _decided(scored, 0, spec, points)
        if spec.metric.takes == "class_score" and not scored.probabilities and spec.metric.better == "lower":
            return _undefined(NO_PROBABILITIES)
        both = np.stack([1 - scored.scores[:, 0], scored.scores[:, 0]], axis=1)
        return _component(scored, spec, known, truth, decided if spec.metric.takes == "class" else both)
    truth = np.where(known, np.nan_to_num(scored.truth).argmax(axis=1), 0)
    if spec.metric.better == "lower" and not scored.probabilities:  # those of all classes that are not ranked
        return _undefined(NO_PROBABILITIES)
    prediction = scored.scores.argmax(axis=1) if spec.metric.takes == "class" else scored.scores
    return _component(scored, spec, known, truth, prediction)


def _decided(scored: ScoreTable, column: int, spec: MetricSpec, points: Points) -> Array | str:
    """(n,) score >= threshold. Metrics at a given specificity or sensitivity have their own threshold, by name;
    `decision` serves all others."""
    target = scored.targets[column]
    own = spec.name if has_own_threshold(spec) else DECISION
    threshold = points.thresholds.get((own, target))
    if threshold is None or np.isnan(threshold).any():
        return "no threshold could be fixed on validation data"
    return (scored.scores[:, column] >= threshold[scored.fold]).astype(np.int64)


def _component(scored: ScoreTable, spec: MetricSpec, known: Array, truth: Array, prediction: Array | str) -> Component:
    if isinstance(prediction, str):
        return _undefined(prediction)
    folds = [np.flatnonzero(known & (scored.fold == f)) for f in np.unique(scored.fold)]
    placed = [
        (torch.from_numpy(rows), torch.as_tensor(truth[rows]), torch.as_tensor(prediction[rows])) for rows in folds
    ]

    def value(weights: torch.Tensor | None) -> torch.Tensor:
        parts = []
        for rows, true, given in placed:
            if len(rows) == 0:
                raise Undefined("no unit with a known label")
            more = {} if weights is None else {"weights": weights[:, rows]}
            parts.append(spec.metric.function(true, given, **spec.arguments, **more))
        return torch.stack(parts).mean(dim=0)

    return Component(value, known, tuple(placed))


def _estimand(
    scored: ScoreTable, spec: MetricSpec, target: str | None, parts: list[Component], points: Points
) -> Estimand:
    column = scored.targets.index(target) if target in scored.targets else None
    known = np.asarray(~(np.isnan(scored.truth).all(axis=1) if column is None else np.isnan(scored.truth[:, column])))
    positives = None if column is None else int((scored.truth[known, column] > 0.5).sum())
    values = [(part, _value_or_none(part)) for part in parts]
    defined = [(part, value) for part, value in values if value is not None]
    scores = None if column is None else scored.scores[:, column]
    found = Estimand(spec, target, None, known, positives, values=scores)
    if not defined:
        reason = _reason(parts[0])
        return replace(found, reason=reason, minus=_undefined_difference(found, reason) if len(parts) == 1 else None)
    notes = [few_patients(_rests_on(scored, spec, column, known))]
    if scores is not None and len(set(scores[known])) == 1:
        notes.append("the score is the same for every case")
    if len(defined) < len(parts):
        notes.append(f"the mean of {len(defined)} of {len(parts)} targets; the others are not defined")
    notes += _fixed(scored, spec, target, points)
    used = [part for part, _ in defined]
    found = replace(
        found,
        value=float(np.mean([value for _, value in defined])),
        statistic=_mean_of(used),
        notes=tuple(note for note in notes if note),
    )
    found = spreads.of(found, used, scored)
    return replace(found, minus=_difference(found, scored)) if len(parts) == 1 else found


def _rests_on(scored: ScoreTable, spec: MetricSpec, column: int | None, known: Array) -> list[tuple[int, str]]:
    """Patients of every kind that the number rests on; of several targets, those of the smallest class."""

    def patients(rows: Array) -> int:
        return len(set(scored.patients[rows].tolist()))

    kind = spec.metric.rests_on
    if kind == "cases":
        return [(patients(known), "")]
    columns = range(len(scored.targets)) if column is None else [column]
    have = [(patients(known & (scored.truth[:, c] > 0.5)), _with(scored, c, column)) for c in columns]
    lack = [(patients(known & (scored.truth[:, c] <= 0.5)), _with(scored, c, column, "out")) for c in columns]
    listed = {"positives": have, "negatives": lack, "classes": [*have, *lack]}[kind]
    return [min(listed)] if column is None else listed


def _with(scored: ScoreTable, column: int, named: int | None, out: str = "") -> str:
    return f"with{out} {scored.targets[column] if named is None else 'the finding'}"


def _fixed(scored: ScoreTable, spec: MetricSpec, target: str | None, points: Points) -> list[str]:
    """Where a decision is made, and what was fitted on the very cases that the number is of."""
    takes, found = spec.metric.takes, []
    threshold = (
        points.thresholds.get((DECISION, target or scored.targets[0])) if takes in ("decision", "class") else None
    )
    decides = threshold is not None and (takes == "decision" or len(scored.targets) == 1)
    if decides and not has_own_threshold(spec) and points.decided_at:
        cut = f" ({threshold[0]:.4g})" if threshold is not None and len(threshold) == 1 else ""
        found.append(f"decided at {points.decided_at}{cut}")
    if points.in_sample and decides and points.fixed_on == "val":
        found.append(IN_SAMPLE.format("the threshold was fixed"))
    if points.in_sample and points.recalibration is not None and takes in ("probability", "class_score"):
        found.append(IN_SAMPLE.format("recalibrated"))
    elif points.recalibration is not None and takes in ("probability", "class_score"):
        found.append(RECALIBRATED)
    if points.left_as_they_are and takes in ("probability", "class_score"):
        found.append(points.left_as_they_are)
    return found


def _difference(mine: Estimand, scored: ScoreTable) -> Callable[[Estimand], Estimand]:
    def minus(other: Estimand) -> Estimand:
        if mine.value is None or other.value is None or mine.statistic is None or other.statistic is None:
            return replace(mine, value=None, reason=mine.reason or other.reason, minus=None)
        ours, theirs = mine.statistic, other.statistic
        apart = replace(
            mine,
            value=mine.value - other.value,
            statistic=lambda weights: ours(weights) - theirs(weights),
            bare=mine.bare and spreads.BARE_DIFFERENCE,
            spread=None,
            minus=None,
        )
        if mine.spread is None or other.spread is None:
            return apart
        found = mine.spread.minus(other.spread)
        if found is None and apart.statistic is not None and apart.value is not None:  # a mean of several draws
            found = jackknifed(apart.statistic, apart.value, mine, scored.patients)
            found = replace(found, within=spreads.apart(found.within))
        return replace(apart, spread=found)

    return minus


def _undefined_difference(found: Estimand, reason: str) -> Callable[[Estimand], Estimand]:
    return lambda other: replace(found, reason=reason, minus=None)


def _mean_of(parts: list[Component]) -> Callable[[Array], Array]:
    def statistic(weights: Array) -> Array:
        given = torch.as_tensor(weights)
        return torch.stack([part.value(given) for part in parts]).mean(dim=0).cpu().numpy()

    return statistic


def _undefined(reason: str) -> Component:
    def value(weights: torch.Tensor | None) -> torch.Tensor:
        raise Undefined(reason)

    return Component(value, np.zeros(0, dtype=bool), ())


def _value_or_none(part: Component) -> float | None:
    try:
        value = float(part.value(None))
    except Undefined:
        return None
    return None if math.isnan(value) else value


def _reason(part: Component) -> str:
    try:
        value = float(part.value(None))
    except Undefined as undefined:
        return str(undefined)
    return f"the value is {value}"
