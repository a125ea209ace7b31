"""A checkpoint belongs to its data: whatever changed between a stop and --resume is named and refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from medvfm import pipeline
from medvfm.core.errors import DataError, RunError
from medvfm.engine import checkpoint, train
from medvfm.io import run_directory
from medvfm.io.console import SILENT
from tests.samples.studies import PictureStudy

SPLIT = {"from": "random", "fractions": [0.5, 0.2, 0.3]}
FULL = {"name": "dinov2", "weights": "tiny", "method": "full"}
TRAIN = {"epochs": 2, "steps": 2, "batch_size": 4}


def start(study, out, **more):
    recipe = study.recipe(split=SPLIT, adapter=FULL, train=TRAIN)
    return pipeline.run(recipe, out, device="cpu", console=SILENT, **more)


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """A study, and a run of it that was interrupted after its first epoch."""
    study, save = PictureStudy(tmp_path / "study", cases=32), train.checkpoint.save

    def stop(folder, state):
        save(folder, state)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train.checkpoint, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            start(study, tmp_path / "run")
    return study, tmp_path / "run"


def add(study):
    study.rows.append({**study.rows[0], "case_id": "new", "patient_id": "pnew", "image": "new.png"})
    Image.new("L", (48, 48), 40).save(study.root / "new.png")


def take_away(study):
    del study.rows[3]


def relabel(study):
    study.rows[4]["disc"] = 1 - study.rows[4]["disc"]


def redraw(study):
    Image.new("L", (48, 48), 77).save(study.root / study.rows[5]["image"])


def give_to_another(study):
    study.rows[6]["patient_id"] = "p000"


def make_older(study):
    study.rows[7]["age"] = 99


def make_other_card(study):
    plain = study.card
    study.card = lambda: _with_other_title(plain())


def _with_other_title(path):
    Path(path).write_text(Path(path).read_text().replace("drawn", "drawn by hand"))
    return path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (add, r"1 case came in \(new\)"),
        (take_away, "1 case went missing"),
        (relabel, r"1 case with another label or text \(c004\)"),
        (redraw, r"1 case with other images or masks \(c005\)"),
        (give_to_another, r"1 case with another patient or study \(c006\)"),
        (make_older, r"1 case with other group columns \(c007\)"),
        (make_other_card, "the data card changed"),
    ],
)
def test_what_changed_is_named_and_nothing_is_trained_on(stopped, change, said):
    study, out = stopped
    change(study)
    with pytest.raises(RunError, match=said):
        start(study, out, resume=True)
    assert checkpoint.exists(out / "checkpoint")  # it can still go on once the data are as they were


def test_unchanged_data_go_on_to_the_same_numbers(stopped, tmp_path):
    study, out = stopped
    whole, resumed = start(study, tmp_path / "whole"), start(study, out, resume=True)
    assert whole.metrics["value"].tolist() == resumed.metrics["value"].tolist()


def test_a_run_that_was_refused_before_training_leaves_its_place_free(tmp_path):
    study, out = PictureStudy(tmp_path / "study", cases=32), tmp_path / "run"
    study.rows[20]["patient_id"] = study.rows[0]["patient_id"]
    for n in (0, 20):
        study.rows[n]["split"] = ("train", "test")[n > 0]
    recipe = study.recipe(adapter={**FULL, "method": "knn"})
    with pytest.raises(DataError, match="patient in two splits"):
        pipeline.run(recipe, out, device="cpu", console=SILENT)
    assert not out.exists()
    out.mkdir()  # a folder that was there before stays, empty
    with pytest.raises(DataError):
        pipeline.run(recipe, out, device="cpu", console=SILENT)
    assert out.is_dir() and not list(out.iterdir())
    with pytest.raises(DataError, match="patient in two splits"):
        pipeline.check(recipe, ready=True, device="cpu", console=SILENT)
    study.rows[20]["patient_id"] = "p_other"
    recipe = study.recipe(adapter={**FULL, "method": "knn"})
    lines = pipeline.check(recipe, ready=True, device="cpu", console=SILENT)
    assert any("32 cases to be analysed" in line for line in lines)
    assert pipeline.run(recipe, out, device="cpu", console=SILENT).record["status"] == "complete"


def test_an_interruption_after_the_last_write_leaves_the_finished_run(tmp_path, monkeypatch):
    study, out = PictureStudy(tmp_path / "study", cases=32), tmp_path / "run"
    remove = checkpoint.remove

    def interrupted(folder):
        remove(folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "remove", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(study.recipe(adapter={**FULL, "method": "knn"}), out, device="cpu", console=SILENT)
    assert run_directory.read_record(out)["status"] == "complete" and (out / "predictions.parquet").is_file()
