"""A whole run of retrieval, by a trial adapter of pictures by their brightness and texts by the level they name."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest

from medvfm import pipeline
from medvfm.core.errors import RecipeError
from medvfm.io.console import SILENT
from medvfm.tasks.retrieval import task as retrieval
from tests.samples.trial import rooms

PLANES = ("axial", "coronal")


@pytest.fixture(autouse=True)
def trial(monkeypatch, tmp_path):
    rooms.open_rooms(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def study(tmp_path):
    """48 pictures, 12 of them for testing; texts name the level of brightness, to 16 grey levels."""
    made = rooms.BrightnessStudy(tmp_path / "study", 48)
    for n, row in enumerate(made.rows):
        level = 16 * round(float(row["answer"]) / 16)
        row |= {"text": f"Picture of level {level}", "plane": PLANES[n % 2]}
    made.write(layout={"groups": ["site", "plane"]})
    return made


def recipe(study, options=None, method="pairs", **changes):
    adapter = {"name": "trial_pairs", "method": method}
    task = {"name": "retrieval", **({} if options is None else {"options": options})}
    return study.recipe(
        **({"task": task, "adapter": adapter, "evaluate": {"confidence": {"resamples": 100}}} | changes)
    )


def run(study, out, **changes):
    return pipeline.run(recipe(study, **changes), out, device="cpu", console=SILENT)


def rows(found, **wanted):
    plain = {"split": "test", "group": None, "baseline": None} | wanted
    return {(r["metric"], r["target"]): r for r in found.record["metrics"] if all(r[k] == v for k, v in plain.items())}


def test_a_run_ranks_both_ways_and_its_report_shows_how(study, tmp_path):
    found = run(study, tmp_path / "run", options={"within": ["plane"], "same": "site"})
    mine = rows(found)
    assert {target for _, target in mine} == {"text_to_image", "image_to_text", "image_to_image"}
    assert mine["recall@k=10", "text_to_image"]["cases"] == 12
    assert mine["recall@k=5", "text_to_image"]["value"] > 0.6
    assert 1 <= mine["median_rank", "image_to_text"]["value"] <= 5
    record = found.record
    assert record["task"]["kind"] == "pairs" and record["task"]["options"] == {"within": ["plane"], "same": "site"}
    shown = record["retrieval"]
    ranks = [entry["rank"] for entry in shown["gallery"]]
    assert len(ranks) == 6 and ranks == sorted(ranks)
    assert np.shape(shown["similarity"]["values"]) == (12, 12)
    html = (found.directory / "report.html").read_text()
    text = re.sub(r"<[^>]+>", " ", html)
    words = text.lower()
    for word in ("retrieval", "similarity", "rank", "held fixed"):
        assert word in words, word
    assert "recall at 10" in words and "1000%" not in words
    assert not {"None", "nan", "undefined"} & set(text.split())
    assert len(html) < 5_000_000


def test_a_run_can_be_read_again_with_its_numbers(study, tmp_path):
    found = run(study, tmp_path / "run", options={"within": ["plane"]})
    again = retrieval.from_record(found.record["task"])
    assert again.within == ("plane",) and again.same is None
    values = again.read_run(found.directory)["test", None]
    specs = [retrieval.parse(name, again.metrics) for name in again.default_metrics]
    mine = rows(found)
    for estimand in again.estimands(values, specs, retrieval.Points()):
        assert estimand.value == pytest.approx(mine[estimand.metric.name, estimand.target]["value"])
    assert list(again.views(values)) == ["within plane"]
    table = pd.read_parquet(found.directory / "measures.parquet")
    assert {"recall@k=10", "recall@k=10 within plane", "rank", "candidates within plane"} <= set(table["metric"])


def test_what_the_record_says_of_pictures_names_no_case(study, tmp_path):
    card = study.write(layout={"groups": ["site", "plane"]}, ids="hidden")
    found = run(study, tmp_path / "run", data={"card": card.name, "root": "data"})
    said = json.dumps(found.record["retrieval"])
    assert "of 12 test cases" in said
    assert not re.search(r"\bc\d\d\b|\bp\d\d\b", said)
    assert not [f.name for f in (found.directory / "previews").iterdir() if not re.fullmatch(r"\d{3}\.png", f.name)]


def test_images_without_texts_find_each_other_alone(study, tmp_path):
    found = run(study, tmp_path / "run", method="images", options={"same": "text"})
    mine = rows(found)
    assert mine["recall@k=10", "text_to_image"]["value"] is None
    assert "no vector of a text" in mine["recall@k=10", "text_to_image"]["note"]
    assert mine["recall@k=10", "image_to_image"]["value"] > 0
    assert "have no right candidate" in mine["recall@k=10", "image_to_image"]["note"]


def test_each_fold_is_a_gallery_of_its_own(study, tmp_path):
    found = run(study, tmp_path / "run", split={"folds": 3}, options={"within": ["plane"]})
    table = pd.read_parquet(found.directory / "measures.parquet").query("split == 'test' and target == 'text_to_image'")
    sizes = table[table["metric"] == "candidates"].groupby("fold")["value"]
    assert (sizes.max() == sizes.count()).all() and sizes.count().sum() == 48
    assert found.record["retrieval"]["gallery"]


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ({"options": {"within": ["plan"]}}, "did you mean 'plane'"),
        ({"options": {"same": "sites"}}, "did you mean 'site'"),
        ({"options": {"wihtin": ["plane"]}}, "did you mean 'within'"),
        ({"options": {"within": ["plane", "plane"]}}, "twice"),
        ({"classes": ["bright"]}, "no classes"),
        ({"unit": "patient"}, "not by patient"),
        ({"kind": "binary"}, "one kind"),
        ({"metrics": ["recall@k=0"]}, "recall@k=0"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_data_are_read(study, task, said):
    with pytest.raises(RecipeError, match=said):
        pipeline.check(recipe(study, task={"name": "retrieval", **task}), ready=False)
