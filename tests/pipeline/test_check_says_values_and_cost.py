"""`medvfm check` says what is chosen while a head is fitted, and what a run will take."""

from __future__ import annotations

import re

import pytest

from medvfm import lookup, pipeline
from medvfm.core import recipe
from medvfm.pipeline import planning, run_cost


def checked(name, *overrides):
    return "\n".join(pipeline.check(recipe.load(lookup.recipe(name), overrides), ready=False))


def cost(name, *overrides, cases=None):
    return run_cost.estimate(planning.plan(recipe.load(lookup.recipe(name), overrides)), cases)


def test_the_learning_rate_and_what_is_swept_are_told():
    text = checked("quickstart_segmentation")
    assert "learning rate 0.003" in text
    assert re.search(r"cost.*time \d+ (seconds|minutes), memory \d.* GB, disk \d+ MB", text)
    assert "k 10 or 20 or 100 or 200" in checked("quickstart", "adapter.method=knn")
    assert "C of 45 values" in checked("quickstart")


def test_the_estimate_grows_with_what_is_done():
    few, many = cost("quickstart", cases=50), cost("quickstart", cases=500)
    assert 4 < (many.seconds - 25) / (few.seconds - 25) < 11 and many.mib > few.mib
    assert cost("quickstart_segmentation", "train.epochs=8").seconds > cost("quickstart_segmentation").seconds
    assert cost("quickstart", "adapter.weights=facebook/dinov2-large").seconds > 20 * cost("quickstart").seconds
    assert cost("quickstart", "data.options.patients=400").seconds > cost("quickstart").seconds


def test_the_time_of_the_quickstart_is_what_a_run_took():
    """A run of quickstart on two cores took 168 s."""
    assert 168 / 3 < cost("quickstart").seconds < 168 * 3


@pytest.mark.parametrize(
    ("name", "overrides", "said"),
    [("quickstart_vqa", (), "no rates yet"), ("quickstart", ("adapter.weights=me/mine",), "size of me/mine")],
)
def test_what_is_not_known_is_said(name, overrides, said):
    assert said in cost(name, *overrides).line()
