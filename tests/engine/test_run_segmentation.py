"""Whole runs of segmentation on small drawn volumes and pictures, as a user would bring them."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pandas as pd
import pytest

import medvfm
from medvfm import pipeline
from medvfm.core.errors import MedvfmError, RecipeError
from medvfm.engine import train
from tests.samples.studies import AFFINE, VolumeStudy


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return VolumeStudy(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="module")
def finished(study):
    return pipeline.run(study.recipe(baselines=[{"name": "location"}, {"name": "ellipse"}]), study.folder / "run")


def rows_of(run, metric, **wanted):
    return [r for r in run.record["metrics"] if r["metric"] == metric and all(r[k] == v for k, v in wanted.items())]


def cases_of_test(run):
    """The case_ids of the test split."""
    table = pd.read_parquet(run.directory / "predictions.parquet")
    return table["case_id"][table["split"] == "test"].unique().tolist()


def test_a_segmenter_learns_what_can_be_seen_and_nothing_of_where(finished):
    dice = {r["target"]: r["value"] for r in rows_of(finished, "dice", split="test", baseline=None)}
    prior = {r["target"]: r["value"] for r in rows_of(finished, "dice", split="test", baseline="location")}
    assert set(dice) == {"ball", "box", "mean"}
    assert dice["ball"] > 0.8 and dice["mean"] > prior["mean"] + 0.2
    difference = {r["target"]: r for r in rows_of(finished, "dice_difference", baseline="location")}
    assert difference["mean"]["value"] == pytest.approx(dice["mean"] - prior["mean"])
    assert difference["ball"]["low"] > 0  # every patient has one; few have a box, and so few say little


def test_masks_lie_on_the_voxels_of_their_images(study, finished):
    measures = pd.read_parquet(finished.directory / "measures.parquet")
    for case_id in cases_of_test(finished):
        mask = nibabel.load(finished.directory / "masks" / f"{case_id}.nii.gz")
        truth = nibabel.load(study.file("labels", int(case_id[1:])))
        assert mask.shape == truth.shape and np.allclose(mask.affine, truth.affine)
        drawn, true = np.asarray(mask.dataobj), np.asarray(truth.dataobj)
        for value, name in ((1, "ball"), (2, "box")):
            row = measures[
                (measures["case_id"] == case_id)
                & (measures["target"] == name)
                & (measures["metric"] == "dice")
                & (measures["split"] == "test")
                & measures["baseline"].isna()
            ]
            both, sizes = ((drawn == value) & (true == value)).sum(), (drawn == value).sum() + (true == value).sum()
            expected = 2 * both / sizes if (true == value).any() else np.nan
            assert row["value"].item() == pytest.approx(expected, nan_ok=True)


def test_rows_count_cases_and_say_what_is_missing(finished):
    box = rows_of(finished, "dice", target="box", split="test", baseline=None)[0]
    spurious = rows_of(finished, "spurious", target="box", split="test", baseline=None)[0]
    cases = len(cases_of_test(finished))
    assert box["cases"] + spurious["cases"] == cases
    assert ("no value" in (box["note"] or "")) == (box["cases"] < cases)
    ellipse = rows_of(finished, "dice", baseline="ellipse")[0]
    assert "oracle" in ellipse["note"]


def test_masks_are_doubted_without_their_truth(finished):
    """Signs and intervals of every test case; the baselines have none."""
    table = pd.read_parquet(finished.directory / "predictions.parquet")
    mine = table[(table["split"] == "test") & table["baseline"].isna()]
    drawn = mine[mine["score"] > 0]
    assert drawn["agreement"].between(0, 1).all() and drawn["confidence"].between(0, 1).all()
    assert table.loc[table["baseline"].notna(), "agreement"].isna().all()
    rows = finished.record["self_check"]["rows"]
    assert {r["target"] for r in rows} == {"ball", "box"} and {r["baseline"] for r in rows} == {
        None, "mean of validation",
    }  # fmt: skip


def test_new_images_are_doubted_as_test_images_were(study, finished):
    """The same image as a test case gets what that case got."""
    table = pd.read_parquet(finished.directory / "predictions.parquet")
    for case_id in cases_of_test(finished)[:2]:
        kept = table[(table["case_id"] == case_id) & table["baseline"].isna()].set_index("target")
        told = medvfm.predict(
            finished, study.file("images", int(case_id[1:])), finished.directory / case_id, form="nifti"
        )
        for row in told.to_dict("records"):
            expected = kept.loc[row["target"]]
            assert row["size"] == pytest.approx(expected["score"])
            for name in ("predicted_dice", "for_human", "size_low", "size_high"):
                assert float(row[name]) == pytest.approx(float(expected[name]), abs=1e-6, nan_ok=True)


def test_the_record_names_the_model_and_what_moved(finished):
    record = json.loads((finished.directory / "run.json").read_text())
    assert record["status"] == "complete" and record["task"]["name"] == "segmentation"
    assert record["training"]["audit"]["frozen_moved"] == 0
    assert record["model"]["decoder"] == "conv"
    assert (finished.directory / "report.html").is_file()


def test_two_runs_are_equal_and_test_masks_stay_unseen(study, finished, tmp_path):
    again = VolumeStudy(tmp_path / "scrambled")
    rng = np.random.default_rng(0)
    for case_id in cases_of_test(finished):
        file = again.file("labels", int(case_id[1:]))
        labels = rng.permutation(np.asarray(nibabel.load(file).dataobj).ravel()).reshape(32, 28, 6)
        nibabel.save(nibabel.Nifti1Image(labels, AFFINE), file)
    other = pipeline.run(again.recipe(), tmp_path / "run")
    weights = [(r.directory / "weights" / "model.safetensors").read_bytes() for r in (finished, other)]
    assert weights[0] == weights[1]
    val = [rows_of(r, "dice", split="val") for r in (finished, other)]
    assert val[0] == val[1]
    assert rows_of(finished, "dice", split="test") != rows_of(other, "dice", split="test")


@pytest.mark.parametrize("method", ["dense_head", "lora"])
def test_frozen_and_low_rank_encoders_run(study, tmp_path, method):
    adapter = {"name": "dinov2", "weights": "tiny", "method": method}
    run = pipeline.run(
        study.recipe(adapter=adapter, train={"epochs": 1, "steps": 3, "batch_size": 4}), tmp_path / "run"
    )
    parameters = run.record["model"]["parameters"]
    assert 0 < parameters["trainable"] < parameters["total"]


def test_what_does_not_belong_is_refused_before_data_are_read(study):
    for changes, said in (
        ({"evaluate": {"metrics": ["auroc"]}}, "no metric 'auroc'"),
        ({"task": {"name": "segmentation", "classes": ["bal"]}}, "did you mean 'ball'"),
        ({"adapter": {"name": "dinov2", "method": "knn"}, "train": {}}, "dense_head"),
        ({"baselines": [{"name": "elipse"}]}, "did you mean 'ellipse'"),
    ):
        with pytest.raises(RecipeError, match=said):
            pipeline.check(study.recipe(**changes), ready=False)


def test_prediction_writes_masks_named_after_their_input(study, finished, tmp_path):
    table = medvfm.predict(finished, study.file("images", 3), tmp_path / "nifti")
    assert table.attrs["left_out"] == table.attrs["unlike"] == []
    pd.testing.assert_frame_equal(
        table,
        pd.read_csv(tmp_path / "nifti/predictions.csv", dtype={"unlike": str}).fillna({"unlike": ""}),
        check_dtype=False,
    )
    mask = nibabel.load(tmp_path / "nifti" / "v03.nii.gz")
    drawn = np.asarray(mask.dataobj)
    assert np.allclose(mask.affine, AFFINE)
    for value, name in ((1, "ball"), (2, "box")):
        size_ml = table[table["target"] == name]["size"].item()
        assert size_ml == pytest.approx((drawn == value).sum() * 1.2 * 1.2 * 3 / 1000)
    medvfm.predict(finished.directory, [study.file("images", 3)], tmp_path / "png", form="png")
    assert (tmp_path / "png" / "v03.png").is_file()
    with pytest.raises(MedvfmError, match="DICOM"):
        medvfm.predict(finished.directory, [study.file("images", 3)], tmp_path / "seg", form="dicom-seg")


@pytest.mark.parametrize(
    ("options", "more"),
    [
        ({"patch": [16, 32, 32], "width": 8}, 0.35),
        ({"dims": 2, "patch": [32, 32], "network": "segresnet", "width": 8}, 0.3),
    ],
)
def test_networks_of_monai_learn_it_too(study, tmp_path, options, more):
    adapter = {"name": "monai", "options": options}
    training = {"epochs": 3, "steps": 30, "batch_size": 4, "learning_rate": 1e-2}
    run = pipeline.run(study.recipe(adapter=adapter, train=training, prepare={}), tmp_path / "run")
    assert rows_of(run, "dice", target="ball", split="test")[0]["value"] > more


def test_an_interrupted_segmenter_goes_on_to_the_same_masks(study, tmp_path, monkeypatch):
    recipe = study.recipe(train={"epochs": 3, "steps": 3, "batch_size": 4})
    whole = pipeline.run(recipe, tmp_path / "whole")
    real, calls = train.checkpoint.save, []

    def stopping(folder, state):
        real(folder, state)
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(train.checkpoint, "save", stopping)
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(recipe, tmp_path / "stopped")
    found = pipeline.run(recipe, tmp_path / "stopped", resume=True)
    assert rows_of(found, "dice") == rows_of(whole, "dice")
    for mask in (whole.directory / "masks").iterdir():
        assert mask.read_bytes() == (found.directory / "masks" / mask.name).read_bytes()
