"""`medvfm evaluate --level --resamples --cluster`: what a recipe has as evaluate.confidence."""

from __future__ import annotations

import json
import sys

import pandas as pd
import pytest

import medvfm
from medvfm.cli import main
from medvfm.core.errors import RecipeError

TRUTH = [1, 0] * 20
SCORES = [0.9, 0.2, 0.6, 0.7, 0.8, 0.3, 0.4, 0.1] * 5


def evaluated(tmp_path, monkeypatch, *options: str) -> int:
    cases = [f"c{i}" for i in range(len(TRUTH))]
    patients = [f"p{i // 2}" for i in range(len(TRUTH))]
    pd.DataFrame({"case_id": cases, "patient_id": patients, "finding": TRUTH}).to_csv(tmp_path / "t.csv", index=False)
    pd.DataFrame({"case_id": cases, "finding": SCORES}).to_csv(tmp_path / "p.csv", index=False)
    tables = ["--truth", str(tmp_path / "t.csv"), "--predictions", str(tmp_path / "p.csv")]
    words = ["medvfm", "evaluate", "classification", *tables, "--metrics", "brier", "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", [*words, *options])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_level_and_resamples_of_the_command_line_are_those_of_the_rows_and_of_methods(tmp_path, monkeypatch):
    assert evaluated(tmp_path, monkeypatch, "--level", "0.9", "--resamples", "500", "--cluster", "patient") == 0
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert {row["level"] for row in record["metrics"]} == {0.9}
    assert record["confidence"] == {"level": 0.9, "resamples": 500, "cluster": "patient", "method": "auto"}
    assert "of 500 resamples" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--level", "0.3"), "evaluate, level"),
        (("--resamples", "5"), "evaluate, resamples"),
        (("--cluster", "image"), "'image' is not known"),
    ],
)
def test_what_a_recipe_refuses_is_refused_and_nothing_is_written(tmp_path, monkeypatch, capsys, options, said):
    assert evaluated(tmp_path, monkeypatch, *options) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_from_python_a_lower_level_gives_a_narrower_interval_and_wrong_ones_are_refused():
    def width(**options) -> float:
        (row,) = medvfm.evaluate(
            "classification", TRUTH, SCORES, ["auroc"], resamples=200, **options
        ).to_dict("records")  # fmt: skip
        return float(row["high"] - row["low"])

    assert width(level=0.8) < width()
    with pytest.raises(RecipeError, match="level"):
        width(level=1.0)
    with pytest.raises(RecipeError, match="patient"):
        width(cluster="image")
