"""Masks of other programs: matched, refused, scored; values against counts by hand."""

from __future__ import annotations

import nibabel
import numpy as np
import pandas as pd
import pytest

import medvfm
from medvfm.core.errors import MedvfmError

AFFINE = np.diag([1.0, 2, 3, 1])


def save(folder, name, labels, affine=AFFINE):
    folder.mkdir(exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(labels.astype(np.uint8), affine), folder / f"{name}.nii.gz")


@pytest.fixture
def folders(tmp_path):
    """Three cases: one right, one shifted, one that misses the structure."""
    rng = np.random.default_rng(0)
    for n in range(3):
        true = np.zeros((12, 10, 6), np.uint8)
        true[2:8, 2:7, 1:5] = 1
        true[9:11, 8:10, 2:4] = 2
        drawn = {0: true, 1: np.roll(true, 2, axis=0), 2: np.where(true == 2, 0, true)}[n]
        save(tmp_path / "true", f"c{n}", true)
        save(tmp_path / "drawn", f"c{n}", drawn)
    del rng
    return tmp_path


def test_folders_are_matched_by_name_and_a_miss_costs_the_diagonal(folders):
    rows = medvfm.evaluate(
        "segmentation",
        truth=folders / "true",
        predictions=folders / "drawn",
        metrics=["dice", "hd95", "missed"],
        classes=["box", "corner"],
    )
    value = lambda metric, target: rows[(rows.metric == metric) & (rows.target == target)].iloc[0]["value"]  # noqa: E731
    assert value("dice", "box") == pytest.approx((1 + 4 / 6 + 1) / 3)
    assert value("dice", "corner") == pytest.approx((1 + 0.0 + 0) / 3)
    assert value("missed", "corner") == 1 and value("missed", "box") == 0
    diagonal = np.linalg.norm([12, 20, 18])
    assert value("hd95", "corner") > diagonal / 3


def test_a_table_names_patients_and_groups(folders):
    table = pd.DataFrame(
        {
            "case_id": ["c0", "c1", "c2"],
            "patient_id": ["a", "a", "b"],
            "sex": list("FFM"),
            "mask": [f"true/c{n}.nii.gz" for n in range(3)],
        }
    )
    table.to_csv(folders / "truth.csv", index=False)
    rows = medvfm.evaluate(
        "segmentation", truth=folders / "truth.csv", predictions=folders / "drawn", metrics=["dice"], subgroups=["sex"],
        out=folders / "eval",
    )  # fmt: skip
    whole = rows[(rows.target == "mean") & rows.group.isna()].iloc[0]
    assert whole["patients"] == 2 and whole["cases"] == 3
    assert set(rows.group.dropna()) == {"sex=F", "sex=M", "gap=sex"}
    assert (folders / "eval" / "report.html").is_file() and (folders / "eval" / "measures.parquet").is_file()
    frame = table.assign(mask=[str(folders / m) for m in table["mask"]])
    again = medvfm.evaluate("segmentation", truth=frame, predictions=folders / "drawn", metrics=["dice"])
    assert again.iloc[0]["value"] == rows.iloc[0]["value"]


def test_what_cannot_be_scored_is_named(folders):
    score = lambda **options: medvfm.evaluate(  # noqa: E731
        "segmentation", truth=folders / "true", predictions=folders / "drawn", metrics=["dice"], **options
    )
    with pytest.raises(MedvfmError, match="holds the values 2, which nobody named"):
        score(classes=["box"])
    (folders / "drawn" / "c1.nii.gz").unlink()
    with pytest.raises(MedvfmError, match="1 case has no prediction: c1"):
        score()
    rows = score(allow_missing=True)
    assert rows.iloc[0]["cases"] == 2
    save(folders / "drawn", "c1", np.zeros((12, 10, 6)), np.diag([1.0, 2, 3.5, 1]))
    assert score().iloc[0]["cases"] == 2  # another grid: left out
    (folders / "drawn" / "c1.nii.gz").write_bytes((folders / "drawn" / "c0.nii.gz").read_bytes()[:60])
    assert score().iloc[0]["cases"] == 2  # truncated: left out


def test_doubled_rows_and_missing_columns_are_refused(folders):
    doubled = pd.DataFrame({"case_id": ["c0", "c0"], "mask": [str(folders / "drawn" / "c0.nii.gz")] * 2})
    with pytest.raises(MedvfmError, match="more than once: c0"):
        medvfm.evaluate("segmentation", truth=folders / "true", predictions=doubled)
    with pytest.raises(MedvfmError, match="no column mask"):
        medvfm.evaluate("segmentation", truth=folders / "true", predictions=pd.DataFrame({"case_id": ["c0"]}))


def test_objects(folders):
    true = np.zeros((12, 10, 1), np.uint8)
    true[1:4, 1:4], true[6:9, 6:9] = 1, 2
    drawn = np.where(true == 2, 7, 0)
    save(folders / "t2", "a", true)
    save(folders / "p2", "a", drawn)
    rows = medvfm.evaluate(
        "segmentation",
        truth=folders / "t2",
        predictions=folders / "p2",
        metrics=["dice", "pq", "f1@iou=0.5"],
        kind="instances",
    )
    assert rows.set_index("metric")["value"].to_dict() == pytest.approx({"dice": 0.5, "pq": 2 / 3, "f1@iou=0.5": 2 / 3})
