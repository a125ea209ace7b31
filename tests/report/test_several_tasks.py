"""The page of a run of two tasks: each with its answer and sections; templates ranked, few cases as a curve."""

from __future__ import annotations

import re

import pytest

from medvfm import pipeline
from medvfm.cli import summary
from medvfm.io.console import SILENT
from medvfm.report import run_view
from tests.samples.pair_studies import PairStudy

TASKS = [
    {"name": "classification", "classes": ["disc"], "metrics": ["auroc", "balanced_accuracy"]},
    {"name": "retrieval", "metrics": ["recall@k=5", "median_rank"]},
]
OPTIONS = {
    "width": 16,
    "templates": ["{}", "a picture of {}", "we see {}"],
    "prompts": {"disc": "bright disc"},
    "paraphrases": {"disc": "round spot"},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    study = PairStudy(tmp_path_factory.mktemp("study"))
    recipe = study.recipe(
        task=TASKS,
        adapter={"options": OPTIONS},
        baselines=[{"name": "texts_permuted"}, {"name": "prevalence"}],
        evaluate={
            "metrics": ["auroc"],
            "confidence": {"resamples": 100},
            "few_shot": {"per_class": [1, 2], "draws": 2},
        },
        train={"epochs": 1, "batch_size": 8},
    )
    return pipeline.run(recipe, tmp_path_factory.mktemp("run") / "a", device="cpu", console=SILENT)


@pytest.fixture(scope="module")
def html(finished):
    return (finished.directory / "report.html").read_text()


def said(html):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub(r"(?s)<(script|style)\b.*?</\1>", " ", html)))


def test_each_task_has_its_answer_its_numbers_and_its_sections(html):
    ids = re.findall(r'<section id="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert {"curves", "retrieval", "retrieval-rank_curves", "retrieval-baselines"} <= set(ids)
    assert ids.index("curves") < ids.index("retrieval") < ids.index("data")
    words = said(html)
    assert "Retrieval: Ranks of the right candidate" in words
    assert "Recall at 5" in words and "AUROC" in words


def test_templates_are_ranked_on_validation_cases_and_paraphrases_tested(finished, html):
    rows = finished.record["metrics"]
    worded = [r for r in rows if str(r["group"]).startswith("wording=")]
    assert {r["split"] for r in worded} == {"val"} and len(worded) == 3
    assert [r["value"] for r in worded] == sorted((r["value"] for r in worded), reverse=True)
    assert [r for r in rows if r["group"] == "paraphrased" and r["split"] == "test"]
    words = said(html)
    assert "Templates and wording" in words and "a picture of {}" in words
    assert "With paraphrased names of the classes, AUROC on test cases is" in words


def test_few_training_cases_are_a_curve_and_no_subgroup(finished, html):
    words = said(html)
    assert "Few training cases" in words and "the mean of 2 draws" in words
    assert 'id="subgroups"' not in html
    shots = [r["group"] for r in finished.record["metrics"] if str(r["group"]).startswith("shots=")]
    assert dict.fromkeys(shots) == dict.fromkeys(["shots=1", "shots=2"])


def test_a_further_task_sees_its_own_rows_and_tables_alone(finished):
    view = run_view.load(finished.directory)
    (further,) = view.further
    assert {r["metric"] for r in view.rows()} == {"auroc", "balanced_accuracy"}
    assert {r["metric"] for r in further.rows()} == {"recall@k=5", "median_rank"}
    assert view.measures is None and further.predictions is None
    assert view.targets == ["disc"] and set(further.measures["metric"]) >= {"rank", "recall@k=5"}
    assert {r["baseline"] for r in further.rows(baseline=...)} == {None, "texts_permuted"}
    assert {r["baseline"] for r in view.rows(baseline=...)} == {None, "prevalence"}


def test_the_terminal_tells_of_both(finished, capsys):
    summary.show(finished.directory)
    shown = capsys.readouterr().out
    assert "AUROC" in shown and "Recall at 5" in shown and shown.index("AUROC") < shown.index("Recall at 5")
