"""A finished run on another data set: nothing is fitted anew, and what was trained on stops it."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import recall_score, roc_auc_score

import medvfm
from medvfm import pipeline
from medvfm.core.errors import DataError, RunError
from medvfm.io.console import SILENT
from tests.samples.trial import rooms

METRICS = ["auroc", "sensitivity@specificity=0.8", "accuracy", "brier"]


def bytes_of(folder):
    return {f.relative_to(folder): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def trained(folder, split):
    study = rooms.BrightnessStudy(folder / "study", cases=48)
    recipe = study.recipe(
        task={"name": "classification", "classes": ["bright"]},
        adapter={"name": "dinov2", "weights": "tiny", "method": "linear_probe"}, prepare={"size": 28},
        split=split, evaluate={"metrics": METRICS, "confidence": {"resamples": 100}, "subgroups": ["site"]},
    )  # fmt: skip
    return study, pipeline.run(recipe, folder / "run", device="cpu", console=SILENT)


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("external"), {"from": "card"})


def other_study(folder, cases=40, shift=0):
    """Other pictures by the same rule, of other patients, labelled by a line that lies elsewhere."""
    study = rooms.BrightnessStudy(folder, cases=cases)
    rng = np.random.default_rng(99)
    for n, row in enumerate(study.rows):
        level = int(rng.integers(20, 235))
        pixels = (level + rng.normal(0, 3, (12, 12))).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(study.root / row["image"])
        row |= {"case_id": f"o{n}", "patient_id": f"other{n // 2}", "bright": int(level > 127 + shift)}
    return study, study.write("others.csv")


@pytest.mark.parametrize("split", [{"from": "card"}, {"folds": 2}], ids=["split", "folds"])
def test_rows_are_those_of_the_run_s_own_answers_at_its_own_threshold(studied, split, tmp_path):
    _, run = studied if "from" in split else trained(tmp_path / "folds", split)
    before = bytes_of(run.directory)
    study, card = other_study(tmp_path / "other")
    found = medvfm.test(run, str(card), tmp_path / "out", root=study.root, device="cpu", console=SILENT)
    assert bytes_of(run.directory) == before
    record = found.record
    assert (record["kind"], record["thresholds"]) == ("evaluation", run.record["thresholds"])
    rows = {r["metric"]: r for r in record["metrics"] if not r["group"]}
    assert {r["split"] for r in record["metrics"]} == {"external:others"}
    answers = medvfm.predict(run, [study.root / row["image"] for row in study.rows], device="cpu", console=SILENT)
    truth = [row["bright"] for row in study.rows]
    assert rows["auroc"]["value"] == pytest.approx(roc_auc_score(truth, answers["score"]))
    assert rows["accuracy"]["value"] == pytest.approx((answers["decision"] == truth).mean())
    fixed = run.record["thresholds"]["bright"]["sensitivity@specificity=0.8"]["threshold"]
    cut = np.mean(fixed)
    achieved = rows["sensitivity@specificity=0.8"]["value"]
    assert achieved == pytest.approx(recall_score(truth, answers["score"] >= cut))
    assert {r["group"] for r in record["metrics"] if r["group"]} >= {"site=A", "site=B"}
    assert record["tested"]["hash"] == run.record["hash"]
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    methods = " ".join(html.split('id="methods"')[1].split("</section>")[0].split())
    assert "All of them were test cases of a finished run" in methods and "were split" not in methods
    assert "unchanged. On its own test cases" in html
    with pytest.raises(RunError, match="finished run"):
        medvfm.test(run, str(card), tmp_path / "out", root=study.root, device="cpu", console=SILENT)


def test_scaled_probabilities_stand_apart_and_are_fitted_on_other_patients(studied, tmp_path):
    _, run = studied
    study, card = other_study(tmp_path / "other", cases=60, shift=-50)
    found = medvfm.test(run, str(card), tmp_path / "out", root=study.root, device="cpu", console=SILENT)
    rows = found.metrics[found.metrics["metric"] == "brier"]
    as_it_is, anew = (rows[rows["group"].isna()].iloc[0], rows[rows["group"] == "recalibrated=anew"].iloc[0])
    assert anew["value"] < as_it_is["value"]
    assert "by the other four" in anew["note"]
    assert not (found.metrics[found.metrics["metric"] == "auroc"]["group"] == "recalibrated=anew").any()


def test_pictures_that_were_trained_on_stop_the_test_whatever_they_are_called(studied, tmp_path):
    own, run = studied
    study, _ = other_study(tmp_path / "other")
    trained = [r for r in own.rows if r["split"] == "train"]
    shutil.copy(own.root / trained[0]["image"], study.root / study.rows[3]["image"])
    card = study.write("others.csv")
    with pytest.raises(DataError, match="1 case of others show images that the run was trained on: o3"):
        medvfm.test(run, str(card), tmp_path / "out", root=study.root, device="cpu", console=SILENT)
    assert not (tmp_path / "out").exists()


def test_patients_who_were_trained_on_stop_it_unless_they_are_said_to_be_others(studied, tmp_path):
    own, run = studied
    study, _ = other_study(tmp_path / "other")
    study.rows[5]["patient_id"] = next(r for r in own.rows if r["split"] == "train")["patient_id"]
    card = study.write("others.csv")
    with pytest.raises(DataError, match=r"1 case of others are of patients whom the run was trained on: o5.*--other-p"):
        medvfm.test(run, str(card), tmp_path / "out", root=study.root, device="cpu", console=SILENT)
    medvfm.test(
        run, str(card), tmp_path / "out", root=study.root, other_patients=True, device="cpu", console=SILENT
    )  # fmt: skip


def test_a_run_that_keeps_no_pixels_says_so_and_other_classes_are_refused(studied, tmp_path):
    _, run = studied
    old = tmp_path / "old"
    shutil.copytree(run.directory, old)
    cases = pd.read_csv(old / "private" / "cases.csv")
    cases.drop(columns=["split", "pixels"]).to_csv(old / "private" / "cases.csv", index=False)
    study, card = other_study(tmp_path / "other")
    found = medvfm.test(old, str(card), tmp_path / "out", root=study.root, device="cpu", console=SILENT)
    assert any("keeps no pixels" in w for w in found.record["warnings"])
    with pytest.raises(RunError, match="never written to"):
        medvfm.test(old, str(card), old / "external", root=study.root, device="cpu", console=SILENT)
    without = study.write("plain.csv", [{k: v for k, v in r.items() if k != "bright"} for r in study.rows])
    with pytest.raises(medvfm.RecipeError, match="no class 'bright'"):
        medvfm.test(old, str(without), tmp_path / "more", root=study.root, device="cpu", console=SILENT)


def test_two_runs_tested_on_the_same_set_can_be_compared(studied, tmp_path):
    _, run = studied
    study, card = other_study(tmp_path / "other")
    for name in ("one", "two"):
        medvfm.test(run, str(card), tmp_path / name, root=study.root, device="cpu", console=SILENT)
    rows = medvfm.compare([tmp_path / "one", tmp_path / "two"])
    assert (rows[rows["metric"] == "auroc_difference"]["value"] == 0).all()
    assert json.loads((tmp_path / "one" / "run.json").read_text())["data"]["card"]["name"] == "others"
