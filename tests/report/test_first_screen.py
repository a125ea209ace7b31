"""The first screen: chips, 100 patients, three numbers; and the curves and lists that a reviewer asks for."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from medvfm.report import evidence, markdown, metrics_csv, sentences
from medvfm.report import page as report
from medvfm.report.run_view import Scores, load
from medvfm.report.sections import checklist, shortcuts
from medvfm.report.sections.classification import calibration, decision_curve, first_screen, selective
from tests.report.test_page import HOSTILE, Elements
from tests.samples import runs

METRICS = (*runs.METRICS, "calibration_slope", "calibration_intercept")


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "whole"
    runs.write(folder, metrics=METRICS)
    return folder


def changed(directory, tmp_path, **parts):
    """The view of the run with parts of its record in other words."""
    record = json.loads((directory / "run.json").read_text())
    for name in ("predictions.parquet",):
        (tmp_path / name).write_bytes((directory / name).read_bytes())
    runs.save(tmp_path, record | parts)
    return load(tmp_path)


def test_chips_say_what_limits_the_evidence(directory, tmp_path):
    chips = {chip.question: chip for chip in evidence.strip(load(directory))}
    assert chips["Data"].word == "real" and chips["Data"].tone == evidence.PLAIN
    assert chips["Reference standard"].detail == "consensus of two neuroradiologists"
    assert chips["Test"].word == "internal" and "random split" in chips["Test"].detail
    assert chips["Against the simplest rival"].word == "better"
    assert chips["Test set used"].word == "2nd time" and chips["Test set used"].tone == evidence.CAREFUL

    data = json.loads((directory / "run.json").read_text())["data"]
    card = data["card"] | {"simulated": True, "truth": "text mining of radiology reports"}
    other = changed(directory, tmp_path, data=data | {"card": card, "test_openings": 33})
    chips = {chip.question: chip for chip in evidence.strip(other)}
    assert (chips["Data"].word, chips["Data"].tone) == ("SIMULATED", evidence.ALARM)
    assert chips["Reference standard"].word == "mined from text"
    assert (chips["Test set used"].word, chips["Test set used"].tone) == ("33rd time", evidence.ALARM)


@pytest.mark.parametrize(
    ("count", "said"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (11, "11th"), (22, "22nd"), (113, "113th")]
)
def test_ordinal_numbers(count, said):
    assert evidence.ordinal(count) == said


@pytest.mark.parametrize(
    ("low", "high", "better", "said"),
    [(0.1, 0.2, "higher", "better"), (-0.1, 0.2, "higher", "not shown better"), (-0.2, -0.1, "higher", "worse"),
     (-0.2, -0.1, "lower", "better")],
)  # fmt: skip
def test_the_rival_is_told_by_the_interval_of_the_difference(directory, tmp_path, low, high, better, said):
    rows = json.loads((directory / "run.json").read_text())["metrics"]
    for row in rows:
        if row["metric"] == "auroc_difference":
            row |= {"low": low, "high": high, "better": better}
        elif row["metric"] == "auroc":
            row |= {"better": better}
    assert sentences.against_best(changed(directory, tmp_path, metrics=rows)) == said


def test_a_hundred_patients_add_up_and_agree_with_the_counts(directory):
    view = load(directory)
    found = Elements(str(first_screen.frequencies(view)))
    kinds = [a["class"] for tag, a in found.found if tag == "g"]
    scores, cut = view.scores("lesion"), view.part("thresholds", "lesion", "decision")["threshold"]
    called = scores.score >= cut
    assert len(kinds) == 100
    assert kinds.count("tp") + kinds.count("fn") == round(100 * scores.truth.mean())
    assert kinds.count("tp") / (kinds.count("tp") + kinds.count("fn")) == pytest.approx(
        called[scores.truth == 1].mean(), abs=0.02
    )
    assert f"{kinds.count('fp')} false alarms" in found.text and "Of 100 such patients" in found.text


@pytest.mark.parametrize("share", [0.003, 0.5, 0.996])
@pytest.mark.parametrize("rate", [0.0, 0.505, 1.0])
def test_people_are_whole_and_never_negative(share, rate):
    people = first_screen._people(share, rate, 1 - rate)
    assert sum(people.values()) == 100 and min(people.values()) >= 0


def test_three_numbers_stand_large(directory):
    cards = first_screen.numbers(load(directory))
    assert [len(card["values"]) for card in cards] == [1, 2, 2]
    assert [v["name"] for v in cards[1]["values"]] == ["Sensitivity", "Specificity"]
    assert [v["name"] for v in cards[2]["values"]] == ["Intercept", "Slope"]


def test_net_benefit_is_that_of_its_definition():
    rng = np.random.default_rng(3)
    truth = (rng.random(300) < 0.3).astype(int)
    score = np.clip(0.3 * truth + 0.5 * rng.random(300), 0, 1)
    scores = Scores(truth, score, np.arange(300).astype(object), np.zeros(300, int))
    found = decision_curve.net_benefit(scores, np.array([0.2, 0.5]))
    for value, threshold in zip(found, (0.2, 0.5), strict=True):
        right = sum(t == 1 and s >= threshold for t, s in zip(truth, score, strict=True))
        wrong = sum(t == 0 and s >= threshold for t, s in zip(truth, score, strict=True))
        assert value == pytest.approx(right / 300 - wrong / 300 * threshold / (1 - threshold))
    everyone = decision_curve.treat_all(scores, np.array([truth.mean()]))
    assert everyone[0] == pytest.approx(0, abs=1e-12)  # at the prevalence treating everyone and no one are the same
    assert decision_curve.net_benefit(scores, np.array([0.0001]))[0] == pytest.approx(truth.mean(), abs=1e-3)


def test_errors_fall_as_the_doubtful_cases_are_left_to_a_human():
    truth = np.array([1, 0, 1, 0, 1, 0])
    scores = Scores(truth, np.array([0.95, 0.05, 0.9, 0.1, 0.45, 0.55]), truth.astype(object), np.zeros(6, int))
    kept, risk = selective.risk_coverage(scores, 0.5)
    assert kept.tolist() == pytest.approx([n / 6 for n in range(1, 7)])
    assert risk.tolist() == pytest.approx([0, 0, 0, 0, 1 / 5, 2 / 6])


def test_conformal_sets_hold_the_truth_as_often_as_promised():
    """Over many draws of validation and test, in the mean: at least the promise, at most 1 / (n + 1) more."""
    rng = np.random.default_rng(11)
    reached = []
    for _ in range(2000):
        probability = rng.random(79)
        truth = (rng.random(79) < probability).astype(int)
        bound = selective.conformal_bound(truth[:-1], probability[:-1], 0.9)
        of_truth = probability[-1] if truth[-1] else 1 - probability[-1]
        reached.append(1 - of_truth <= bound)
    assert 0.9 - 0.02 <= np.mean(reached) <= 0.9 + 1 / 79 + 0.02
    assert selective.conformal_bound(np.array([1, 0]), np.array([0.9, 0.2]), 0.9) == 1.0  # too few to promise anything


def test_miscalibration_is_said_in_a_sentence():
    def entry(low, probability, value, cases, ends):
        row = {"value": value, "cases": cases, "low": ends[0], "high": ends[1]}
        return {"low": low, "high": low + 0.1, "probability": probability, "row": row}

    fine = entry(0.3, 0.35, 0.4, 20, (0.2, 0.6))
    off = entry(0.0, 0.03, 0.22, 23, (0.1, 0.4))
    assert calibration.finding([fine, off], "patient") == (
        "Risks from 0% to 10% were too low: predicted 3%, observed 22% (23 patients)."
    )
    assert "further apart than chance allows" in calibration.finding([fine], "patient")


def test_the_checklist_fills_what_the_record_knows_and_no_more(directory, tmp_path):
    filled = {item.number: answer for item, answer in checklist.answers(load(directory)) if answer}
    assert "AUROC 0." in filled["23a"] and "120 test patients, " in filled["21"]
    assert filled["8a"] == "consensus of two neuroradiologists"
    assert not {"17", "18a", "8b", "10"} & set(filled)  # ethics, funding, assessors, sample size
    bare = changed(directory, tmp_path, data=None, model=None, environment=None, thresholds=None, previews=None)
    answers = {item.number: answer for item, answer in checklist.answers(bare) if answer}
    assert set(answers) < set(filled)


def test_numbers_are_beside_the_page_as_text(directory):
    report.render(directory)
    record = json.loads((directory / "run.json").read_text())
    lines = (directory / metrics_csv.FILE).read_text().splitlines()
    assert len(lines) == 1 + len(record["metrics"])
    first = dict(zip(metrics_csv.COLUMNS, lines[1].split(","), strict=False))
    assert first["metric"] == "auroc" and float(first["value"]) == record["metrics"][0]["value"]
    text = (directory / markdown.FILE).read_text()
    for said in (
        "# Lesion on T1 MRI",
        "distinguished patients with lesion",
        "## Warnings",
        "## Methods",
        "| 23a |",
        "needs an author",
    ):
        assert said in text, said


def test_no_text_of_a_record_is_markup_or_a_formula(directory, tmp_path):
    rows = json.loads((directory / "run.json").read_text())["metrics"]
    rows[0] |= {"note": "=HYPERLINK(1)", "target": HOSTILE}
    view = changed(directory, tmp_path, title=f"a | b {HOSTILE}", metrics=rows, warnings=["[x](javascript:1) *a*"])
    text = markdown.document(view)
    assert "<script" not in text.replace("\\<", "") and "\x00" not in text
    assert "a \\| b" in text and "\\[x\\](javascript:1)" in text
    assert "'=HYPERLINK(1)" in metrics_csv.text(view)
    for line in text.splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) in (4, 8)  # three or seven cells, whatever they hold


def test_probes_stand_beside_the_model(directory, tmp_path):
    row = {"metric": "auroc", "target": "lesion", "split": "test", "value": 0.77, "low": 0.7, "high": 0.84,
           "probe": "image border", "looks_at": "the outer 6% of each side of the image"}  # fmt: skip
    warning = "Possible shortcut: the outer 6% of each side of the image alone reached an AUROC of 0.77"
    view = changed(directory, tmp_path, shortcuts=[row], warnings=[warning])
    text = Elements(str(shortcuts.build(view))).text
    assert "Image border" in text and "0.77" in text and warning in text and "the model" in text
    assert shortcuts.build(load(directory)) is None
