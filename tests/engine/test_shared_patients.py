"""One patient in several folds, or in test and val, of tables that are evaluated: said by cases, and not by names."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import medvfm

N = 40
IDS = [f"c{n}" for n in range(N)]
TWICE, APART = [f"P{n % 20}" for n in range(N)], [f"P{n}" for n in range(N)]


def warned(folder, **columns):
    truth = pd.DataFrame({"case_id": IDS, "x": np.arange(N) % 2, **columns})
    given = pd.DataFrame({"case_id": IDS, "x": np.random.default_rng(0).random(N)})
    medvfm.evaluate("classification", truth, given, ["auroc"], folder, resamples=100)
    said = json.loads((folder / "run.json").read_text())["warnings"]
    return [warning for warning in said if "too good" in warning]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"fold": np.arange(N) // 20}, "20 patients have cases in several folds, such as c0 and c20"),
        ({"split": ["test"] * 21 + ["val"] * 19}, "19 patients have cases in test and val, such as c1 and c21"),
        ({"fold": [0] * 21 + [1] * 19, "patient_id": ["P0", *APART[1:21], "P5", *APART[22:]]},
         "1 patient has cases in several folds, such as c5 and c21"),
    ],
)  # fmt: skip
def test_it_is_said_with_two_cases_and_no_name_of_a_patient(tmp_path, columns, said):
    (warning,) = warned(tmp_path / "out", **{"patient_id": TWICE, **columns})
    assert warning.startswith(said) and "P5" not in warning


def test_validation_cases_of_other_folds_are_no_leak(tmp_path):
    """Cross-validation: each case is tested in one fold and chosen on in another."""
    truth = pd.DataFrame({"case_id": IDS, "patient_id": TWICE, "x": np.arange(N) % 2})
    fold = np.arange(N) % 4  # patients n and n + 20 lie in one
    rng = np.random.default_rng(0)
    parts = [
        pd.DataFrame({"case_id": IDS, "split": split, "fold": (fold + more) % 4, "x": rng.random(N)})
        for split, more in (("test", 0), ("val", 1))
    ]
    for more, told in ((1, False), (0, True)):
        parts[1]["fold"] = (fold + more) % 4
        given, folder = pd.concat(parts), tmp_path / str(more)
        medvfm.evaluate("classification", truth, given, ["auroc"], folder, resamples=100)
        said = json.loads((folder / "run.json").read_text())["warnings"]
        assert any("cases in test and val" in warning for warning in said) == told


def test_nothing_is_said_of_patients_apart_unknown_ones_or_one_fold(tmp_path):
    for n, columns in enumerate(
        ({"patient_id": APART, "fold": np.arange(N) // 20}, {"fold": np.arange(N) // 20}, {"patient_id": TWICE})
    ):
        assert warned(tmp_path / str(n), **columns) == []
