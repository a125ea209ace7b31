"""Resample counts: a metric's value once over the cases, or once for each of R resamples of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from medvfm.core.errors import MedvfmError, PredictionError, Undefined

# Counts of a block of resamples are held as (r, n) float64 with r * n near these, so that memory stays bounded whatever
# R is: on a CPU what its cache holds (2 MiB each, 2 to 3 times faster than 32 MiB), on an accelerator 32 MiB each, of
# which a metric holds up to six at once.
CPU_ELEMENTS = 2**18
DEVICE_ELEMENTS = 2**22


def over_resamples(
    value: Callable[[Tensor], Tensor],
    like: Tensor,
    weights: Tensor | None,
    reason: Callable[[], str],
    width: int = 0,
) -> Tensor:
    """() float64 of all cases, or (R,) of the resamples that `weights` (R, n) counts.

    value   takes counts (r, n) float64 and gives (r,), or (r, m) for curves, NaN where the number does not exist
    like    (n, ...) on the device where the work is done
    reason  why the value of all cases does not exist; raised as Undefined, and only without weights
    width   numbers that `value` holds for each resample, where they are more than n
    """
    n = len(like)
    if weights is None:
        found = value(torch.ones(1, n, dtype=torch.float64, device=like.device))[0]
        if bool(torch.isnan(found).any()):
            raise Undefined(reason())
        return found
    if weights.ndim != 2 or weights.shape[1] != n or weights.is_floating_point() or weights.is_complex():
        raise ValueError(f"weights {tuple(weights.shape)} {weights.dtype}: expected (R, {n}) whole numbers")
    elements = CPU_ELEMENTS if like.device.type == "cpu" else DEVICE_ELEMENTS
    blocks = weights.split(max(1, elements // max(n, width)))
    return torch.cat([value(block.to(like.device, torch.float64)) for block in blocks])


def check_cases(truth: Tensor, prediction: Tensor) -> None:
    """Truth (n,) and prediction (n,) or (n, C): the same cases, at least one, and no NaN among them."""
    if truth.ndim != 1 or prediction.ndim not in (1, 2) or len(truth) != len(prediction):
        raise PredictionError(f"truth {tuple(truth.shape)} and prediction {tuple(prediction.shape)} do not pair up")
    if len(truth) == 0:
        raise Undefined("no cases")
    for name, values in (("labels", truth), ("scores", prediction)):
        if values.is_floating_point() and bool(torch.isnan(values).any()):
            raise Undefined(f"{name} hold NaN")


def check_binary(name: str, values: Tensor) -> None:
    """Each value is 0 or 1."""
    if bool(((values != 0) & (values != 1)).any()):
        raise PredictionError(f"{name} must be 0 or 1")


def check_classes(name: str, values: Tensor) -> None:
    """Each value is a class index: 0, 1, 2, ..."""
    if bool((values < 0).any()) or (values.is_floating_point() and bool((values != values.round()).any())):
        raise PredictionError(f"{name} must be class indices, whole numbers from 0")


def check_fraction(name: str, value: float) -> None:
    """A wanted specificity or sensitivity lies in (0, 1]."""
    if not 0 < value <= 1:
        raise MedvfmError(f"{name}={value:g} is not above 0 and at most 1")


def balance(truth: Tensor) -> str:
    """`one class only: 12 positives, 0 negatives`, for the reason of a number that needs both classes."""
    positives = int((truth != 0).sum())
    return f"one class only: {positives} positives, {len(truth) - positives} negatives"
