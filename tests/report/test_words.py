"""Sentences hold the numbers of the record; numbers read as a reader expects."""

from __future__ import annotations

from pathlib import Path

import pytest

from medvfm.report import sentences
from medvfm.report import text as words
from medvfm.report.run_view import View
from medvfm.report.sections import data, methods
from tests.samples import runs


def view(**record) -> View:
    return View(Path(), {"kind": "run", **record})


def row(value: float | None, low: float | None, high: float | None, **more) -> dict:
    base = {"metric": "auroc", "target": "lesion", "split": "test", "level": 0.95, "cases": 70, "patients": 70}
    return base | {"value": value, "low": low, "high": high, "better": "higher"} | more


def task(kind: str, *classes: str, unit: str = "patient") -> dict:
    return runs.task("classification", kind, classes, unit)


TASK = task("binary", "lesion")
MODEL = {
    "weights": "facebook/dinov2-base",
    "said": {"title": "dinov2-base", "subject": "A linear probe on frozen features of dinov2-base"},
}


def said(found: View) -> str:
    parts = sentences.answer(found)
    assert parts is not None
    return f"{parts['before']} {parts['number']}{parts['after']}"


def test_the_answer_in_a_sentence():
    assert said(view(task=TASK, model=MODEL, metrics=[row(0.8534, 0.7621, 0.9111)])) == (
        "A linear probe on frozen features of dinov2-base distinguished lesion from no lesion in 70 test patients, "
        "with an AUROC of 0.85 (95% CI 0.76 to 0.91)."
    )


@pytest.mark.parametrize(
    ("task", "part"),
    [
        (TASK | {"unit": "image"}, "in 171 test images of 132 patients, with"),
        (task("multi_label", "a", "b", "c", unit="image"), "looked for 3 findings (a, b and c)"),
        (task("ordinal", "0", "1", unit="image"), "graded on 2 levels (0 and 1)"),
        (task("multi_class", *"abcdefgh", unit="image"), "distinguished 8 classes in 171"),
    ],
)
def test_the_question_in_words(task, part):
    assert part in said(view(task=task, model=MODEL, metrics=[row(0.8, 0.7, 0.9, cases=171, patients=132)]))


def test_a_standalone_evaluation_claims_nothing_unseen():
    text = said(view(kind="evaluation", task=TASK, metrics=[row(0.8, 0.7, 0.9)]))
    assert text.startswith("The predictions distinguished lesion") and "test" not in text


def test_several_targets_answer_with_their_mean():
    rows = [row(0.9, 0.8, 0.95, target="a"), row(0.7, 0.6, 0.8, target="macro")]
    text = said(view(task=task("multi_label", "a", "b"), model=MODEL, metrics=rows))
    assert "0.70 (95% CI 0.60 to 0.80) on average over the classes." in text


@pytest.mark.parametrize(
    ("better", "gap", "verdict"),
    [
        ("higher", (0.2, 0.1, 0.3), "The model was better by 0.20 (95% CI 0.10 to 0.30, paired)."),
        ("higher", (-0.2, -0.3, -0.1), "The model was worse by 0.20 (95% CI 0.10 to 0.30"),
        ("lower", (-0.2, -0.3, -0.1), "The model was better by 0.20"),
        (
            "higher",
            (0.06, -0.05, 0.17),
            "The data do not show that the model is better: the difference is 0.06 (95% CI −0.05",
        ),
    ],
)
def test_the_strongest_baseline_and_the_verdict(better, gap, verdict):
    best, worst = (0.6, 0.5) if better == "higher" else (0.5, 0.6)
    rows = [
        row(0.8, 0.7, 0.9, better=better),
        row(worst, 0.4, 0.7, baseline="prevalence", better=better),
        row(best, 0.4, 0.7, baseline="intensity", better=better),
        row(*gap, metric="auroc_difference", baseline="intensity", better=better),
    ]
    text = sentences.comparison(view(task=TASK, model=MODEL, metrics=rows))
    assert text is not None
    assert text.startswith(f"The strongest baseline, voxel intensities, reached {best:.2f} (95% CI 0.40 to 0.70).")
    assert verdict in text


def test_numbers_have_the_digits_of_their_interval():
    assert words.with_interval(row(0.0612, -0.05, 0.17)) == "0.06 (95% CI −0.05 to 0.17)"
    assert words.with_interval(row(0.0432, 0.031, 0.0571)) == "0.043 (95% CI 0.031 to 0.057)"
    assert words.with_interval(row(0.85, None, None)) == "0.85"
    assert words.with_interval(row(0.93, 0.9276, 0.9311)) == "0.930 (95% CI 0.928 to 0.931)"
    assert words.with_interval(row(1210, 1150.2, 1260)) == "1,210 (95% CI 1,150 to 1,260)"
    assert words.with_interval(row(3.21, 1.2, 8.9)) == "3.2 (95% CI 1.2 to 8.9)"
    assert words.with_interval(row(0.93, 0.93, 0.93)) == "0.93 (95% CI no spread)"
    assert words.with_interval(row(None, None, None, note="one class only")) == "not defined: one class only"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.00"), (-0.001, "−0.0010"), (0.00012, "0.00012"), (0.5, "0.50"), (12.345, "12.35"), (123.45, "123.5")],
)
def test_number(value, text):
    assert words.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(1213.4, "1213"), (1e-5, "1 × 10⁻⁵"), (-0.032, "−0.032"), (2.5e8, "2.5 × 10⁸"), (0, "0")]
)
def test_plots_name_no_number_by_an_exponent_of_a_computer(value, text):
    assert words.compact(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.0924624, "0.0925"), (0.99971, "0.99971"), (0.5, "0.5"), (3.2, "3.2")])
def test_a_threshold_has_three_digits_of_what_it_is_or_lacks_to_1(value, text):
    assert words.threshold(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.99991, "> 0.999"), (1.0, "1.000"), (0.00001, "< 0.001"), (3.2, "3.2")])
def test_a_score_is_not_rounded_to_certainty(value, text):
    assert words.score(value) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sensitivity@specificity=0.9", "sensitivity at 90% specificity"),
        ("roc_specificity@sensitivity=0.975", "specificity at 97.5% sensitivity on the test ROC curve (optimistic)"),
        ("auroc_difference", "difference in AUROC"),
        ("hausdorff_95", "hausdorff 95"),
    ],
)
def test_metric_names(name, text):
    assert words.metric(name) == text


def test_dates_and_times():
    assert words.date("2026-11-23T15:45:40+00:00") == "23 November 2026"
    assert words.date("soon") == "soon"
    assert [words.seconds(s) for s in (0.41, 48, 331, 7500)] == ["0.41 s", "48 s", "5 min 31 s", "2 h 5 min"]


def test_reasons_hold_no_file_and_no_case():
    given = [
        {"case_id": "A-1", "reason": "/data/John Smith/1.dcm: no pixel data; ask the PACS"},
        {"case_id": "A-2", "reason": "2.nii.gz: no pixel data; ask the PACS"},
        {"case_id": "A-3", "reason": "no such file: John/x y.nii.gz"},
        {"case_id": "A-4", "reason": "case A-4 has no mask"},
    ]
    found = dict(data.reasons(given))
    assert found["no pixel data; ask the PACS"] == 2 and found["case … has no mask"] == 1
    assert not any(name in " ".join(found) for name in ("John", "Smith", "A-"))


def test_losses_hang_beside_the_box_that_they_leave():
    boxes = data.flow(
        [
            {"step": "in the table", "cases": 10, "patients": 9},
            {"step": "unreadable", "cases": -2, "patients": -1},
            {"step": "analysed", "cases": 8, "patients": 8},
        ]
    )
    assert [b["step"] for b in boxes] == ["in the table", "analysed"]
    assert boxes[0]["lost"] == [{"step": "unreadable", "cases": 2, "patients": 1}]


def test_methods_state_what_the_record_holds():
    record = {
        "medvfm": "0.1.0",
        "data": {"flow": [{"step": "in the table", "cases": 10, "patients": 9}, {"step": "unreadable", "cases": -2},
                          {"step": "analysed", "cases": 8, "patients": 8}],
                 "splits": {"train": {"cases": 5, "patients": 5}, "test": {"cases": 3, "patients": 3}}},
        "recipe": {"seed": 3, "split": {"from": "random"}},
        "metrics": [row(0.8, 0.7, 0.9, method="delong")],
    }  # fmt: skip
    text = str(methods.build(view(**record)))
    assert "Of 10 cases, 8 cases of 8 patients were analysed; excluded were 2 cases (unreadable)." in text
    assert "at random (seed 3), no patient in two splits, into training (5 cases, 5 patients) and test (3" in text
    assert "DeLong" in text and "medvfm 0.1.0" in text and "None" not in text
