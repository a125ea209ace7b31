"""Calibration: whether a probability of 0.3 comes true in 3 of 10, and the maps that make it so.

Binary numbers take truth (n,) of 0/1 and the probability (n,) of a positive. The multiclass ones take truth (n,) class
index and probabilities (n, C). Scores that are no probabilities have no calibration: the number is undefined.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from medvfm.core.errors import PredictionError, Undefined
from medvfm.core.metric_spec import Metric
from medvfm.metrics.logistic import fit
from medvfm.metrics.weighted import balance, check_binary, check_cases, check_classes, over_resamples

BINS = 15  # Guo et al. 2017
# A probability of 0 for what happened would cost an infinite log loss. Clipped as scikit-learn does for float64.
CLIP_LOSS = 2.0**-52
# Slope and intercept work on log-odds, where a float32 sigmoid that saturates would be infinite; +-16 at this clip.
CLIP_ODDS = 1e-7


def bin_edges(bins: int) -> Tensor:
    """(bins + 1,) 0, 1 / bins, ..., 1: the one place where edges of bins of equal width are made."""
    return torch.arange(bins + 1, dtype=torch.float64) / bins


def bin_of(probability: Tensor, bins: int) -> Tensor:
    """(n,) bin of equal width of each probability, from 0 on.

    A bin holds its lower edge and not its upper one, the last bin holds both: 0.3 of ten bins lies in the one from 0.3
    to 0.4. Metrics, figures and tables all count by this function.
    """
    return torch.bucketize(probability, bin_edges(bins)[1:-1].to(probability), right=True)


def brier(truth: Tensor, probability: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Mean of (probability - truth)², 0 to 1 (Brier 1950, for the positive class alone)."""
    return _mean(_squares(truth, probability), weights)


def log_loss(truth: Tensor, probability: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Mean of -log of the probability of what happened, in nats; probabilities are clipped at 2**-52."""
    return _mean(_surprises(truth, probability), weights)


def ece(truth: Tensor, probability: Tensor, *, weights: Tensor | None = None, bins: int = BINS) -> Tensor:
    """Expected calibration error of the positive class: the mean over cases of |observed rate - mean probability|.

    Bins of equal width, closed below, the last one on both sides. Naeini et al. 2015; 15 bins as Guo et al. 2017, who
    bin the confidence of the chosen class: that is `top_label_ece`. Biased upwards in small samples.
    """
    truth, probability = _binary(truth, probability)
    return _binned_error(truth - probability, bin_of(probability, bins), bins, weights)


def ece_equal_mass(truth: Tensor, probability: Tensor, *, weights: Tensor | None = None, bins: int = BINS) -> Tensor:
    """Expected calibration error with bins of equally many cases (Nguyen and O'Connor 2015).

    Equal probabilities stay together: they go to the bin in which the middle of their ranks falls. Under weights the
    bins are those of each resample.
    """
    truth, probability = _binary(truth, probability)
    gaps = truth - probability
    ranked, order = torch.sort(probability)
    _, group = torch.unique_consecutive(ranked, return_inverse=True)
    first = torch.searchsorted(group, group)  # of the cases of equal probability
    last = torch.searchsorted(group, group, right=True) - 1

    def value(counts: Tensor) -> Tensor:
        counts = counts[:, order]
        upto, total = counts.cumsum(1), counts.sum(1)
        ranks = (upto - counts)[:, first] + upto[:, last]  # twice the middle
        place = torch.div(ranks * bins, 2 * total[:, None], rounding_mode="floor").nan_to_num().long()
        place = place.clamp(0, bins - 1)  # a case with no count above all others; it adds nothing
        sums = torch.zeros(len(counts), bins, dtype=torch.float64, device=counts.device)
        return sums.scatter_add_(1, place, counts * gaps[order]).abs().sum(1) / total

    return over_resamples(value, truth, weights, lambda: "no cases")


def calibration_slope(truth: Tensor, probability: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Slope b of logit P(truth) = a + b logit(probability): 1 is right, below 1 the probabilities are too extreme.

    Cox 1958. Undefined where a threshold separates the classes completely, since b is then infinite.
    """
    truth, probability = _binary(truth, probability)
    odds = torch.logit(probability, CLIP_ODDS)

    def reason() -> str:
        if bool((truth == truth[0]).all()):
            return balance(truth)
        if bool((odds == odds[0]).all()):
            return "every case has the same probability"
        return "a threshold separates the classes completely: the slope is infinite"

    begin = None if weights is None else fit(odds, truth, torch.ones_like(truth)[None])
    return over_resamples(lambda counts: fit(odds, truth, counts, begin=begin)[1], truth, weights, reason)


def calibration_intercept(truth: Tensor, probability: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Intercept a of logit P(truth) = a + logit(probability): 0 is right, below 0 the probabilities are too high.

    Calibration in the large, with the slope held at 1 (Van Calster et al. 2019). Undefined for one class only.
    """
    truth, probability = _binary(truth, probability)
    odds = torch.logit(probability, CLIP_ODDS)
    begin = None if weights is None else fit(odds, truth, torch.ones_like(truth)[None], slope=1.0)

    def value(counts: Tensor) -> Tensor:
        return fit(odds, truth, counts, slope=1.0, begin=begin)[0]

    return over_resamples(value, truth, weights, lambda: balance(truth))


def multiclass_brier(truth: Tensor, probability: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Mean of the sum over classes of (probability - truth)², 0 to 2 (Brier 1950); twice `brier` for two classes."""
    return _mean(_squares_of_classes(truth, probability), weights)


def multiclass_log_loss(truth: Tensor, probability: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Mean of -log of the probability of the true class, in nats; clipped as log_loss."""
    return _mean(_surprises_of_classes(truth, probability), weights)


def top_label_ece(truth: Tensor, probability: Tensor, *, weights: Tensor | None = None, bins: int = BINS) -> Tensor:
    """Expected calibration error of the class with the highest probability (Guo et al. 2017); bins as `ece`."""
    probability = _multiclass(truth, probability)
    confidence, chosen = probability.max(1)
    right = (chosen == truth).to(torch.float64)
    return _binned_error(right - confidence, bin_of(confidence, bins), bins, weights)


class Reliability(NamedTuple):
    """Bins that hold at least one case, each (B,): edges, mean probability, share of positives, and counts."""

    low: Tensor
    high: Tensor
    probability: Tensor
    observed: Tensor
    cases: Tensor
    positives: Tensor


def reliability(truth: Tensor, probability: Tensor, bins: int = 10) -> Reliability:
    """What a reliability diagram shows: observed rate against mean probability in bins of equal width."""
    truth, probability = _binary(truth, probability)
    place = bin_of(probability, bins)
    sums = torch.zeros(3, bins, dtype=torch.float64, device=truth.device)
    cases, positives, given = sums.index_add_(1, place, torch.stack([torch.ones_like(truth), truth, probability]))
    edges = bin_edges(bins).to(truth.device)
    held = cases > 0
    columns = (edges[:-1], edges[1:], given / cases, positives / cases, cases.long(), positives.long())
    return Reliability(*(column[held] for column in columns))


def platt(truth: Tensor, score: Tensor) -> tuple[float, float]:
    """Slope and intercept with P(positive) = sigmoid(slope * score + intercept), fitted on validation data.

    Platt 1999 with his targets (N+ + 1) / (N+ + 2) and 1 / (N- + 2), so that the fit exists for separated classes too.
    A constant score has slope 0. Undefined for one class only.
    """
    truth, score = _check(truth, score)
    positives = truth.sum()
    negatives = len(truth) - positives
    if positives == 0 or negatives == 0:
        raise Undefined(balance(truth))
    if not bool(torch.isfinite(score).all()):
        raise Undefined("scores hold infinity")
    centre, spread = score.mean(), score.std(correction=0)
    targets = torch.where(truth > 0, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    if spread == 0:
        return 0.0, float(torch.logit(targets.mean()))
    ones = torch.ones(1, len(truth), dtype=torch.float64, device=truth.device)
    intercept, slope = fit((score - centre) / spread, targets, ones)
    return float(slope / spread), float(intercept - slope * centre / spread)


TEMPERATURES = (0.01, 100.0)


def temperature(truth: Tensor, logits: Tensor) -> float:
    """T with probabilities softmax(logits / T) of the least log loss, fitted on validation data (Guo et al. 2017).

    truth (n,) class index, logits (n, C). The loss is convex in 1 / T; T is kept in [0.01, 100], and lies at a bound
    where the optimum lies beyond it: at 0.01 where every case is right, at 100 where the logits are no use.
    """
    check_cases(truth, logits)
    _check_class_scores(truth, logits)
    logits = logits.to(torch.float64)
    right = logits.gather(1, truth.long()[:, None])[:, 0].mean()

    def descent(inverse: float) -> float:
        """Derivative of the log loss by 1 / T."""
        return float(((logits * inverse).softmax(1) * logits).sum(1).mean() - right)

    low, high = TEMPERATURES
    for _ in range(80):  # bisection in log(1 / T)
        middle = (low * high) ** 0.5
        low, high = (middle, high) if descent(middle) <= 0 else (low, middle)
    return 1 / high


def _squares(truth: Tensor, probability: Tensor) -> Tensor:
    """(n,) losses of single cases, whose mean is the Brier score; the three below alike."""
    truth, probability = _binary(truth, probability)
    return (probability - truth).square()


def _surprises(truth: Tensor, probability: Tensor) -> Tensor:
    truth, probability = _binary(truth, probability)
    happened = torch.where(truth > 0, probability, 1 - probability)
    return -happened.clamp(CLIP_LOSS, 1 - CLIP_LOSS).log()


def _squares_of_classes(truth: Tensor, probability: Tensor) -> Tensor:
    probability = _multiclass(truth, probability)
    happened = torch.nn.functional.one_hot(truth.long(), probability.shape[1])
    return (probability - happened).square().sum(1)


def _surprises_of_classes(truth: Tensor, probability: Tensor) -> Tensor:
    probability = _multiclass(truth, probability)
    happened = probability.gather(1, truth.long()[:, None])[:, 0]
    return -happened.clamp(CLIP_LOSS, 1 - CLIP_LOSS).log()


def _ece_by_chance(probability: Tensor, draws: int, seed: int) -> Tensor:
    """(draws,) calibration errors of truths drawn with these very probabilities, which are then perfect."""
    probability = probability.to(torch.float64)
    return _errors_by_chance(probability, bin_of(probability, BINS), draws, seed)


def _ece_equal_mass_by_chance(probability: Tensor, draws: int, seed: int) -> Tensor:
    probability = probability.to(torch.float64)
    ranked, order = torch.sort(probability)
    _, group = torch.unique_consecutive(ranked, return_inverse=True)
    first, last = torch.searchsorted(group, group), torch.searchsorted(group, group, right=True) - 1
    place = torch.div((first + last + 1) * BINS, 2 * len(ranked), rounding_mode="floor").clamp(0, BINS - 1)
    return _errors_by_chance(probability[order], place, draws, seed)


def _top_label_ece_by_chance(probability: Tensor, draws: int, seed: int) -> Tensor:
    confidence = probability.to(torch.float64).max(1).values
    return _errors_by_chance(confidence, bin_of(confidence, BINS), draws, seed)


def _errors_by_chance(probability: Tensor, place: Tensor, draws: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(draws, len(probability), dtype=torch.float64, generator=generator) < probability.cpu()
    inside = torch.nn.functional.one_hot(place.cpu(), BINS).to(torch.float64)
    return ((drawn.to(torch.float64) - probability.cpu()) @ inside).abs().sum(1) / len(probability)


def _check(truth: Tensor, score: Tensor) -> tuple[Tensor, Tensor]:
    check_cases(truth, score)
    check_binary("labels", truth)
    if score.ndim != 1:
        raise PredictionError(f"scores {tuple(score.shape)}: expected one a case")
    return truth.to(torch.float64), score.to(torch.float64)


def _binary(truth: Tensor, probability: Tensor) -> tuple[Tensor, Tensor]:
    truth, probability = _check(truth, probability)
    _check_range(probability)
    return truth, probability


def _multiclass(truth: Tensor, probability: Tensor) -> Tensor:
    check_cases(truth, probability)
    _check_class_scores(truth, probability)
    probability = probability.to(torch.float64)
    _check_range(probability)
    if bool(((probability.sum(1) - 1).abs() > 1e-3).any()):
        raise Undefined("scores of a case do not sum to 1: they are no probabilities of exclusive classes")
    return probability


def _check_class_scores(truth: Tensor, score: Tensor) -> None:
    check_classes("labels", truth)
    if score.ndim != 2 or int(truth.max()) >= score.shape[1]:
        raise PredictionError(f"scores {tuple(score.shape)} for class indices up to {int(truth.max())}")


def _check_range(probability: Tensor) -> None:
    low, high = float(probability.min()), float(probability.max())
    if low < 0 or high > 1:
        raise Undefined(f"scores from {low:.4g} to {high:.4g} are no probabilities")


def _mean(losses: Tensor, weights: Tensor | None) -> Tensor:
    return over_resamples(lambda counts: counts @ losses / counts.sum(1), losses, weights, lambda: "no cases")


def _binned_error(gaps: Tensor, place: Tensor, bins: int, weights: Tensor | None) -> Tensor:
    """Sum over bins of |sum of gaps| / n, which is the count-weighted mean of |observed - predicted|."""
    held = [(place == b).nonzero()[:, 0] for b in range(bins)]

    def value(counts: Tensor) -> Tensor:
        errors = torch.stack([counts[:, cases] @ gaps[cases] for cases in held], 1)
        return errors.abs().sum(1) / counts.sum(1)

    return over_resamples(value, gaps, weights, lambda: "no cases")


UNIT, POSITIVE = (0.0, 1.0), (0.0, float("inf"))
METRICS: dict[str, Metric] = {
    "brier": Metric(
        brier,
        "probability",
        "lower",
        summary="mean squared error of the probability",
        within=UNIT,
        interval="mean",
        per_case=_squares,
    ),
    "log_loss": Metric(
        log_loss,
        "probability",
        "lower",
        unit="nats",
        summary="mean negative log-likelihood",
        within=POSITIVE,
        interval="mean",
        per_case=_surprises,
    ),
    "ece": Metric(
        ece,
        "probability",
        "lower",
        summary="expected calibration error, 15 bins of equal width",
        within=UNIT,
        interval="none",
        by_chance=_ece_by_chance,
    ),
    "ece_equal_mass": Metric(
        ece_equal_mass,
        "probability",
        "lower",
        summary="expected calibration error, 15 bins of equally many cases",
        within=UNIT,
        interval="none",
        by_chance=_ece_equal_mass_by_chance,
    ),
    "calibration_slope": Metric(
        calibration_slope, "probability", "", summary="1 is right, below 1 overconfident", rests_on="classes"
    ),
    "calibration_intercept": Metric(
        calibration_intercept,
        "probability",
        "zero",
        summary="0 is right, below 0 the probabilities are too high",
        rests_on="classes",
    ),
    "multiclass_brier": Metric(
        multiclass_brier,
        "class_score",
        "lower",
        summary="squared error summed over classes, 0 to 2",
        within=(0.0, 2.0),
        interval="mean",
        per_case=_squares_of_classes,
    ),
    "multiclass_log_loss": Metric(
        multiclass_log_loss,
        "class_score",
        "lower",
        unit="nats",
        summary="negative log-likelihood of the true class",
        within=POSITIVE,
        interval="mean",
        per_case=_surprises_of_classes,
    ),
    "top_label_ece": Metric(
        top_label_ece,
        "class_score",
        "lower",
        summary="expected calibration error of the highest probability, 15 bins",
        within=UNIT,
        interval="none",
        by_chance=_top_label_ece_by_chance,
    ),
}
