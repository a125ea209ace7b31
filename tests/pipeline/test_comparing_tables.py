"""Predictions compared against one truth, without an evaluation before."""

from __future__ import annotations

import json
import sys

import nibabel
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

import medvfm
from medvfm.cli import main, summary
from medvfm.core.errors import PredictionError, RunError
from medvfm.core.recipe_sections import Confidence

N = 60
FEW = Confidence(resamples=200)


@pytest.fixture(scope="module")
def tables():
    rng = np.random.default_rng(3)
    truth = (rng.random(N) < 0.4).astype(int)
    ids = [f"c{n}" for n in range(N)]
    given = {name: rng.normal(size=N) + skill * truth for name, skill in (("mine", 1.5), ("theirs", 0.2))}
    scores = {name: pd.DataFrame({"case_id": ids, "lesion": 1 / (1 + np.exp(-s))}) for name, s in given.items()}
    return pd.DataFrame({"case_id": ids, "patient_id": ids, "lesion": truth}), scores


def test_the_difference_is_that_of_scikit_learn(tables):
    truth, scores = tables
    rows = medvfm.compare(scores, truth=truth, metrics=["auroc"], confidence=FEW)
    (row,) = rows[rows["metric"] == "auroc_difference"].to_dict("records")
    own = [roc_auc_score(truth["lesion"], scores[name]["lesion"]) for name in ("mine", "theirs")]
    assert {row["model"], row["baseline"]} == {"mine", "theirs"}
    assert abs(row["value"]) == pytest.approx(own[0] - own[1]) and row["p"] is not None


def test_the_command_line_takes_files_and_leaves_nothing_but_the_comparison(tables, tmp_path, monkeypatch, capsys):
    truth, scores = tables
    truth.to_csv(tmp_path / "truth.csv", index=False)
    for name, table in scores.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    files = [str(tmp_path / f"{name}.csv") for name in scores]
    words = ["medvfm", "compare", *files, "--out", str(tmp_path / "out"), "--metrics", "auroc"]
    monkeypatch.setattr(sys, "argv", [*words, "--threshold", "0.5"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and "--truth" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", [*words, "--truth", str(tmp_path / "truth.csv")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert [run["name"] for run in record["compared"]["runs"]] == ["mine", "theirs"]
    assert {p.name for p in tmp_path.iterdir()} == {"truth.csv", "mine.csv", "theirs.csv", "out"}


def test_tables_need_a_truth_and_the_cases_of_it(tables):
    truth, scores = tables
    with pytest.raises(RunError, match="against a truth"):
        medvfm.compare(scores)
    with pytest.raises(PredictionError, match="c59"):
        medvfm.compare({**scores, "theirs": scores["theirs"].iloc[:-1]}, truth=truth, confidence=FEW)
    with pytest.raises(RunError, match="two or more"):
        medvfm.compare({"mine": scores["mine"]}, truth=truth, metrics=["auroc"], confidence=FEW)


def test_unknown_patients_and_cases_without_a_label_are_said_and_no_number_of_patients_is(tables, tmp_path, capsys):
    truth, scores = tables
    nameless = truth.drop(columns="patient_id").astype({"lesion": float})
    nameless.loc[4, "lesion"] = np.nan
    medvfm.compare(scores, tmp_path / "out", truth=nameless, metrics=["auroc"], confidence=FEW)
    summary.show(tmp_path / "out")
    said = capsys.readouterr().out
    page = " ".join((tmp_path / "out" / "report.html").read_text(encoding="utf-8").split())
    for text in (said, page):
        assert "the same 59 cases of unknown patients" in text and "59 patients" not in text
        assert "Patients are unknown" in text and "1 case without a label left out: c4." in text


def masks(folder, shift, value):
    mask = np.zeros((12, 10, 4), np.uint8)
    mask[2 + shift : 6 + shift, 2:6, 1:3] = value
    folder.mkdir()
    for n in range(3):
        nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), folder / f"c{n}.nii.gz")
    return folder


def test_what_values_of_masks_mean_is_said_to_compare_as_to_evaluate(tmp_path, monkeypatch, capsys):
    truth, mine, theirs = (masks(tmp_path / n, k, v) for n, k, v in (("t", 0, 255), ("mine", 1, 1), ("theirs", 2, 1)))
    words = ["compare", str(mine), str(theirs), "--truth", str(truth), "--task", "segmentation", "--metrics", "dice"]
    named = ["--labels", "255=lesion", "--predicted-labels", "1=lesion"]
    rows = medvfm.compare(
        {"mine": mine, "theirs": theirs}, truth=truth, task="segmentation", metrics=["dice"], confidence=FEW,
        options={"labels": "255=lesion", "predicted_labels": "1=lesion", "background": [7]},
    )  # fmt: skip
    difference = rows[(rows["metric"] == "dice_difference") & (rows["target"] == "lesion")].iloc[0]
    assert difference["value"] == pytest.approx(0.75 - 0.5)
    for options, code in (([*named, "--background", "7"], 0), (["--labels", "1=lesion"], 2)):
        monkeypatch.setattr(sys, "argv", ["medvfm", *words, *options, "--out", str(tmp_path / f"out{code}")])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == code
    record = json.loads((tmp_path / "out0" / "run.json").read_text())
    assert record["task"]["classes"] == ["lesion"]
    assert "holds the values 255" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["medvfm", *words[:3], *named, "--out", str(tmp_path / "x")])
    with pytest.raises(SystemExit):
        main()
    assert "--labels: only predictions with --truth take this" in capsys.readouterr().err
