"""Which words the page has for a threshold: one that was given was not chosen for anything."""

from __future__ import annotations

import re

import numpy as np
import pytest

import medvfm
from medvfm.core.recipe_sections import Confidence
from medvfm.report import page
from tests.samples import runs

YOUDEN = "Greatest sensitivity + specificity"


def text_of(directory):
    """The page without its styles and its record, which has the recipe."""
    found = (directory / "report.html").read_text(encoding="utf-8")
    return re.sub(r"<[^>]+>|\s+", " ", re.sub(r"<(style|script|pre).*?</\1>", "", found, flags=re.S))


def test_the_threshold_of_evaluate_is_the_one_given(tmp_path):
    truth, scores = np.arange(40) % 2, np.random.default_rng(1).random(40)
    few = Confidence(resamples=100)
    medvfm.evaluate("classification", truth, scores, ["accuracy"], tmp_path, threshold=0.5, confidence=few)
    text = " ".join(text_of(tmp_path).split())
    assert "The threshold given · primary threshold" in text and YOUDEN not in text
    assert "Thresholds came with the predictions" in text and "Accuracy is of decisions at the threshold given" in text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, YOUDEN),
        ({"recipe": {"evaluate": {"decide_at": 0.5}}}, "The threshold given"),
        ({"kind": "evaluation", "recipe": None, "tested": {"title": "a run"}}, "The run&#39;s own threshold"),
    ],
)
def test_of_a_run_it_is_that_of_its_recipe_or_of_the_run_that_is_tested(tmp_path, change, said):
    record = runs.write(tmp_path, n=80, metrics=("auroc", "accuracy"))
    runs.save(tmp_path, {key: value for key, value in (record | change).items() if value is not None})
    page.render(tmp_path)
    text = " ".join(text_of(tmp_path).split())
    assert f"{said} · primary threshold" in text
    assert (YOUDEN in text) == (said == YOUDEN) and "came with the predictions" not in text
    caption = text.partition("primary threshold")[2][:200]
    assert ("fixed on validation data" in caption) == (said != "The threshold given")
