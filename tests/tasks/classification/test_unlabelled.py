"""Cases without a label in tables of evaluate: counted and named everywhere, or refused where one class is right."""

from __future__ import annotations

import json
import re

import numpy as np
import openpyxl
import pandas as pd
import pytest
from sklearn import metrics

import medvfm
from medvfm.core.errors import MedvfmError
from medvfm.core.recipe_sections import Confidence

IDS = [f"c{n}" for n in range(20)]
TRUE, SCORES = np.arange(20) % 2, np.random.default_rng(3).random(20)
EMPTY = [3, 5, 7]
KNOWN = [n for n in range(20) if n not in EMPTY]


def tables(folder):
    truth = pd.DataFrame({"case_id": IDS, "patient_id": [f"p{n}" for n in range(20)], "x": TRUE}).astype(object)
    truth.loc[EMPTY, "x"] = ""
    truth.to_csv(folder / "t.csv", index=False)
    pd.DataFrame({"case_id": IDS, "x": SCORES}).to_csv(folder / "p.csv", index=False)
    return folder / "t.csv", folder / "p.csv"


def evaluated(truth, predictions, name="auroc", **options):
    return medvfm.evaluate(
        "classification", truth, predictions, [name], confidence=Confidence(resamples=100), **options
    )


def test_the_record_and_the_page_count_and_name_cases_without_a_label(tmp_path):
    (row,) = evaluated(*tables(tmp_path), out=tmp_path / "out").to_dict("records")
    assert row["value"] == pytest.approx(metrics.roc_auc_score(TRUE[KNOWN], SCORES[KNOWN]))
    assert (row["cases"], row["patients"]) == (17, 17)
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert [(step["step"], step["cases"], step["patients"]) for step in record["data"]["flow"]] == [
        ("with a prediction", 20, 20),
        ("without a label", -3, -3),
        ("analysed", 17, 17),
    ]
    assert [case["reason"] for case in record["data"]["left_out"]] == ["without a label"] * 3
    assert "3 cases without a label left out: c3, c5, c7." in record["warnings"]
    page = re.sub(r"<[^>]+>|\s+", " ", (tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert "no case was left out" not in page and "excluded were 3 cases (without a label)" in page
    assert "17 cases of 17 patients were analysed" in page


def test_of_several_findings_a_case_with_one_label_is_scored(tmp_path):
    truth = pd.DataFrame({"case_id": IDS, "x": TRUE, "y": 1 - TRUE}).astype({"x": float, "y": float})
    truth.loc[3, "x"], truth.loc[5, ["x", "y"]] = np.nan, np.nan
    rows = evaluated(truth, pd.DataFrame({"case_id": IDS, "x": SCORES, "y": 1 - SCORES}), kind="multi_label")
    cases = {row["target"]: row["cases"] for row in rows.to_dict("records") if row["target"]}
    assert cases["x"] == 18 and cases["y"] == 19


def test_a_split_without_labels_and_a_class_that_is_empty_are_refused_by_their_place():
    truth, given = pd.DataFrame({"case_id": IDS, "x": np.nan}), pd.DataFrame({"case_id": IDS, "x": SCORES})
    with pytest.raises(MedvfmError, match="no case of the split test has a label"):
        evaluated(truth, given)
    named = pd.DataFrame({"case_id": IDS, "truth": ["a", "b"] * 10})
    named.loc[[7, 9], "truth"] = None
    scores = pd.DataFrame({"case_id": IDS, "a": SCORES, "b": 1 - SCORES})
    with pytest.raises(MedvfmError, match=r"row 8: no class of c7 is given, and 1 further case without one: c9"):
        evaluated(named, scores, "accuracy")
    rows = evaluated(named.drop([7, 9]), scores, "accuracy", allow_missing=True)
    assert rows.iloc[0]["cases"] == 18


def test_of_classes_that_exclude_each_other_an_empty_one_is_left_out_where_that_is_asked_for():
    named = pd.DataFrame({"case_id": IDS, "truth": ["a", "b"] * 10})
    named.loc[7, "truth"] = None
    scores = pd.DataFrame({"case_id": IDS, "a": SCORES, "b": 1 - SCORES})
    assert evaluated(named, scores, "accuracy", allow_missing=True).iloc[0]["cases"] == 19


@pytest.mark.parametrize("exclusive", [False, True])
def test_validation_cases_without_labels_leave_test_as_it_is(tmp_path, exclusive):
    truth = pd.DataFrame({"case_id": IDS, "truth" if exclusive else "x": TRUE, "split": ["test"] * 12 + ["val"] * 8})
    truth = truth.astype(object)
    truth.iloc[12:, 1] = None
    given = pd.DataFrame({"case_id": IDS, "0": 1 - SCORES, "1": SCORES} if exclusive else {"case_id": IDS, "x": SCORES})
    rows = evaluated(truth, given, "accuracy" if exclusive else "auroc", out=tmp_path / "out")
    assert set(rows["split"]) == {"test"} and set(rows["cases"]) == {12}
    said = json.loads((tmp_path / "out" / "run.json").read_text())["warnings"]
    assert "Nothing is scored of the split val: no case of it has a label." in said


def test_a_row_of_a_workbook_that_ends_early_has_no_label(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["case_id", "patient_id", "x"])
    for n, case_id in enumerate(IDS):
        book.active.append([case_id, f"p{n}"] if n in EMPTY else [case_id, f"p{n}", int(TRUE[n])])
    book.save(tmp_path / "t.xlsx")
    rows = evaluated(tmp_path / "t.xlsx", tables(tmp_path)[1])
    assert rows.iloc[0]["cases"] == 17
