"""New images ranked by words or by an image, and their vectors for other programs, from a small finished run."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open
from typer.testing import CliRunner

import medvfm
from medvfm import pipeline
from medvfm.cli import app
from medvfm.core.errors import RecipeError, RunError
from medvfm.io.console import SILENT
from medvfm.pipeline import searching
from medvfm.report import page
from tests.samples.pair_studies import DISC, PairStudy


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return PairStudy(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def finished(study, tmp_path_factory):
    """A pair trained for a while, without its page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "render", lambda directory: None)
        recipe = study.recipe(baselines=[], train={"epochs": 4, "batch_size": 8, "learning_rate": 3e-3})
        return pipeline.run(recipe, tmp_path_factory.mktemp("run") / "a", device="cpu", console=SILENT)


@pytest.fixture(scope="module")
def pictures(study):
    return sorted(study.root.glob("*.png"))[:6]


def test_a_query_ranks_every_picture_by_its_cosine(finished, pictures, tmp_path):
    table = medvfm.search(finished, pictures, tmp_path / "found", query=DISC, device="cpu", console=SILENT)
    vectors = searching.export(finished, pictures, tmp_path / "vectors", "parquet", device="cpu", console=SILENT).values
    query = searching.Finished.of(finished).model().adapters[0].text_vectors([DISC])[0]
    cosines = dict(zip(map(str, pictures), vectors @ query, strict=True))
    assert list(table["rank"]) == [1, 2, 3, 4, 5, 6]
    assert list(table["input"]) == sorted(cosines, key=lambda name: -cosines[name])
    np.testing.assert_allclose(table["score"], sorted(cosines.values(), reverse=True), atol=1e-5)
    written = pd.read_csv(tmp_path / "found" / "predictions.csv")
    assert list(written["input"]) == list(table["input"])
    assert {"input", "rank", "score"} <= set(written.columns)


def test_a_picture_is_most_like_itself(finished, pictures):
    table = medvfm.search(finished, pictures, like=pictures[3], device="cpu", console=SILENT)
    assert table.iloc[0]["input"] == str(pictures[3])
    assert table.iloc[0]["score"] == pytest.approx(1, abs=1e-5)


def test_a_query_in_another_script_is_answered_and_an_empty_one_refused(finished, pictures):
    assert len(medvfm.search(finished, pictures, query="脑部病变", device="cpu", console=SILENT)) == 6
    for empty in ("", "  ", "?!"):
        with pytest.raises(RecipeError, match="empty query"):
            medvfm.search(finished, pictures, query=empty, console=SILENT)
    with pytest.raises(RecipeError, match="one of the two"):
        medvfm.search(finished, pictures, query="a", like=pictures[0], console=SILENT)


@pytest.mark.parametrize("form", ["parquet", "safetensors"])
def test_vectors_leave_in_the_order_of_the_inputs(finished, pictures, tmp_path, form):
    searching.export(finished, pictures, tmp_path / "out", form, device="cpu", console=SILENT)
    path = tmp_path / "out" / f"embeddings.{form}"
    if form == "parquet":
        table = pd.read_parquet(path)
        inputs, vectors = list(table["input"]), np.stack(table["vector"])
    else:
        with safe_open(path, "np") as file:
            inputs, vectors = json.loads(file.metadata()["inputs"]), file.get_tensor("vectors")
    assert inputs == list(map(str, pictures))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    table = medvfm.search(finished, pictures, like=pictures[0], device="cpu", console=SILENT)
    first = table.set_index("input").loc[inputs, "score"]
    np.testing.assert_allclose(first, vectors @ vectors[0], atol=1e-5)
    with pytest.raises(RunError, match="vectors already"):
        searching.export(finished, pictures, tmp_path / "out", form, console=SILENT)


def test_what_cannot_be_read_is_named_and_the_others_are_ranked(finished, pictures, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    table = medvfm.search(finished, [*pictures, broken], query=DISC, device="cpu", console=SILENT)
    assert len(table) == 6 and [name for name, _ in table.attrs["left_out"]] == [str(broken)]


def test_the_command_line_searches_and_a_probe_is_no_space(finished, study, pictures, tmp_path, monkeypatch):
    words = ["predict", str(finished.directory), *map(str, pictures), "--out", str(tmp_path / "a"), "--query", DISC]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0 and str(tmp_path / "a" / "predictions.csv") in result.output
    monkeypatch.setattr(page, "render", lambda directory: None)
    probe = pipeline.run(study.recipe("knn", baselines=[]), tmp_path / "probe", device="cpu", console=SILENT)
    with pytest.raises(RunError, match="one space"):
        medvfm.search(probe, pictures, query=DISC, console=SILENT)


def test_a_run_of_retrieval_asks_what_is_to_be_searched(study, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "render", lambda directory: None)
    recipe = study.recipe(task={"name": "retrieval"}, baselines=[], evaluate={"confidence": {"resamples": 100}})
    found = pipeline.run(recipe, tmp_path / "run", device="cpu", console=SILENT)
    with pytest.raises(RunError, match="--query TEXT or --like IMAGE"):
        medvfm.predict(found, pictures, device="cpu", console=SILENT)
    assert len(medvfm.search(found, pictures, query=DISC, device="cpu", console=SILENT)) == 6
