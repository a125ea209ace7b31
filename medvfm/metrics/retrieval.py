"""Retrieval: where the right candidates of a query stand among all candidates, ranked by similarity.

Functions take the queries of one gallery at once: `right` (q, n) of bool, which candidates are right; `similarity`
(q, n), any finite numbers, higher for more alike, of which only the order counts; and `among` (q, n) of bool, which
candidates there are for a query (None: all). They give (q,) float64, NaN for a query without a right candidate.

Ties are counted against the model: of candidates with the same similarity the wrong ones stand first, so that a model
that finds everything alike finds nothing. Average precision takes equal similarities together, as one threshold does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from medvfm.core.errors import PredictionError
from medvfm.core.metric_spec import Metric

ROWS = 1 << 22  # numbers of a block of queries, so that memory grows with the gallery and not with its square
UNIT = (0.0, 1.0)


def first_rank(right: Tensor, similarity: Tensor, *, among: Tensor | None = None) -> Tensor:
    """The place of the first right candidate, from 1 on."""
    right, there = _checked(right, similarity, among)
    best = similarity.masked_fill(~right, -torch.inf).amax(1, keepdim=True)
    before = (similarity >= best) & there & ~right
    return (before.sum(1) + 1).to(torch.float64).masked_fill(~right.any(1), torch.nan)


def recall(right: Tensor, similarity: Tensor, k: int, *, among: Tensor | None = None) -> Tensor:
    """1 where a right candidate is among the first k, else 0: recall at k of cross-modal retrieval (Hodosh 2013)."""
    if k < 1:
        raise ValueError(f"recall among the first {k}: k is a whole number from 1 on")
    rank = first_rank(right, similarity, among=among)
    return (rank <= k).to(torch.float64).masked_fill(rank.isnan(), torch.nan)


def reciprocal_rank(right: Tensor, similarity: Tensor, *, among: Tensor | None = None) -> Tensor:
    """1 / place of the first right candidate; its mean over queries is the mean reciprocal rank (Voorhees 1999)."""
    return 1 / first_rank(right, similarity, among=among)


def average_precision(right: Tensor, similarity: Tensor, *, among: Tensor | None = None) -> Tensor:
    """The mean over the right candidates of precision down to each (Manning 2008, section 8.4).

    As scikit-learn's average_precision_score and label_ranking_average_precision_score, with ties as well.
    """
    right, there = _checked(right, similarity, among)
    step = max(1, ROWS // max(1, right.shape[1]))
    blocks = [slice(first, first + step) for first in range(0, len(right), step)]
    return torch.cat([_average_precision(right[b], similarity[b], there[b]) for b in blocks])


def clip_score(cosine: Tensor) -> Tensor:
    """100 max(cos, 0) of the vectors of an image and its own text (Hessel 2021 with w = 100). cosine (n,) to (n,).

    NaN for a similarity beyond -1 and 1, which is no cosine.
    """
    given = cosine.to(torch.float64)
    return (100 * given.clamp(0, 1)).masked_fill(given.abs() > 1 + 1e-6, torch.nan)


def chance(right: Tensor, candidates: Tensor, k: Tensor) -> Tensor:
    """(q, m) probability that candidates in an order by chance have a right one among the first k.

    right (q,) and candidates (q,): how many there are of each query; k (m,). 1 - C(n - r, k) / C(n, k).
    """
    r, n, places = right.to(torch.float64)[:, None], candidates.to(torch.float64)[:, None], k.to(torch.float64)[None]
    wrong = n - r
    log = lambda whole: torch.lgamma(whole + 1)  # noqa: E731  # the logarithm of a factorial
    enough = places <= wrong
    missed = torch.where(enough, places, torch.zeros_like(places))  # C(wrong, k) is 0 where k is greater
    share = torch.exp(log(wrong) - log(wrong - missed) - log(n) + log(n - missed))
    return (1 - share.where(enough, torch.zeros_like(share))).where(r > 0, torch.nan)


def _checked(right: Tensor, similarity: Tensor, among: Tensor | None) -> tuple[Tensor, Tensor]:
    """Which candidates are right and there, and which are there."""
    if right.ndim != 2 or right.shape != similarity.shape or right.dtype != torch.bool:
        raise PredictionError(
            f"right {tuple(right.shape)} {right.dtype} and similarity {tuple(similarity.shape)}: expected two (q, n), "
            "the first of bool"
        )
    if not similarity.isfinite().all():
        raise PredictionError("similarities must be finite numbers")
    there = torch.ones_like(right) if among is None else among
    if there.shape != right.shape or there.dtype != torch.bool:
        raise PredictionError(f"among {tuple(there.shape)} {there.dtype}: expected bool {tuple(right.shape)}")
    return right & there, there


def _average_precision(right: Tensor, similarity: Tensor, there: Tensor) -> Tensor:
    ranked, order = similarity.masked_fill(~there, -torch.inf).sort(dim=1, descending=True)
    hits, counted = right.gather(1, order), there.gather(1, order)
    ends = torch.ones_like(hits)
    ends[:, :-1] = ranked[:, 1:] != ranked[:, :-1]
    place = torch.arange(hits.shape[1], device=hits.device).expand_as(hits)
    last = place.masked_fill(~ends, hits.shape[1]).flip(1).cummin(1).values.flip(1)  # of the ties of each place
    found, seen = (of.cumsum(1).gather(1, last).to(torch.float64) for of in (hits, counted))
    total = hits.sum(1)
    precision = (found / seen.clamp(min=1)).masked_fill(~hits, 0).sum(1) / total.clamp(min=1)
    return precision.masked_fill(total == 0, torch.nan)


METRICS: dict[str, Metric] = {
    "recall": Metric(
        recall,
        "ranks",
        "higher",
        parameter="k",
        whole=True,
        summary="queries with a right candidate among the first k",
        within=UNIT,
        interval="share",
    ),
    "median_rank": Metric(
        first_rank,
        "ranks",
        "lower",
        summary="median place of the first right candidate",
        over_cases="median",
        within=(1.0, float("inf")),
        interval="steps",
    ),
    "mean_average_precision": Metric(
        average_precision,
        "ranks",
        "higher",
        summary="mean over queries of average precision",
        within=UNIT,
        interval="mean",
    ),
    "mean_reciprocal_rank": Metric(
        reciprocal_rank,
        "ranks",
        "higher",
        summary="mean of 1 / place of the first right candidate",
        within=UNIT,
        interval="mean",
    ),
    "clip_score": Metric(
        clip_score,
        "cosine",
        "higher",
        summary="100 x cosine of an image and its own text, from 0 on",
        within=(0.0, 100.0),
        interval="mean",
    ),
}
