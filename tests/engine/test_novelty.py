"""Cases that a card marks as outside, and new images far from the training images: noticed, and in no number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

import medvfm
from medvfm import pipeline
from medvfm.core.errors import DataCardError
from tests.samples.studies import PictureStudy

OUTSIDE = 12


class MixedStudy(PictureStudy):
    """Pictures of discs, and stripes that are no question of the card."""

    def __init__(self, folder):
        super().__init__(folder)
        for row in self.rows:
            row["other"] = "no"
        for n in range(OUTSIDE):
            name, rng = f"o{n:02d}.png", np.random.default_rng(100 + n)
            pixels = 255 * ((np.arange(48)[:, None] // 3 + np.arange(48) // 3) % 2) - rng.integers(0, 40, (48, 48))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(self.root / name)
            self.rows.append(dict(self.rows[0]) | {"case_id": f"o{n:02d}", "patient_id": f"o{n}", "image": name,
                                                   "split": "train", "other": "yes"})  # fmt: skip

    def card(self, outside: str = "other") -> str:
        path = super().card()
        card = yaml.safe_load(Path(path).read_text())
        card["layouts"][0]["groups"]["other"] = "{other}"
        card["outside"] = outside
        Path(path).write_text(yaml.safe_dump(card))
        return path


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return MixedStudy(tmp_path_factory.mktemp("mixed"))


@pytest.fixture(scope="module")
def finished(study):
    return pipeline.run(study.recipe(), study.folder / "run")


def test_outside_cases_stay_out_of_every_split_and_are_told_apart(finished):
    table = pd.read_parquet(finished.directory / "predictions.parquet")
    assert not table["case_id"].str.startswith("o").any()
    (step,) = (s for s in finished.record["data"]["flow"] if s["step"] == "marked as outside")
    assert step["cases"] == -OUTSIDE
    novelty = finished.record["novelty"]
    (row,) = novelty["rows"]
    assert row["metric"] == "auroc" and row["positives"] == OUTSIDE == novelty["outside"]["cases"]
    assert row["value"] > 0.9 and novelty["outside"]["far"] > OUTSIDE / 2
    test = table[(table["split"] == "test") & table["baseline"].isna()]
    assert test["novelty"].between(0, 1).all() and table.loc[table["split"] == "val", "novelty"].isna().all()
    assert novelty["far"] <= 3 and novelty["cases"] == len(test)
    page = (finished.directory / "report.html").read_text()
    assert "Nearer in training" in page and "marks as outside" in page


def test_new_images_that_are_far_are_named(study, finished):
    files = [study.root / f"o{n:02d}.png" for n in range(3)]
    table = medvfm.predict(finished, [*files, study.root / "c006.png", study.root / "c007.png"])
    unlike = dict(table.attrs["unlike"])
    assert any("farther from the training images" in unlike.get(str(file), "") for file in files)
    assert not any("farther" in unlike.get(str(study.root / name), "") for name in ("c006.png", "c007.png"))


def test_a_run_without_kept_features_says_nothing(study, finished, tmp_path):
    """Runs of other methods keep none; the weights are then checked without them."""
    run = pipeline.run(
        study.recipe(adapter={"name": "dinov2", "weights": "tiny", "method": "last_blocks"}, train={"epochs": 1}),
        tmp_path / "run",
    )
    assert "novelty" not in run.record and not (run.directory / "weights/training_features.safetensors").exists()
    assert "far" not in dict(medvfm.predict(run, study.root / "o00.png").attrs["unlike"]).get("", "")


def test_a_column_that_does_not_exist_is_refused(study, tmp_path):
    path = study.card("othre")
    try:
        with pytest.raises(DataCardError, match="'othre'"):
            medvfm.core.data_card.load_card(path)
    finally:
        study.card()
