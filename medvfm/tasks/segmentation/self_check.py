"""How good a mask is where there is no truth, and how far its volume may be off: both fitted on validation cases.

Two signs of quality: `agreement`, the Dice between the mask and the one that the model draws on the mirrored image; and
`confidence`, the Dice that the model's probabilities expect. Their mean goes through a line that is fitted on the
validation masks. Intervals of volumes are those of split conformal prediction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from medvfm.core.array import Array
from medvfm.core.metric_spec import Metric, MetricSpec
from medvfm.core.protocols import Record
from medvfm.core.task_capabilities import SelfChecked
from medvfm.statistics import conformal
from medvfm.statistics.estimand import Estimand
from medvfm.tasks import per_case
from medvfm.tasks.per_case import PerCaseValues

AGREEMENT, CONFIDENCE, PREDICTED, REVIEW = "agreement", "confidence", "predicted_dice", "for_human"
LOW, HIGH = "size_low", "size_high"
LEAST_MASKS = 8  # validation masks that a line rests on
REVIEWED = 0.2  # of the validation cases, those with the lowest predicted Dice
COVERAGES = (0.8, 0.9)
RIVAL = "mean of validation"
QUALITY = MetricSpec(
    "predicted_dice_error",
    Metric(
        lambda truth, predicted: float(abs(truth - predicted)), "answer", "lower", within=(0, 1), interval="mean",
        summary="how far the Dice that is predicted without the truth lies from the Dice",
    ),
    None,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Line:
    """From a sign of quality to the Dice: intercept + slope * sign, within [0, 1]."""

    intercept: float
    slope: float
    masks: int
    pooled: bool

    def at(self, sign: Array) -> Array:
        return np.clip(self.intercept + self.slope * sign, 0, 1)


def agreement(mask: Array, again: Array, kind: str, structures: int) -> Array:
    """(T,) Dice between two masks of one image; NaN where neither holds the structure. Objects are taken together."""
    found = np.full(structures, np.nan)
    for number in range(structures):
        one, other = (
            m[..., number] if kind == "multi_label" else m > 0 if kind == "instances" else m == number + 1
            for m in (mask, again)
        )
        total = int(one.sum()) + int(other.sum())
        if total:
            found[number] = 2 * int((one & other).sum()) / total
    return found


def quality(values: PerCaseValues) -> Array | None:
    """(n, T) the Dice of every mask that was drawn: 0 where the truth holds nothing; NaN where nothing was drawn. None
    where the run did not measure it."""
    if "dice" not in values.values:
        return None
    drawn, held = values.values["predicted_size"] > 0, values.values["truth_size"] > 0
    return np.where(drawn & held, values.values["dice"], np.where(drawn, 0.0, np.nan))


def sign(signs: Mapping[str, Array]) -> Array:
    """(n, T) the mean of the signs that exist; NaN where none does."""
    return _mean(np.stack(list(signs.values())))


def lines(signs: Array, dice: Array) -> list[Line | None]:
    """A line for each of T structures, from (n, T); of few masks one line for all, and None where all are too few.

    Least squares. A slope below 0 would call what agrees less the better mask: then the mean stands alone.
    """
    known = ~np.isnan(signs) & ~np.isnan(dice)
    together = _line(signs[known], dice[known], pooled=True)
    return [
        _line(signs[k, t], dice[k, t], pooled=False) if k.sum() >= LEAST_MASKS else together
        for t, k in enumerate(known.T)
    ]


def _line(signs: Array, dice: Array, pooled: bool) -> Line | None:
    if len(signs) < LEAST_MASKS:
        return None
    apart = signs - signs.mean()
    square = float(apart @ apart)
    slope = max(0.0, float(apart @ dice) / square) if square > 1e-12 else 0.0
    return Line(float(dice.mean() - slope * signs.mean()), slope, len(signs), pooled)


@dataclass(frozen=True, eq=False)
class Volumes:
    """Intervals size +- bound * (size + scale) of one structure, from validation cases; see `volumes`."""

    scale: float
    bounds: Mapping[float, float]
    cases: int

    def within(self, size: Array, coverage: float) -> tuple[Array, Array]:
        """(n,) and (n,): lowest and greatest size; infinite where there are too few validation cases."""
        reach = self.bounds.get(coverage, np.inf) * (size + self.scale)
        return np.maximum(size - reach, 0), size + reach


def volumes(truth: Array, predicted: Array) -> Volumes:
    """From (n,) sizes of validation cases: their errors grow with what is predicted, so a score is the error over the
    predicted size plus `scale`, the median of the sizes predicted."""
    drawn = predicted[predicted > 0]
    scale = float(np.median(drawn)) if len(drawn) else 1.0
    scores = np.abs(truth - predicted) / (predicted + scale)
    return Volumes(scale, {c: conformal.bound(scores, c) for c in COVERAGES}, len(scores))


def checked(
    val: PerCaseValues | None, test: PerCaseValues, signs_val: Mapping[str, Array], signs_test: Mapping[str, Array]
) -> SelfChecked:
    """Fitted on the validation cases of each fold, and judged on its test cases."""
    shape = (len(test.ids), len(test.targets))
    signs, dice = sign(signs_test), quality(test)
    predicted, mean = np.full(shape, np.nan), np.full(shape, np.nan)
    review = np.zeros(len(test.ids), dtype=bool)
    span = {c: (np.full(shape, np.nan), np.full(shape, np.nan)) for c in COVERAGES}
    record: list[Record] = []
    for fold in np.unique(test.fold):
        mine = test.fold == fold
        theirs = None if val is None else val.fold == fold
        if val is None or theirs is None or not theirs.any():
            continue
        own = val.subset(theirs)
        known, at = quality(own), sign({name: v[theirs] for name, v in signs_val.items()})
        fitted = lines(at, known) if known is not None else [None] * shape[1]
        expected = _at(fitted, at)
        lowest = _lowest(expected)
        cut = float(np.quantile(lowest[~np.isnan(lowest)], REVIEWED)) if not np.isnan(lowest).all() else np.nan
        predicted[mine] = _at(fitted, signs[mine])
        review[mine] = _lowest(predicted[mine]) < cut
        for t, target in enumerate(test.targets):
            if known is not None and not np.isnan(known[:, t]).all():
                mean[mine, t] = np.nanmean(known[:, t])
            sizes = volumes(own.values["truth_size"][:, t], own.values["predicted_size"][:, t])
            for c, (low, high) in span.items():
                low[mine, t], high[mine, t] = sizes.within(test.values["predicted_size"][mine, t], c)
            record.append(_said(int(fold), target, fitted[t], sizes, cut, in_voxels=not test.has_size))
    low, high = span[COVERAGES[-1]]
    bounded = np.isfinite(high)
    columns = {
        **{name: np.asarray(values) for name, values in signs_test.items()},
        PREDICTED: predicted,
        REVIEW: np.repeat(review[:, None], shape[1], axis=1),
        LOW: np.where(bounded, low, np.nan),
        HIGH: np.where(bounded, high, np.nan),
    }
    estimands: list[tuple[str | None, Sequence[Estimand]]] = []
    if dice is not None:
        for rival, guess in ((None, predicted), (RIVAL, mean)):
            estimands.append((rival, _estimands(test, QUALITY, np.abs(dice - guess), "too few validation masks")))
    for c, (low, high) in span.items():
        size = test.values["truth_size"]
        held = np.where(np.isfinite(high), (size >= low - 1e-9) & (size <= high + 1e-9), np.nan)
        why = f"an interval needs {conformal.least_cases(c)} validation cases"
        estimands.append((None, _estimands(test, coverage(c), held, why)))
    return SelfChecked(replace(test, table={**test.table, **columns}), estimands, {"fitted": record})


def doubted(
    rows: Sequence[Record], signs: Sequence[Mapping[str, Array]], fitted: Sequence[Record], targets: Sequence[str]
) -> list[Record]:
    """The rows of one new image, one a structure with its `size`, and beside them the Dice that is expected, whether a
    human should look, and between which sizes the true one lies 9 times in 10.

    Each fold expects of its own mask what its validation cases taught; the row has the mean. What a fold could not
    learn from its validation cases is NaN, and so are bounds in ml of an image whose file states no size of a voxel.
    """
    expected, cuts = [], []
    for fold, given in enumerate(signs):
        mine = [entry for entry in fitted if entry["fold"] == fold]
        told = {entry["target"]: entry["line"] for entry in mine}
        lines = [None if told.get(name) is None else _line_of(told[name]) for name in targets]
        expected.append(_at(lines, sign({name: values[None] for name, values in given.items()}))[0])
        cuts += [entry["human_below"] for entry in mine if entry["human_below"] is not None]
    of_structure = _mean(np.stack(expected))
    lowest = _lowest(of_structure[None])[0]
    found = []
    for row, dice in zip(rows, of_structure, strict=True):
        learned = [e for e in fitted if e["target"] == row["target"] and _same_unit(row["unit"], e["sizes"])]
        spans = [_span(entry, float(row["size"])) for entry in learned]
        low, high = np.mean(spans, axis=0) if spans else (np.nan, np.nan)
        held = np.isfinite(high)
        found.append({
            **row,
            PREDICTED: float(dice),
            REVIEW: bool(cuts) and bool(lowest < np.mean(cuts)),
            LOW: float(low) if held else np.nan,
            HIGH: float(high) if held else np.nan,
        })  # fmt: skip
    return found


def coverage(promised: float) -> MetricSpec:
    """The share of the test cases whose size lies in the interval that promises to hold it so often."""
    metric = Metric(
        lambda truth, within: float(within[0] <= truth <= within[1]), "answer", "", parameter="promised",
        within=(0, 1), interval="share", summary="share of the true sizes that lie in their conformal intervals",
    )  # fmt: skip
    return MetricSpec(f"size_coverage@promised={promised:g}", metric, promised)


def _estimands(test: PerCaseValues, spec: MetricSpec, values: Array, why: str) -> list[Estimand]:
    held = replace(test, values={spec.name: values}, present=None)
    return [e for e in per_case.estimands(held, [spec], lambda _: why) if e.target in test.targets]


def _at(fitted: Sequence[Line | None], signs: Array) -> Array:
    columns = [np.full(len(signs), np.nan) if f is None else f.at(signs[:, t]) for t, f in enumerate(fitted)]
    return np.stack(columns, axis=1)


def _line_of(said: Record) -> Line:
    return Line(said["intercept"], said["slope"], said["masks"], said["of_all_structures"])


def _span(entry: Record, size: float) -> tuple[float, float]:
    """Lowest and greatest true size, 9 times in 10, by what one fold's validation cases taught."""
    said = entry["sizes"]
    fitted = Volumes(said["scale"], {float(c): b for c, b in said["bounds"].items()}, said["cases"])
    low, high = fitted.within(np.array([size]), COVERAGES[-1])
    return float(low[0]), float(high[0])


def _same_unit(unit: str, sizes: Record) -> bool:
    """A run that was finished before units were recorded is taken to be in the unit of the image."""
    return unit == "objects" or (unit == "voxels") == sizes.get("in_voxels", unit == "voxels")


def _mean(values: Array) -> Array:
    """Over the first axis, of those that exist; NaN where none does."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(known.any(0), np.where(known, values, 0).sum(0) / known.sum(0), np.nan)


def _lowest(predicted: Array) -> Array:
    """(n,) of (n, T): of the structure that is expected to be worst; NaN where none was drawn."""
    known = ~np.isnan(predicted)
    return np.where(known.any(1), np.where(known, predicted, np.inf).min(1), np.nan)


def _said(fold: int, target: str, line: Line | None, sizes: Volumes, cut: float, *, in_voxels: bool) -> Record:
    finite = {f"{c:g}": b for c, b in sizes.bounds.items() if np.isfinite(b)}
    return {
        "fold": fold,
        "target": target,
        "line": None if line is None else {"intercept": line.intercept, "slope": line.slope, "masks": line.masks,
                                           "of_all_structures": line.pooled},
        "human_below": None if np.isnan(cut) else cut,
        "sizes": {"scale": sizes.scale, "bounds": finite, "cases": sizes.cases, "in_voxels": in_voxels},
    }  # fmt: skip
