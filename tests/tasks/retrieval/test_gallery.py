"""Galleries: what is right for what, candidates within columns, and texts dealt anew against what chance gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medvfm.core.case import Case
from medvfm.core.errors import PredictionError
from medvfm.core.metric_spec import parse
from medvfm.core.protocols import Points
from medvfm.core.recipe_sections import Baseline
from medvfm.statistics.estimand import mean_of_draws
from medvfm.tasks.per_case_task import ListedCases
from medvfm.tasks.retrieval import gallery, ranked_queries
from medvfm.tasks.retrieval.task import METRICS, RetrievalTask

NAMES = ("recall@k=1", "recall@k=3", "median_rank", "mean_average_precision", "clip_score")
SPECS = [parse(name, METRICS) for name in NAMES]


def cases(texts, **columns):
    return [
        Case(f"c{n}", f"p{n}", {}, text=text, groups={k: v[n] for k, v in columns.items()})
        for n, text in enumerate(texts)
    ]


def vectors(n, d=6, seed=0):
    found = np.random.default_rng(seed).normal(size=(n, d))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def collected(given, images, texts, task=RetrievalTask()):  # noqa: B008  # tasks are frozen
    answers = [{"image": i, "text": t} for i, t in zip(images, texts, strict=True)]
    return task.collect(ListedCases(given), iter(answers), None, SPECS)


def test_texts_are_the_same_apart_from_white_space_and_capitals():
    given = cases(["A dark  lesion", "a dark\nlesion ", "Normal", "NORMAL", "other"])
    images = vectors(5)
    found = collected(given, images, images)
    right = found.values["right"][:, 0].tolist()
    assert right == [2, 2, 2, 2, 1]
    task = RetrievalTask()
    assert not task.has_truth(Case("c", "p", {}, text=" \n")) and not task.has_truth(Case("c", "p", {}))
    hidden = task.hide(replace(given[0], targets={"a": 1.0}, answer="yes"))
    assert hidden.text == given[0].text and not hidden.targets and hidden.answer is None


def test_a_model_that_knows_each_pair_finds_it_first_both_ways():
    given, images = cases([f"text {n}" for n in range(9)]), vectors(9)
    found = collected(given, images, images)
    for name, value in (("recall@k=1", 1), ("mean_average_precision", 1), ("rank", 1), ("candidates", 9)):
        assert (found.values[name] == value).all(), name
    assert found.values["clip_score"][:, 0] == pytest.approx(100)


def test_both_directions_are_counted_one_query_at_a_time():
    texts = ["a", "b", "a", "c", "d", "b", "e"]
    given, images, words = cases(texts), vectors(7, seed=1), vectors(7, seed=2)
    found = collected(given, images, words)
    for column, (queries, candidates) in enumerate([(words, images), (images, words)]):
        for i in range(7):
            order = sorted(range(7), key=lambda j: -float(queries[i] @ candidates[j]))
            rank = [texts[j] == texts[i] for j in order].index(True) + 1
            assert found.values["rank"][i, column] == rank
            assert found.values["recall@k=3"][i, column] == (rank <= 3)


def test_within_a_column_is_as_if_the_other_cases_were_not_there():
    plane = ["a", "b", "a", "b", "a", "b", ""]
    given, images, words = cases("tuvwxyz", plane=plane), vectors(7, seed=3), vectors(7, seed=4)
    task = RetrievalTask(within=("plane",))
    found = collected(given, images, words, task)
    for value in "ab":
        rows = np.array([p == value for p in plane])
        alone = collected([c for c, r in zip(given, rows, strict=True) if r], images[rows], words[rows])
        for name in ("recall@k=1", "mean_average_precision", "rank", "candidates"):
            assert np.array_equal(found.values[f"{name} within plane"][rows], alone.values[name]), name
    assert np.isnan(found.values["rank within plane"][6]).all()  # its plane is unknown
    (name, view), = task.views(found).items()  # fmt: skip
    assert name == "within plane"
    estimand = task.estimands(view, SPECS[:1], Points())[0]
    assert estimand.value == pytest.approx(np.nanmean(found.values["recall@k=1 within plane"][:, 0]))
    assert "1 of 7 queries have no right candidate" in estimand.notes
    assert {e.metric.name for e in task.estimands(view, SPECS, Points())} == set(NAMES) - {"clip_score"}


def test_estimands_are_of_plain_names_and_have_no_mean_over_directions():
    given, images = cases("tuvwxyz", plane=list("aabbaab")), vectors(7)
    task = RetrievalTask(within=("plane",))
    found = task.estimands(collected(given, images, images, task), SPECS, Points())
    assert [(e.metric.name, e.target) for e in found] == [
        (name, target)
        for name in NAMES
        for target in ("text_to_image", "image_to_text")
        if (name, target) != ("clip_score", "image_to_text")
    ]


def test_a_gallery_no_larger_than_k_is_told():
    given, images = cases("tuv"), vectors(3)
    found = RetrievalTask().estimands(collected(given, images, images), SPECS[1:2], Points())
    assert "3 of 3 queries have no more than 3 candidates" in found[0].notes


def test_images_find_images_that_share_the_column_and_never_themselves():
    given = cases("tuvwx", finding=["a", "a", "b", "b", "c"])
    images = vectors(5, d=2, seed=5)
    task = RetrievalTask(same="finding")
    found = collected(given, images, images, task)
    column = found.targets.index("image_to_image")
    assert found.values["candidates"][:, column].tolist() == [4] * 5
    assert found.values["right"][:, column].tolist() == [1, 1, 1, 1, 0]
    assert np.isnan(found.values["rank"][4, column])
    for i in range(4):
        others = [j for j in sorted(range(5), key=lambda j: -float(images[i] @ images[j])) if j != i]
        assert found.values["rank"][i, column] == others.index(i ^ 1) + 1


def test_texts_dealt_anew_find_on_average_what_chance_gives():
    """Unique texts: k of n, for perfect vectors too."""
    n = 12
    plane = ["a"] * 4 + ["b"] * 8
    given, images = cases([f"text {i}" for i in range(n)], plane=plane), vectors(n)
    found = collected(given, images, images, RetrievalTask(within=("plane",)))
    rng = np.random.default_rng(0)
    draws = [ranked_queries.permuted(found, rng) for _ in range(250)]
    for column in range(2):
        mean = {name: np.mean([d.values[name][:, column] for d in draws], axis=0) for name in found.values}
        assert mean["recall@k=1"].mean() == pytest.approx(1 / n, abs=0.02)
        assert mean["recall@k=3"].mean() == pytest.approx(3 / n, abs=0.03)
        assert mean["rank"].mean() == pytest.approx((n + 1) / 2, abs=0.3)
        inside = mean["recall@k=3 within plane"]
        assert inside[:4].mean() == pytest.approx(3 / 4, abs=0.05)
        assert inside[4:].mean() == pytest.approx(3 / 8, abs=0.05)
    assert (found.values["recall@k=1"] == 1).all()  # what was dealt from is as it was


def test_texts_dealt_anew_keep_how_many_cases_share_one():
    texts = ["a"] * 4 + ["b"] * 3 + ["c"]
    given, images = cases(texts, plane=["x"] * 4 + ["y"] * 4), vectors(8)
    found = collected(given, images, images, RetrievalTask(within=("plane",)))
    drawn = ranked_queries.permuted(found, np.random.default_rng(1))
    for name in ("right", "right within plane"):
        assert sorted(drawn.values[name][:, 0]) == sorted(found.values[name][:, 0]), name
    assert (drawn.values["right within plane"][:4, 0] == 4).all()  # texts stay within the plane that they are of


def test_a_dealt_gallery_is_one_with_the_texts_of_other_cases():
    given, images, words = cases("tuvwx"), vectors(5), vectors(5, seed=9)
    order = np.array([3, 0, 4, 1, 2])
    plain = gallery.of_cases(given, images, words, None, ())
    moved = gallery.of_cases(
        [replace(c, text=given[o].text) for c, o in zip(given, order, strict=True)], images, words[order], None, ()
    )
    dealt = plain.dealt(order)
    assert np.array_equal(dealt.by_text, moved.by_text)
    for target in ("text_to_image", "image_to_text"):
        for mine, theirs in zip(dealt.similarity_and_right(target), moved.similarity_and_right(target), strict=True):
            assert np.array_equal(mine, theirs)


def test_folds_are_joined_each_with_its_gallery():
    parts = [collected(cases("tuv"), vectors(3), vectors(3)), collected(cases("wxyz"), vectors(4), vectors(4))]
    whole = RetrievalTask().join(parts)
    assert whole.fold.tolist() == [0] * 3 + [1] * 4 and len(whole.galleries) == 2
    assert whole.values["candidates"][:, 0].tolist() == [3] * 3 + [4] * 4
    drawn = ranked_queries.permuted(whole, np.random.default_rng(0))
    assert drawn.values["candidates"][:, 0].tolist() == [3] * 3 + [4] * 4


def test_a_subset_of_queries_keeps_its_candidates():
    found = collected(cases("tuvwx"), vectors(5), vectors(5, seed=1))
    part = found.subset(np.array([True, False, True, False, False]))
    assert np.array_equal(part.values["rank"], found.values["rank"][[0, 2]])
    assert part.values["candidates"][:, 0].tolist() == [5, 5]


def test_a_vector_that_is_not_finite_is_refused_by_its_case():
    images = vectors(3)
    images[1, 0] = np.nan
    with pytest.raises(PredictionError, match="c1: the vector of the image"):
        collected(cases("tuv"), images, vectors(3))


def test_what_is_right_between_images_is_said_where_it_is_asked():
    plain, asked = (RetrievalTask(same=same).describe() for same in (None, "body_part"))
    assert "image to image" not in plain["words"]["convention"].lower()
    assert "where body part is the same" in asked["words"]["convention"]
    assert asked["targets"][-1] == "image_to_image" and "image_to_image" not in plain["targets"]
    for said in (plain, asked):
        assert "The gallery is held fixed when patients are resampled" in said["words"]["convention"]


def test_the_model_less_the_mean_of_draws_is_paired():
    """As the engine makes rows of a baseline that rearranges."""
    task = RetrievalTask(within=("plane",))
    given, images = cases([f"text {i}" for i in range(30)], plane=list("aab") * 10), vectors(30)
    found = collected(given, images, images, task)
    made = task.baseline(Baseline(name="texts_permuted"), None)
    assert task.baseline(Baseline(name="blind"), None) is None
    draws = [made.rearrange(found, np.random.default_rng([0, n])) for n in range(made.draws)]
    for of in (lambda p: p, lambda p: task.views(p)["within plane"]):
        each = [task.estimands(of(draw), SPECS, Points()) for draw in draws]
        for mine, *theirs in zip(task.estimands(of(found), SPECS, Points()), *each, strict=True):
            mean = mean_of_draws(theirs, found.patients)
            assert mean.value == pytest.approx(np.mean([e.value for e in theirs]))
            assert mean.notes[0] == "the mean of 20 draws"
            assert mine.minus(mean).value == pytest.approx(mine.value - mean.value)
