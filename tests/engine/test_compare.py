"""Runs compared: paired differences by scikit-learn, places, margins, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

import medvfm
from medvfm.core.errors import RunError
from medvfm.core.recipe_sections import Confidence
from medvfm.io.run_directory import Run

FEW = Confidence(resamples=200)
N = 120
METRICS = ["auroc", "accuracy", "brier"]


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """Three raters of the same cases: `good` and `fair` are alike, `poor` guesses."""
    folder, rng = tmp_path_factory.mktemp("compared"), np.random.default_rng(0)
    truth = (rng.random(N) < 0.4).astype(int)
    ids = [f"c{n}" for n in range(N)]
    table = pd.DataFrame({"case_id": ids, "patient_id": [f"p{n // 2}" for n in range(N)], "lesion": truth})
    table.to_csv(folder / "truth.csv", index=False)
    scores = {}
    for name, skill in (("good", 1.6), ("fair", 1.5), ("poor", 0.0)):
        scores[name] = 1 / (1 + np.exp(-(rng.normal(size=N) + skill * (2 * truth - 1))))
        order = rng.permutation(N) if name == "fair" else np.arange(N)
        write(folder, name, table.iloc[order], scores[name][order])
    return folder, truth, scores


def write(folder, name, table, scores):
    given = pd.DataFrame({"case_id": table["case_id"].to_numpy(), "lesion": scores})
    medvfm.evaluate(
        "classification", truth=table, predictions=given, metrics=METRICS, threshold=0.5, confidence=FEW,
        out=folder / name,
    )  # fmt: skip
    return folder / name


def difference(rows, metric, model, other):
    found = rows[(rows["metric"] == f"{metric}_difference") & (rows["model"] == model) & (rows["baseline"] == other)]
    (row,) = found.to_dict("records")
    return row


def test_differences_are_those_of_scikit_learn_whatever_the_order_of_the_cases(studies, tmp_path):
    folder, truth, scores = studies
    rows = medvfm.compare([folder / n for n in ("good", "fair", "poor")], tmp_path / "out", confidence=FEW)
    for one, other in (("good", "fair"), ("good", "poor"), ("fair", "poor")):
        auroc = difference(rows, "auroc", one, other)
        assert auroc["value"] == pytest.approx(roc_auc_score(truth, scores[one]) - roc_auc_score(truth, scores[other]))
        accuracy = [accuracy_score(truth, scores[n] >= 0.5) for n in (one, other)]
        assert difference(rows, "accuracy", one, other)["value"] == pytest.approx(accuracy[0] - accuracy[1])
        assert auroc["p_adjusted"] >= auroc["p"]
    assert difference(rows, "auroc", "good", "poor")["separated"]
    assert not difference(rows, "auroc", "good", "fair")["separated"]
    places = {row["model"]: (row["rank"], row["below"]) for row in rows.attrs["leaderboard"]}
    assert places == {"good": (1, []), "fair": (1, []), "poor": (3, ["fair", "good"])}
    record = Run(tmp_path / "out").record
    assert (record["kind"], record["status"]) == ("comparison", "complete")
    assert record["compared"]["tests"] == 9
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "share the first place by AUROC" in html
    assert "not about the methods" in html


def test_tables_for_a_paper_hold_every_difference(studies, tmp_path):
    folder, _, _ = studies
    medvfm.compare([folder / "good", folder / "poor"], tmp_path / "out", confidence=FEW)
    markdown, latex = ((tmp_path / "out" / f"table.{kind}").read_text(encoding="utf-8") for kind in ("md", "tex"))
    assert markdown.count("good minus poor") == latex.count("good minus poor") == 3
    assert r"95\% CI" in latex
    assert latex.count(r"\\") == 4
    assert {line.count("|") for line in markdown.split("\n\n")[0].splitlines()} == {7}


def test_a_run_and_itself_are_never_apart(studies, tmp_path):
    folder, _, _ = studies
    rows = medvfm.compare([folder / "good", folder / "good"], tmp_path / "same", confidence=FEW)
    apart = rows[rows["metric"].str.endswith("_difference")]
    assert (apart["value"] == 0).all()
    assert not apart["separated"].any()
    assert [row["rank"] for row in rows.attrs["leaderboard"]] == [1, 1]
    said = (tmp_path / "same" / "report.html").read_text(encoding="utf-8")
    assert "cannot tell apart" in said
    assert "equivalent" not in said.partition("How they were compared")[0]


@pytest.mark.parametrize(
    ("one", "other", "margin", "said"),
    [("good", "fair", 0.3, "equivalent"), ("good", "fair", 0.001, "open"), ("good", "poor", 0.05, "not_worse"),
     ("poor", "good", 0.05, "not_better")],
)  # fmt: skip
def test_only_a_margin_makes_runs_equivalent(studies, one, other, margin, said):
    folder, _, _ = studies
    rows = medvfm.compare([folder / one, folder / other], margin=margin, confidence=FEW)
    row = difference(rows, "auroc", one, other)
    assert row["within_margin"] == said
    assert pd.isna(difference(rows, "brier", one, other)["within_margin"])


def test_a_margin_of_what_is_better_low_looks_to_the_other_side(studies):
    folder, _, _ = studies
    rows = medvfm.compare([folder / "good", folder / "poor"], margin="brier=0.01", confidence=FEW)
    row = difference(rows, "brier", "good", "poor")
    assert row["high"] < -0.01
    assert row["within_margin"] == "not_worse"


def test_other_cases_another_truth_and_other_patients_are_refused_by_name(studies, tmp_path):
    folder, _, scores = studies
    table = pd.read_csv(folder / "truth.csv")
    shorter = write(tmp_path, "shorter", table.iloc[:-1], scores["good"][:-1])
    with pytest.raises(RunError, match="1 case of good are not in shorter: c119"):
        medvfm.compare([folder / "good", shorter])
    turned = table.assign(lesion=table["lesion"].where(table["case_id"] != "c7", 1 - table["lesion"]))
    other_truth = write(tmp_path, "turned", turned, scores["good"])
    with pytest.raises(RunError, match="truth of 1 case differs from that of good: c7"):
        medvfm.compare([folder / "good", other_truth])
    alone = write(tmp_path, "alone", table.assign(patient_id=table["case_id"]), scores["good"])
    with pytest.raises(RunError, match="patients of 120 cases differ"):
        medvfm.compare([folder / "good", alone])
    with pytest.raises(RunError, match="nothing to be compared"):
        medvfm.compare([folder / "good"])


def test_values_of_cases_are_drawn_case_by_case(tmp_path):
    rng = np.random.default_rng(1)
    ids = [f"q{n}" for n in range(30)]
    truth = pd.DataFrame(
        {"case_id": ids, "patient_id": ids, "question": "what?", "question_type": "OPEN", "answer": "left lung base"}
    )
    for name, lost in (("whole", 0.1), ("part", 0.6)):
        answers = ["left lung" if r < lost else "left lung base" for r in rng.random(30)]
        given = pd.DataFrame({"case_id": ids, "answer": answers})
        medvfm.evaluate(
            "question_answering", truth=truth, predictions=given, metrics=["open_recall"], confidence=FEW,
            out=tmp_path / name,
        )  # fmt: skip
    rows = medvfm.compare([tmp_path / "whole", tmp_path / "part"], tmp_path / "out", confidence=FEW)
    measures = pd.read_parquet(tmp_path / "out" / "measures.parquet")
    row = difference(rows, "open_recall", "whole", "part")
    assert measures["value"].mean() == pytest.approx(row["value"])
    assert row["test"] == "sign_flip"
    assert "Differences case by case" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    kept = json.loads((tmp_path / "whole" / "run.json").read_text())
    assert kept["kind"] == "evaluation"


def test_other_tests_by_name(studies):
    folder, _, _ = studies
    rows = medvfm.compare([folder / "good", folder / "poor"], test="permutation", confidence=FEW)
    assert difference(rows, "auroc", "good", "poor")["test"] == "exchange"
    assert difference(rows, "auroc", "good", "poor")["p"] == pytest.approx(1 / 201)
    rows = medvfm.compare([folder / "good", folder / "poor"], test="wilcoxon", confidence=FEW)
    brier = difference(rows, "brier", "good", "poor")
    assert brier["test"] == "wilcoxon"
    assert "Hodges and Lehmann" in brier["test_note"]
    with pytest.raises(RunError, match="did you mean 'wilcoxon'"):
        medvfm.compare([folder / "good", folder / "poor"], test="wilcox")
