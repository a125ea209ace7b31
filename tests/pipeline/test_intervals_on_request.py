"""Intervals that are asked for by name: Clopper and Pearson by statsmodels, BCa by scipy, on the command line too."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap as scipy_bootstrap
from statsmodels.stats.proportion import proportion_confint
from typer.testing import CliRunner

import medvfm
from medvfm.cli import app
from medvfm.core.errors import RecipeError
from medvfm.core.recipe_sections import Confidence
from medvfm.io.run_directory import Run

N = 60


@pytest.fixture(scope="module")
def given():
    rng = np.random.default_rng(0)
    truth = (rng.random(N) < 0.4).astype(int)
    return truth, np.clip(truth * 0.4 + rng.random(N) * 0.6, 0, 1)


def row(given, metric, method, **more):
    truth, scores = given
    found = medvfm.evaluate(
        "classification", truth=truth, predictions=scores, metrics=[metric], threshold=0.5,
        confidence=Confidence(method=method, resamples=4000), **more,
    )  # fmt: skip
    return found.iloc[0]


@pytest.mark.parametrize("metric", ["accuracy", "sensitivity", "specificity"])
def test_shares_of_independent_cases_are_those_of_statsmodels(given, metric):
    truth, scores = given
    decided = (scores >= 0.5).astype(int)
    among = {"accuracy": np.ones(N, bool), "sensitivity": truth == 1, "specificity": truth == 0}[metric]
    low, high = proportion_confint((decided == truth)[among].sum(), among.sum(), method="beta")
    exact, usual = row(given, metric, "clopper_pearson"), row(given, metric, "auto")
    assert exact["method"] == "clopper_pearson"
    assert (exact["low"], exact["high"]) == pytest.approx((low, high))
    assert exact["high"] - exact["low"] > usual["high"] - usual["low"]
    assert row(given, "auroc", "clopper_pearson")["method"] == row(given, "auroc", "auto")["method"]


def test_cases_of_one_patient_count_as_fewer(given):
    truth, scores = given
    ids = [f"c{n}" for n in range(N)]
    table = pd.DataFrame({"case_id": ids, "patient_id": [f"p{n // 4}" for n in range(N)], "x": truth})
    answers = pd.DataFrame({"case_id": ids, "x": scores})
    rows = {}
    for name, patients in (("alone", ids), ("several", table["patient_id"])):
        found = medvfm.evaluate(
            "classification", truth=table.assign(patient_id=patients), predictions=answers, metrics=["accuracy"],
            threshold=0.5, confidence=Confidence(method="clopper_pearson"),
        )  # fmt: skip
        rows[name] = found.iloc[0]
    truly = truth == (scores >= 0.5)
    shares = pd.Series(truly).groupby(table["patient_id"]).mean()
    size = N / (1 if shares.var() == 0 else max(1.0, 4 * shares.var(ddof=0) / (truly.mean() * (1 - truly.mean()))))
    wider = rows["several"]["high"] - rows["several"]["low"] > rows["alone"]["high"] - rows["alone"]["low"]
    assert wider == (size < N * 0.999)


def test_bca_is_that_of_scipy_but_for_the_draw(given):
    truth, scores = given
    squares = (scores - truth) ** 2
    theirs = scipy_bootstrap((squares,), np.mean, method="BCa", n_resamples=20_000, rng=np.random.default_rng(1))
    ours = row(given, "brier", "bca")
    assert ours["method"] == "bootstrap_bca"
    assert (ours["low"], ours["high"]) == pytest.approx(tuple(theirs.confidence_interval), rel=0.05)
    assert row(given, "auroc", "bca")["method"] == "bootstrap_bca"


def test_the_command_line_takes_them_and_refuses_others(given, tmp_path):
    truth, scores = given
    ids = [f"c{n}" for n in range(N)]
    pd.DataFrame({"case_id": ids, "patient_id": ids, "x": truth}).to_csv(tmp_path / "t.csv", index=False)
    pd.DataFrame({"case_id": ids, "x": scores}).to_csv(tmp_path / "p.csv", index=False)
    words = ["evaluate", "classification", "--truth", str(tmp_path / "t.csv"), "--predictions", str(tmp_path / "p.csv"),
             "--metrics", "accuracy", "--threshold", "0.5", "--interval"]  # fmt: skip
    done = CliRunner().invoke(app, [*words, "clopper_pearson", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert Run(tmp_path / "out").record["metrics"][0]["method"] == "clopper_pearson"
    refused = CliRunner().invoke(app, [*words, "wald", "--out", str(tmp_path / "no")])
    assert isinstance(refused.exception, RecipeError)
    assert "wald" in str(refused.exception)
