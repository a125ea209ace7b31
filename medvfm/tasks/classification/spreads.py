"""Which interval a number of scores has: the one that statistics hold for its kind, made of its cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from medvfm.core.array import Array
from medvfm.core.metric_spec import Metric
from medvfm.statistics import means, shares
from medvfm.statistics.delong import Ranks, Separation
from medvfm.statistics.estimand import Estimand
from medvfm.statistics.jackknife import Jackknifed
from medvfm.statistics.means import Means
from medvfm.statistics.patients import Patients
from medvfm.statistics.shares import Share
from medvfm.statistics.spread import Spread
from medvfm.tasks.classification.scores import ScoreTable

DRAWS = 1000  # of truths by chance
BARE = "no interval: resamples of a calibration error lie above it"
BARE_DIFFERENCE = "no interval: chance moves both calibration errors upwards"
Fold = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # rows in all units, truth and prediction there


@dataclass(frozen=True, eq=False)
class Component:
    """One target, or all classes at once.

    value  weights (R, n) or None to (R,) values or one; raises Undefined
    """

    value: Callable[[torch.Tensor | None], torch.Tensor]
    known: Array
    folds: tuple[Fold, ...]


def of(found: Estimand, parts: Sequence[Component], scored: ScoreTable) -> Estimand:
    """The estimand with its spread, or with why it has no interval."""
    metric, patients = found.metric.metric, Patients.of(scored.patients)
    if metric.interval == "none":
        return replace(found, bare=BARE, notes=(*found.notes, *_chance(metric, parts)))
    return replace(found, spread=_spread(found, metric, parts, scored, patients))


def apart(within: tuple[float, float]) -> tuple[float, float]:
    """The range of a difference of two numbers that have a range."""
    low, high = within
    return (low - high, high - low) if np.isfinite(high - low) else (-np.inf, np.inf)


def _spread(
    found: Estimand, metric: Metric, parts: Sequence[Component], scored: ScoreTable, patients: Patients
) -> Spread | None:
    if metric.interval == "steps":
        return None
    if metric.interval == "ranks":
        return Separation([rank for part in parts for fold in part.folds for rank in _ranks(fold)], patients)
    if metric.interval == "mean":
        return means.joined([_losses(metric, part, patients, len(scored.ids)) for part in parts])
    if metric.interval in ("share", "f1"):
        counted = [share for part in parts for share in _shares(metric, part, scored, patients)]
        if counted:
            return shares.mean_of(counted)
    assert found.statistic is not None and found.value is not None
    freedom = patients.among(found.known) - 1
    if metric.takes in ("score", "probability"):
        freedom = min(_smaller(fold, patients) for part in parts for fold in part.folds) - 1
    return Jackknifed(found.statistic, found.value, patients, found.known, freedom, metric.within)


def _ranks(fold: Fold) -> list[Ranks]:
    """Of a score for one target; of a table of scores each class against the rest."""
    rows, truth, score = (t.numpy() for t in fold)
    if score.ndim == 1:
        return [Ranks(rows, truth, score)]
    return [Ranks(rows, (truth == k).astype(int), score[:, k]) for k in range(score.shape[1])]


def _losses(metric: Metric, part: Component, patients: Patients, units: int) -> Means:
    assert metric.per_case is not None
    values, number = np.full(units, np.nan), np.zeros(units)
    for k, (rows, truth, given) in enumerate(part.folds):
        values[rows.numpy()], number[rows.numpy()] = metric.per_case(truth, given).numpy(), k
    return means.over_folds(values[:, None], number, patients, metric.within)


def _shares(metric: Metric, part: Component, scored: ScoreTable, patients: Patients) -> list[Share]:
    """One for each class that the number averages; none where the folds do not hold the same classes."""
    assert metric.per_case is not None
    tables = [metric.per_case(truth, given) for _, truth, given in part.folds]
    if len({hits.shape[1] for hits, _ in tables}) != 1 or any(not among.any(0).all() for _, among in tables):
        return []
    if metric.rests_on == "classes" and len({_labels(truth, given) for _, truth, given in part.folds}) != 1:
        return []
    found, units = [], len(scored.ids)
    for k in range(tables[0][0].shape[1]):
        hits, among = np.zeros(units), np.zeros(units)
        for (rows, _, _), (hit, whole) in zip(part.folds, tables, strict=True):
            hits[rows.numpy()], among[rows.numpy()] = hit[:, k].numpy(), whole[:, k].numpy()
        rises = (shares.f1_of_share, shares.f1_slope) if metric.interval == "f1" else None
        found.append(Share(hits, among, scored.fold, patients, rises))
    return found


def _labels(truth: torch.Tensor, given: torch.Tensor) -> tuple[int, ...]:
    return tuple(torch.unique(torch.cat([truth, given])).tolist())


def _smaller(fold: Fold, patients: Patients) -> int:
    """Patients of the class that has fewer."""
    rows, truth, _ = (t.numpy() for t in fold)
    codes = patients.codes[rows]
    return min(len(np.unique(codes[truth == value])) for value in (0, 1))


def _chance(metric: Metric, parts: Sequence[Component]) -> list[str]:
    """What perfect probabilities would show with the same cases: the mean over folds and targets of chance alone."""
    if metric.by_chance is None:
        return []
    drawn = [metric.by_chance(given, DRAWS, k) for part in parts for k, (_, _, given) in enumerate(part.folds)]
    levels = torch.stack(drawn).mean(dim=0)
    mean, most = float(levels.mean()), float(levels.quantile(0.95))
    return [f"chance alone gives perfect probabilities {mean:.3f} with these cases, up to {most:.3f} in 95%"]
