"""What users hand to predict: every input named, answers never overwritten, images of another kind told."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

import medvfm
from medvfm import pipeline
from medvfm.cli import app
from medvfm.core.errors import DataError, MedvfmError, RunError
from medvfm.engine import training_inputs
from medvfm.io.console import SILENT
from tests.samples.studies import PictureStudy, VolumeStudy


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return PictureStudy(tmp_path_factory.mktemp("pictures"), cases=32)


@pytest.fixture(scope="module")
def finished(study):
    recipe = study.recipe(adapter={"name": "dinov2", "weights": "tiny", "method": "knn"})
    return pipeline.run(recipe, study.folder / "run", device="cpu", console=SILENT)


def ask(run, images, *more, **options):
    return medvfm.predict(run, images, *more, device="cpu", console=SILENT, **options)


def test_folders_tables_cards_and_images_that_were_read_get_the_same_scores(study, finished, tmp_path):
    folder = ask(finished, study.root)
    assert len(folder) == 32 and folder.attrs["left_out"] == []  # cases.csv beside the pictures is passed by
    table = study.root / "new.csv"
    pd.DataFrame({"case_id": ["x", "y"], "image": ["c000.png", "c001.png"]}).to_csv(table, index=False)
    read = [medvfm.read_image(study.root / f"c00{n}.png") for n in (0, 1)]
    pixels = [np.asarray(Image.open(study.root / f"c00{n}.png")) for n in (0, 1)]
    assert ask(finished, pixels)["score"].tolist() == ask(finished, read)["score"].tolist()
    assert ask(finished, Image.open(study.root / "c000.png"))["input"].tolist() == ["image 1"]
    with pytest.raises(MedvfmError, match="type dict is no image"):
        ask(finished, {"image": 1})
    scores = [
        ask(finished, given)["score"].tolist()[:2] for given in (study.root, table, read, study.root / "c000.png")
    ]
    assert scores[0] == scores[1] == scores[2] and scores[3] == scores[0][:1]
    card = yaml.safe_load((study.folder / "pictures.yaml").read_text())
    beside = study.root / "pictures.yaml"
    beside.write_text(yaml.safe_dump(card))
    from_card = ask(finished, beside)
    assert from_card["case_id"].tolist() == [row["case_id"] for row in study.rows]
    assert from_card["score"].tolist() == folder["score"].tolist()
    table.unlink()
    beside.unlink()


def test_a_missing_input_is_named_and_the_others_are_answered(study, finished, tmp_path):
    said = CliRunner().invoke(
        app,
        ["predict", str(finished.directory), str(study.root / "c000.png"), "nowhere.png", "--out", str(tmp_path / "o")],
    )
    assert said.exit_code == 0 and "left out: nowhere.png: no such file" in said.output
    assert len(pd.read_csv(tmp_path / "o/predictions.csv")) == 1
    with pytest.raises(DataError, match="nowhere"):
        ask(finished, ["nowhere.png", study.root / "c000.png"], strict=True)
    with pytest.raises(DataError, match="nowhere"):
        ask(finished, "nowhere.png")


def test_answers_are_overwritten_only_when_asked(study, finished, tmp_path):
    ask(finished, study.root / "c000.png", tmp_path)
    before = (tmp_path / "predictions.csv").read_bytes()
    with pytest.raises(RunError, match=r"holds answers already.*--overwrite"):
        ask(finished, study.root / "c001.png", tmp_path)
    assert (tmp_path / "predictions.csv").read_bytes() == before
    ask(finished, study.root / "c001.png", tmp_path, overwrite=True)
    assert (tmp_path / "predictions.csv").read_bytes() != before


def test_an_image_unlike_the_training_images_is_told_and_strict_refuses_it(study, finished, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (48, 48, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "colour.png")
    Image.fromarray(np.repeat(pixels[..., :1], 3, axis=2)).save(tmp_path / "grey_as_rgb.png")
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 200).save(tmp_path / "deep.png")
    Image.new("L", (48, 48), 90).save(tmp_path / "flat.png")
    found = ask(finished, [tmp_path / f"{n}.png" for n in ("colour", "grey_as_rgb", "deep", "flat")])
    unlike = found["unlike"].tolist()
    assert "3 channels of colour, trained on 1" in unlike[0]
    assert "channels" not in unlike[1]
    assert "values from" in unlike[2] and "trained on values from" in unlike[2]
    assert "less contrast" in unlike[3]
    assert not ask(finished, study.root)["unlike"].any()
    with pytest.raises(DataError, match="unlike the images"):
        ask(finished, tmp_path / "colour.png", strict=True)


def test_facts_of_training_images_by_hand():
    one = {
        "modality": "MR",
        "body_part": "BRAIN",
        "dimensions": 3,
        "channels": 1,
        "unit": "arbitrary",
        "low": 0.0,
        "high": 100.0,
    }
    trained = training_inputs.gathered([one, {**one, "modality": None, "low": 5.0, "high": 300.0}])
    assert trained["modality"] == ["MR"] and trained["values"] == {
        "arbitrary": {"low": 0.0, "high": 300.0, "smallest_span": 100.0}
    }
    assert training_inputs.unlike(one, trained) == []
    assert training_inputs.unlike({**one, "modality": None, "body_part": None}, trained) == []
    assert training_inputs.unlike({**one, "high": 599.0}, trained) == []
    for change, said in (
        ({"modality": "CT"}, "modality CT, trained on modality MR"),
        ({"body_part": "KNEE"}, "body part KNEE"),
        ({"dimensions": 2}, "2 dimensions"),
        ({"unit": "HU"}, "values in HU"),
        ({"high": 601.0}, "trained on values from 0 to 300"),
    ):
        assert any(said in words for words in training_inputs.unlike({**one, **change}, trained)), change
    assert training_inputs.unlike(one, {}) == []


def test_hidden_ids_stand_nowhere_but_in_the_private_table(tmp_path):
    study = VolumeStudy(tmp_path / "study")
    card = study.folder / "drawn.yaml"
    card.write_text(card.read_text().replace("ids: safe", "ids: hidden"))
    done = pipeline.run(
        study.recipe(train={"epochs": 1, "steps": 2, "batch_size": 4}), tmp_path / "run", console=SILENT
    )
    ids = pd.read_csv(done.directory / "private/cases.csv", dtype=str).set_index("name")["case_id"]
    assert set(ids) >= {f"v{n:02d}" for n in range(18)}
    table = pd.read_parquet(done.directory / "predictions.parquet")
    test = table[table["split"] == "test"]
    assert not set(table["case_id"]) & set(ids)
    for name, mask in zip(test["case_id"], test["mask"], strict=True):
        n = int(ids[name][1:])
        drawn, image = (medvfm.read_image(p) for p in (done.directory / mask, study.file("images", n)))
        assert drawn.shape_vox == image.shape_vox
    for path in done.directory.rglob("*"):
        if path.is_file() and "private" not in path.parts:
            assert not any(i in path.name for i in ids), path


def test_boxes_for_new_images_stand_in_for_prompts_from_the_truth(tmp_path):
    study = VolumeStudy(tmp_path / "study")
    adapter = {"name": "sam", "weights": "tiny", "method": "full", "prompts": {"from": "truth", "kind": "box"}}
    task = {"name": "segmentation", "classes": ["ball"]}
    train = {"epochs": 1, "steps": 2, "batch_size": 2}
    recipe = study.recipe(adapter=adapter, task=task, train=train, prepare={})
    done = pipeline.run(recipe, tmp_path / "run", console=SILENT)
    image = study.file("images", 0)
    with pytest.raises(RunError, match="--prompts FILE"):
        ask(done, image, tmp_path / "none")
    table = tmp_path / "boxes.csv"
    rows = [{"case_id": name, "slice": s, "x0": 5, "y0": 6, "x1": 20, "y1": 22}
            for name in ("v00", str(study.file("images", 1))) for s in (2, 3)]  # fmt: skip
    pd.DataFrame(rows).to_csv(table, index=False)
    found = ask(done, [image, study.file("images", 1)], tmp_path / "new", prompts=table)  # by its name, and by its path
    assert found.attrs["left_out"] == [] and len(found) == 2
    with pytest.raises(DataError, match=r"no prompt in boxes\.csv"):
        ask(done, study.file("images", 2), tmp_path / "other", prompts=table)
