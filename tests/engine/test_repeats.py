"""A recipe with several seeds: numbers are those of single runs, averaged; both parts shown; methods compared."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import medvfm
from medvfm import pipeline
from medvfm.core.errors import RecipeError
from medvfm.core.recipe_sections import Confidence
from medvfm.io.console import SILENT
from medvfm.report import page
from tests.samples.studies import PictureStudy
from tests.samples.trial import rooms

ADAPTER = {"name": "dinov2", "weights": "tiny", "method": "last_blocks"}
EVALUATE = {"metrics": ["auroc", "accuracy", "brier"], "subgroups": ["sex"], "confidence": {"resamples": 100}}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return PictureStudy(tmp_path_factory.mktemp("repeats") / "study")


def recipe(study, **changes):
    settings = {
        "seed": 0,
        "adapter": ADAPTER,
        "train": {"epochs": 1},
        "evaluate": EVALUATE,
        "baselines": [{"name": "intensity"}],
    }
    return study.recipe(**settings | changes)


def run(found, out):
    return pipeline.run(found, out, device="cpu", console=SILENT)


@pytest.fixture(scope="module")
def repeated(study, tmp_path_factory):
    return run(recipe(study, repeats={"seeds": 3}), tmp_path_factory.mktemp("repeated") / "run")


@pytest.fixture(scope="module")
def singles(study, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "render", lambda directory: None)
        folder = tmp_path_factory.mktemp("singles")
        return [run(recipe(study, seed=seed, repeats={"seeds": 1}), folder / str(seed)) for seed in range(3)]


def keyed(found):
    key = ["metric", "target", "split", "group", "baseline"]
    return {tuple(row[k] for k in key): row for row in found.record["metrics"]}


def test_every_number_is_the_mean_of_the_runs_of_single_seeds(repeated, singles):
    whole, each = keyed(repeated), [keyed(found) for found in singles]
    model = [k for k in whole if k[4] is None and "gap" not in str(k[3]) and not k[0].endswith("_against_rest")]
    assert len(model) > 8
    for key in model:
        values = [rows[key]["value"] for rows in each]
        if None not in values:
            assert whole[key]["value"] == pytest.approx(np.mean(values), abs=1e-9), key
    row = whole["auroc", "disc", "test", None, None]
    values = [rows["auroc", "disc", "test", None, None]["value"] for rows in each]
    assert row["seeds"] == 3
    assert row["seed_error"] <= np.std(values, ddof=1) / 3**0.5 + 1e-12
    assert row["sampling_error"] > 0
    assert row["note"].startswith("mean of 3 seeds")
    own = whole["auroc_difference", "disc", "test", None, "intensity"]
    assert own["value"] == pytest.approx(row["value"] - whole["auroc", "disc", "test", None, "intensity"]["value"])
    assert own["seeds"] == 3


def test_answers_of_every_seed_are_kept(repeated, singles):
    assert repeated.record["repeats"]["seeds"] == [0, 1, 2]
    for seed, folder in (
        (0, repeated.directory),
        (1, repeated.directory / "seeds/1"),
        (2, repeated.directory / "seeds/2"),
    ):
        ours = pd.read_parquet(folder / "predictions.parquet")
        theirs = pd.read_parquet(singles[seed].directory / "predictions.parquet")
        pd.testing.assert_frame_equal(ours, theirs)
    assert not (repeated.directory / "seeds/1/private").exists()


def test_the_page_says_what_the_seeds_do(repeated):
    html = (repeated.directory / "report.html").read_text(encoding="utf-8")
    assert "3 seeds" in html
    assert "sampling" in html
    markdown = (repeated.directory / "report.md").read_text(encoding="utf-8")
    assert "trained anew with 3 seeds" in markdown


def test_repeated_runs_are_compared_as_methods(repeated, singles, tmp_path):
    few = Confidence(resamples=100)
    pair = {"other": singles[1].directory, "same": repeated.directory}
    rows = medvfm.compare([repeated.directory, singles[1].directory], tmp_path / "out", confidence=few)
    both = rows[(rows["metric"] == "auroc_difference")].iloc[0]
    whole, one = (keyed(f)["auroc", "disc", "test", None, None]["value"] for f in (repeated, singles[1]))
    assert both["value"] == pytest.approx(whole - one)
    assert both["seeds"] == 3
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert f"one seed alone: {pair['other'].name}" in html
    medvfm.compare([repeated.directory, repeated.directory], tmp_path / "methods", confidence=few)
    html = (tmp_path / "methods" / "report.html").read_text(encoding="utf-8")
    assert "this is about these methods" in html
    assert "0 and up, 3 seeds" in html


def test_what_seeds_do_not_change_is_refused(study):
    with pytest.raises(RecipeError, match="every seed gives the same"):
        pipeline.check(
            medvfm.load_recipe("recipes/chexpert_zero_shot_biomedclip.yaml", overrides=["repeats.seeds=3"]), ready=False
        )
    with pytest.raises(RecipeError, match="judged as one set"):
        pipeline.check(
            medvfm.load_recipe("recipes/quickstart_synthesis.yaml", overrides=["repeats.seeds=2"]), ready=False
        )
    lines = pipeline.check(recipe(study, repeats={"seeds": 4}), ready=False)
    assert any("trained with 4 seeds" in line for line in lines)


@pytest.mark.slow
def test_masks_of_every_seed_are_kept_and_their_dice_is_averaged(tmp_path):
    study = rooms.BrightnessStudy(tmp_path / "study", cases=12)
    study.with_masks()
    found = run(
        study.recipe(
            task={"name": "segmentation", "classes": ["left", "lower"]},
            adapter={"name": "monai", "weights": "tiny", "method": "full",
                     "options": {"dims": 2, "patch": [16, 16], "width": 4}},
            train={"epochs": 1, "steps": 2, "batch_size": 4}, baselines=[{"name": "location"}],
            split={"from": "random", "fractions": [0.5, 0.2, 0.3]}, repeats={"seeds": 2},
            evaluate={"metrics": ["dice", "missed"], "confidence": {"resamples": 100}},
        ),
        tmp_path / "run",
    )  # fmt: skip
    row = next(
        r for r in found.record["metrics"] if (r["metric"], r["target"], r["baseline"]) == ("dice", "left", None)
    )
    each = []
    for folder in (found.directory, found.directory / "seeds" / str(found.record["repeats"]["seeds"][1])):
        table = pd.read_parquet(folder / "measures.parquet")
        own = (table["metric"] == "dice") & (table["target"] == "left") & (table["split"] == "test")
        each.append(table[own & table["baseline"].isna()]["value"].mean())
        assert len(list((folder / "masks").iterdir())) == 4
    assert row["seeds"] == 2
    assert row["value"] == pytest.approx(np.mean(each))
    assert each[0] != each[1]
    medvfm.compare([found.directory, found.directory], tmp_path / "out", confidence=Confidence(resamples=100))
