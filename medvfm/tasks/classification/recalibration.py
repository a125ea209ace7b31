"""Recalibration: scores to probabilities by what was fitted on validation data, Platt's scaling or a temperature."""

from __future__ import annotations

import numpy as np
import torch

from medvfm.core.array import Array
from medvfm.core.errors import DataError, RecipeError, Undefined
from medvfm.core.protocols import Recalibration
from medvfm.metrics import calibration
from medvfm.tasks.classification.scores import ScoreTable

TURNED = (
    "not recalibrated: on the validation cases a higher score of {} does not go with more positives, and the scaling "
    "would turn the order of the scores round"
)
NO_TEMPERATURE = (
    "not recalibrated: on the validation cases the log loss of {} falls up to the last temperature ({:g} or {:g})"
)
NO_ODDS = "scores that are no probabilities have no odds, which a temperature could scale"
LEAST, MOST = calibration.TEMPERATURES
CLIP = 1e-12  # of probabilities, whose logarithm is taken


def fit(val: ScoreTable | None, method: str, exclusive: bool) -> tuple[Recalibration | None, str]:
    """`platt` or `temperature` on the validation cases of each fold; None, and why, where it would do harm. Raises
    where there are no validation cases, or of a target one class only.

    Platt's scaling is left out where a slope is not above 0: it would turn the order of the scores round. A score that
    is the same for every case has no order, and gets the rate of the positives. A temperature is left out where the log
    loss falls up to a bound: every case right, or scores that are worse than none.
    """
    if val is None:
        raise RecipeError("evaluate.recalibrate needs validation cases", remedy="give `split` a share for val")
    if method == "platt":
        return _platt(val)
    if not exclusive and not val.probabilities:
        raise DataError(NO_ODDS, where="evaluate.recalibrate", remedy="platt takes scores of any kind")
    return _temperature(val, exclusive)


def adjusted(scored: ScoreTable, found: Recalibration, exclusive: bool) -> ScoreTable:
    """The scores as probabilities, each by the recalibration of its fold."""
    return scored.with_scores(probabilities(scored.scores, found, scored.fold, exclusive), True)


def probabilities(scores: Array, found: Recalibration, fold: Array, exclusive: bool) -> Array:
    """(n, T) probabilities of scores (n, T) of cases in the folds (n,)."""
    if found.method == "platt":
        slope, intercept = found.values[fold, :, 0], found.values[fold, :, 1]
        return np.asarray(1 / (1 + np.exp(-(slope * scores + intercept))))
    logits = _logits(scores, exclusive, found.of_probabilities) / found.values[fold]
    if not exclusive:
        return np.asarray(1 / (1 + np.exp(-logits)))
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _logits(scores: Array, exclusive: bool, of_probabilities: bool) -> Array:
    """What a temperature divides: log odds; of exclusive classes logarithms, or the scores themselves."""
    if not of_probabilities:
        return scores
    clipped = np.clip(scores, CLIP, 1 - CLIP)
    return np.asarray(np.log(clipped) if exclusive else np.log(clipped) - np.log1p(-clipped))


def _platt(val: ScoreTable) -> tuple[Recalibration | None, str]:
    found, falling = [], []
    for fold in np.unique(val.fold):
        for column, target in enumerate(val.targets):
            truth, score = _known(val, column, fold)
            try:
                slope, intercept = calibration.platt(truth, score)
            except Undefined as reason:
                raise _refused(target, reason) from None
            found.append([slope, intercept])
            if slope <= 0 and bool((score != score[0]).any()):
                falling.append(target)
    if falling:
        return None, TURNED.format(", ".join(dict.fromkeys(falling)))
    return Recalibration("platt", np.array(found).reshape(-1, len(val.targets), 2), val.probabilities), ""


def _temperature(val: ScoreTable, exclusive: bool) -> tuple[Recalibration | None, str]:
    logits, found, beyond = _logits(val.scores, exclusive, val.probabilities), [], []
    for fold in np.unique(val.fold):
        if exclusive:
            rows = (val.fold == fold) & ~np.isnan(val.truth).any(axis=1)
            parts = [("all classes", torch.as_tensor(val.truth[rows].argmax(axis=1)), torch.as_tensor(logits[rows]))]
        else:
            parts = []
            for column, target in enumerate(val.targets):
                truth, odds = _known(val.with_scores(logits, False), column, fold)
                parts.append((target, truth, torch.stack([torch.zeros_like(odds), odds], dim=1)))
        for target, truth, given in parts:
            if len(truth) == 0 or len(torch.unique(truth)) < 2:
                raise _refused(target, "one class only" if len(truth) else "no unit with a known label")
            temperature = calibration.temperature(truth, given)
            found += [temperature] * (len(val.targets) if exclusive else 1)
            if not LEAST * 1.001 < temperature < MOST / 1.001:
                beyond.append(target)
    if beyond:
        return None, NO_TEMPERATURE.format(", ".join(dict.fromkeys(beyond)), LEAST, MOST)
    return Recalibration("temperature", np.array(found).reshape(-1, len(val.targets)), val.probabilities), ""


def _known(val: ScoreTable, column: int, fold: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Truth and score (n,) of one target in a fold, where the label is known."""
    rows = (val.fold == fold) & ~np.isnan(val.truth[:, column])
    truth = torch.as_tensor((val.truth[rows, column] > 0.5).astype(np.int64))
    return truth, torch.as_tensor(val.scores[rows, column])


def _refused(target: str, reason: object) -> DataError:
    return DataError(
        f"{target} cannot be recalibrated on the validation cases: {reason}",
        remedy="say evaluate.recalibrate=none, or give `split` more cases for val",
    )
