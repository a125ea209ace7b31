"""Metrics: what a row of a table of metrics says, and how recipes name one: `sensitivity@specificity=0.9`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from medvfm.core.errors import RecipeError, nearest


@dataclass(frozen=True)
class Metric:
    """One row of the table at the foot of a file in `metrics/`.

    `function` has truth first and prediction second. What they are is said by `takes`:

    score        truth (n,) of 0/1, score (n,), any real numbers; optional `weights` (R, n) integers gives (R,) values
    probability  the same, score in [0, 1] and meant as a probability
    decision     truth (n,) of 0/1, decision (n,) of 0/1, made at a threshold that was fixed on validation data
    class_score  truth (n,) class index, score (n, C); optional `weights` as above
    class        truth (n,) class index, decision (n,) class index; optional `weights` as above
    overlap      the voxel counts of one case, `overlap.Counts`; gives (T,), NaN where a label's value does not exist
    surface      the distances between the surfaces of one label of one case, `surface.Surfaces`; NaN as above
    instances    the objects of one case, `instances.Matches`; NaN as above
    features     (n, d) features of true and (m, d) of made images, two sets that need not pair up; gives one number
    images       (m, c, h, w) made images alone, in [0, 1]; gives one number
    distances    (n,) distances of real test images to their nearest training image, and (m,) of made images to theirs
    embeddings   (n, d) vectors of images and of their own texts; gives (n,)
    answer       texts
    ranks        the candidates of q queries: which are right (q, n) of bool, similarity (q, n); gives (q,), NaN for a
                 query without a right one; optional `among` (q, n) says which candidates a query has
    cosine       cosines (n,) of the vectors of an image and of its own text; gives (n,)
    texts        a true and a given text of one case
    closed_text  the same, of a closed question; `options` are the answers that can be given, None where unknown
    open_text    the same, of an open question
    text_counts  what `per_case` counts of a true and a given text of one case, summed over cases (..., K); gives (...)
    image_pair   (n, c, h, w) true and given images of the same cases, in [0, 1]; gives (n,)
    verified     (n,) 1 where an image is taken for one of a training patient, else 0; gives one number
    lesions      true and given image (h, w) of one case, its true lesions (h, w) of bool, and what is usual of lesions,
                 `kept_lesions.UsualLesion`

    A metric with a `parameter` is written `name@parameter=value` in a recipe: `sensitivity@specificity=0.9`; `whole`
    parameters are whole numbers from 1 on: `recall@k=10`. A value that does not exist raises Undefined with the reason;
    under `weights` it is NaN for that resample. `over_cases` says how a row's number is made of those of single cases:
    their mean, their median, or their sum where cases are counted. Cases without a value are left out.

    within     the least and the greatest value that there can be
    interval   how chance moves it (statistics/): `ranks` as AUROC; `share` of cases; `f1`; `mean` over cases;
               `smooth` in the cases' weights; `steps`, where it jumps; `groups`, where groups of patients are left
               out of two sets; `none`, where an interval would mislead
    rests_on   whose patients are counted before an interval is believed
    per_case   for share and f1: (truth, prediction) to (hits, among), each (n, K) of bool, one column for each class
               that is averaged; for mean: (truth, prediction) to (n,) losses; for text_counts: (truth, text) to (K,)
    by_chance  for `none`: the values that chance alone gives, (prediction, draws, seed) to (draws,)
    """

    function: Callable[..., Any]
    takes: Literal[
        "score",
        "probability",
        "decision",
        "class_score",
        "class",
        "overlap",
        "surface",
        "instances",
        "features",
        "images",
        "distances",
        "embeddings",
        "answer",
        "ranks",
        "cosine",
        "texts",
        "closed_text",
        "open_text",
        "text_counts",
        "image_pair",
        "lesions",
        "verified",
        "singled",
    ]
    better: Literal["higher", "lower", "zero", ""]
    unit: str = ""
    parameter: str | None = None
    whole: bool = False
    summary: str = ""
    over_cases: Literal["mean", "median", "sum"] = "mean"
    within: tuple[float, float] = (float("-inf"), float("inf"))
    interval: Literal["ranks", "share", "f1", "mean", "smooth", "steps", "groups", "none"] = "smooth"
    rests_on: Literal["cases", "classes", "positives", "negatives"] = "cases"
    per_case: Callable[..., Any] | None = None
    by_chance: Callable[..., Any] | None = None


@dataclass(frozen=True)
class MetricSpec:
    """A metric with the value of its parameter."""

    name: str
    metric: Metric
    value: float | None

    @property
    def arguments(self) -> dict[str, float]:
        """The parameter by its name; a whole number where the metric counts."""
        if self.metric.parameter is None or self.value is None:
            return {}
        return {self.metric.parameter: int(self.value) if self.metric.whole else self.value}


def parse(name: str, known: Mapping[str, Metric], where: str | None = None) -> MetricSpec:
    """Find a metric by the name that a recipe gives; refuses by naming the choices."""
    base, at, rest = name.partition("@")
    parameter, _, text = rest.partition("=")
    found = next(
        (m for n, m in known.items() if n in (base, f"{base}@{parameter}") and bool(m.parameter) == bool(at)), None
    )
    if found is None:
        raise RecipeError(f"no metric {name!r}; {nearest(name, map(shown, known.items()))}", where=where)
    if not found.parameter:
        return MetricSpec(name, found, None)
    if parameter != found.parameter:
        raise RecipeError(f"{base} takes {found.parameter}, as in {shown((base, found), True)}", where=where)
    try:
        value = float(text)
    except ValueError:
        raise RecipeError(f"{text!r} in {name!r} is no number", where=where) from None
    if found.whole and not (value >= 1 and value.is_integer()):
        raise RecipeError(f"{parameter} is a whole number from 1 on, and {name!r} says {text}", where=where)
    if parameter in ("sensitivity", "specificity", "iou") and not 0 < value <= 1:
        raise RecipeError(f"{parameter} lies between 0 and 1, and {name!r} says {text}", where=where)
    if parameter in ("prevalence", "threshold") and not 0 < value < 1:
        raise RecipeError(f"the {parameter} lies between 0 and 1, and {name!r} says {text}", where=where)
    if parameter == "tolerance" and not 0 <= value < float("inf"):
        raise RecipeError(f"the tolerance is in mm, from 0 on, and {name!r} says {text}", where=where)
    return MetricSpec(name, found, value)


def shown(entry: tuple[str, Metric], example: bool = False) -> str:
    """How a recipe writes a row of a table of metrics, or an example of it."""
    name, metric = entry
    if not metric.parameter:
        return name
    return f"{name.partition('@')[0]}@{metric.parameter}={('10' if metric.whole else '0.9') if example else '...'}"
