"""What an adapter, a task and a metric are to the rest of the house."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Metric:
    """One row of the table at the foot of a file in `metrics/`.

    `function` has truth first and prediction second. What they are is said by `takes`:

    score        truth (n,) of 0/1, score (n,), any real numbers; optional `weights` (R, n) integers gives (R,) values
    probability  the same, score in [0, 1] and meant as a probability
    decision     truth (n,) of 0/1, decision (n,) of 0/1, made at a threshold that was fixed on validation data
    class_score  truth (n,) class index, score (n, C); optional `weights` as above
    class        truth (n,) class index, decision (n,) class index; optional `weights` as above
    label_map    truth and prediction (i, j, k) whole numbers of one case, on the source grid in mm
    instances    truth and prediction (i, j, k) instance numbers of one case
    features     (n, d) features of two sets of images
    answer       texts

    A metric with a `parameter` is written `name@parameter=value` in a recipe: `sensitivity@specificity=0.9`.
    A value that does not exist raises Undefined with the reason; under `weights` it is NaN for that resample.
    """

    function: Callable[..., Any]
    takes: Literal[
        "score", "probability", "decision", "class_score", "class", "label_map", "instances", "features", "answer"
    ]
    better: Literal["higher", "lower", "zero", ""]
    unit: str = ""
    parameter: str | None = None
    summary: str = ""
