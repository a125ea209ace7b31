"""Retrieval against a slow second implementation that sorts one query at a time, scikit-learn, and counting by hand."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, label_ranking_average_precision_score

from medvfm.core.errors import PredictionError, RecipeError
from medvfm.core.metric_spec import parse
from medvfm.metrics import retrieval

RANKED = {name: metric for name, metric in retrieval.METRICS.items() if metric.takes == "ranks"}


def queries(seed: int, ties: bool = False, q: int = 12, n: int = 30) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    right = rng.random((q, n)) < 0.15
    right[np.arange(q), rng.integers(0, n, q)] = True
    scores = rng.integers(0, 6, (q, n)).astype(float) if ties else rng.random((q, n))
    return torch.from_numpy(right), torch.from_numpy(scores)


def slow_rank(right, scores) -> int:
    """Sorts the candidates of one query, of equal ones the wrong first, and looks for the first right one."""
    ranked = sorted(zip(scores, right, strict=True), key=lambda pair: (-pair[0], pair[1]))
    return [bool(r) for _, r in ranked].index(True) + 1


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_ranks_are_those_of_sorting_one_query_at_a_time(seed, ties):
    right, scores = queries(seed, ties)
    slow = [slow_rank(r, s) for r, s in zip(right.tolist(), scores.tolist(), strict=True)]
    assert retrieval.first_rank(right, scores).tolist() == slow
    assert retrieval.reciprocal_rank(right, scores).tolist() == pytest.approx([1 / r for r in slow])
    for k in (1, 3, 10, 30, 99):
        assert retrieval.recall(right, scores, k).tolist() == [float(r <= k) for r in slow]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_average_precision_is_scikit_learns_with_ties_as_well(seed, ties):
    right, scores = queries(seed, ties)
    found = retrieval.average_precision(right, scores)
    each = [average_precision_score(r, s) for r, s in zip(right.numpy(), scores.numpy(), strict=True)]
    assert found.tolist() == pytest.approx(each)
    assert found.mean().item() == pytest.approx(label_ranking_average_precision_score(right.numpy(), scores.numpy()))


def test_average_precision_is_the_same_in_blocks(monkeypatch):
    right, scores = queries(4, ties=True)
    whole = retrieval.average_precision(right, scores)
    monkeypatch.setattr(retrieval, "ROWS", 65)  # two queries a block
    assert torch.equal(retrieval.average_precision(right, scores), whole)


@pytest.mark.parametrize("name", RANKED)
def test_candidates_that_are_not_there_are_as_if_they_were_cut_away(name):
    right, scores = queries(5, ties=True)
    arguments = {"k": 3} if RANKED[name].parameter else {}
    kept = torch.from_numpy(np.random.default_rng(1).random(30) < 0.6)
    kept[right[:, 0].int().argmax()] = True
    cut = RANKED[name].function(right[:, kept], scores[:, kept], **arguments)
    masked = RANKED[name].function(right, scores, among=kept.expand_as(right), **arguments)
    assert torch.allclose(cut, masked, rtol=1e-12, equal_nan=True)


@pytest.mark.parametrize("name", RANKED)
def test_order_of_candidates_and_monotone_similarities_change_nothing(name):
    right, scores = queries(6, ties=True)
    arguments = {"k": 3} if RANKED[name].parameter else {}
    order = torch.from_numpy(np.random.default_rng(2).permutation(30))
    plain = RANKED[name].function(right, scores, **arguments)
    for again in ((right[:, order], scores[:, order]), (right, torch.exp(scores))):
        assert torch.allclose(RANKED[name].function(*again, **arguments), plain, rtol=1e-12)


@pytest.mark.parametrize("name", RANKED)
def test_a_query_without_a_right_candidate_has_no_value(name):
    right, scores = queries(7)
    right[3] = False
    arguments = {"k": 3} if RANKED[name].parameter else {}
    found = RANKED[name].function(right, scores, **arguments)
    assert found.isnan().nonzero().flatten().tolist() == [3]


def test_a_model_that_finds_everything_alike_finds_nothing():
    right = torch.eye(5, dtype=torch.bool)
    alike = torch.zeros(5, 5)
    assert retrieval.first_rank(right, alike).tolist() == [5] * 5
    assert retrieval.recall(right, alike, 4).sum() == 0
    assert retrieval.average_precision(right, alike).tolist() == pytest.approx([0.2] * 5)


def test_numbers_by_hand():
    right = torch.tensor([[False, True, False, True], [True, False, False, False]])
    scores = torch.tensor([[0.9, 0.8, 0.7, 0.6], [0.5, 0.6, 0.5, 0.1]])
    assert retrieval.first_rank(right, scores).tolist() == [2, 3]  # of the tie at 0.5 the wrong one stands first
    assert retrieval.average_precision(right, scores).tolist() == pytest.approx([(1 / 2 + 2 / 4) / 2, 1 / 3])


def test_clip_score_is_100_times_the_cosine_from_0_on():
    found = retrieval.clip_score(torch.tensor([0.31, -0.2, 1.0, 3.0], dtype=torch.float64))
    assert found[:3].tolist() == pytest.approx([31, 0, 100])
    assert found[3].isnan()  # no cosine


@pytest.mark.parametrize("right", range(4))
def test_chance_is_counted_over_all_orders(right):
    n = 5
    k = torch.arange(1, n + 1)
    found = retrieval.chance(torch.tensor([right]), torch.tensor([n]), k)[0]
    if not right:
        assert found.isnan().all()
        return
    ranks = np.array([min(order[:right]) + 1 for order in permutations(range(n))])
    assert found.tolist() == pytest.approx([(ranks <= m).mean() for m in k.tolist()])


def test_what_is_no_ranking_is_refused():
    right, scores = queries(8)
    with pytest.raises(PredictionError, match="finite"):
        retrieval.first_rank(right, scores.masked_fill(right, torch.nan))
    with pytest.raises(PredictionError, match="of bool"):
        retrieval.first_rank(right.float(), scores)
    with pytest.raises(PredictionError, match="expected two"):
        retrieval.average_precision(right[:, :3], scores)
    with pytest.raises(ValueError, match="from 1 on"):
        retrieval.recall(right, scores, 0)


@pytest.mark.parametrize("name", ["recall@k=0", "recall@k=1.5", "recall@k=-1", "recall@k=inf", "recall", "recall@n=3"])
def test_a_recall_that_counts_nothing_is_refused_by_its_name(name):
    with pytest.raises(RecipeError, match="recall"):
        parse(name, retrieval.METRICS)


def test_recall_takes_a_whole_number():
    assert parse("recall@k=10", retrieval.METRICS).arguments == {"k": 10}
