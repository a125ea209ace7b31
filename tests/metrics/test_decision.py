"""Metrics of decisions against scikit-learn, and the conventions where they are said to differ."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from medvfm.core.errors import PredictionError, Undefined
from medvfm.metrics import decision


@pytest.mark.parametrize("seed", range(10))
def test_binary_counts_agree_with_sklearn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, given = np.r_[0, 0, 1, 1, rng.integers(0, 2, 30)], np.r_[0, 1, 0, 1, rng.integers(0, 2, 30)]
    t, d = torch.as_tensor(truth), torch.as_tensor(given)
    expected = {
        decision.sensitivity: sk.recall_score(truth, given),
        decision.specificity: sk.recall_score(truth, given, pos_label=0),
        decision.ppv: sk.precision_score(truth, given),
        decision.npv: sk.precision_score(truth, given, pos_label=0),
        decision.f1: sk.f1_score(truth, given),
    }
    for function, value in expected.items():
        assert float(function(t, d)) == pytest.approx(value, abs=1e-15), function.__name__
    assert float(decision.sensitivity_at_specificity(t, d, 0.9)) == expected[decision.sensitivity]
    assert float(decision.specificity_at_sensitivity(t, d, 0.9)) == expected[decision.specificity]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_class_metrics_agree_with_sklearn(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    every = np.arange(classes)
    truth, given = np.r_[every, rng.integers(0, classes, 40)], np.r_[every[::-1], rng.integers(0, classes, 40)]
    t, d = torch.as_tensor(truth), torch.as_tensor(given)
    expected = {
        decision.accuracy: sk.accuracy_score(truth, given),
        decision.balanced_accuracy: sk.balanced_accuracy_score(truth, given),
        decision.macro_f1: sk.f1_score(truth, given, average="macro"),
        decision.kappa: sk.cohen_kappa_score(truth, given),
        decision.quadratic_kappa: sk.cohen_kappa_score(truth, given, weights="quadratic"),
        decision.mcc: sk.matthews_corrcoef(truth, given),
    }
    for function, value in expected.items():
        assert float(function(t, d)) == pytest.approx(value, abs=1e-14), function.__name__
    np.testing.assert_array_equal(decision.confusion(t, d).numpy(), sk.confusion_matrix(truth, given))


def test_classes_that_are_missing_on_one_side() -> None:
    truth, given = torch.tensor([0, 0, 2, 2]), torch.tensor([0, 1, 2, 0])
    assert float(decision.balanced_accuracy(truth, given)) == 0.5
    assert float(decision.macro_f1(truth, given)) == pytest.approx(sk.f1_score(truth, given, average="macro"))
    # The distance is that of the class indices, 2 between classes 0 and 2 even where 1 does not occur.
    labels = [0, 1, 2]
    expected = sk.cohen_kappa_score(truth, given, weights="quadratic", labels=labels)
    assert float(decision.quadratic_kappa(truth, given)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("function", "truth", "given", "reason"),
    [
        (decision.sensitivity, [0, 0], [0, 1], "no positives"),
        (decision.f1, [0, 0], [0, 1], "no positives"),
        (decision.specificity, [1, 1], [0, 1], "no negatives"),
        (decision.ppv, [0, 1], [0, 0], "no case was called positive"),
        (decision.npv, [0, 1], [1, 1], "no case was called negative"),
        (decision.balanced_accuracy, [1, 1], [0, 1], "one class only: class 1 in the truth"),
        (decision.kappa, [2, 2], [2, 2], "one class only: class 2 in the truth, class 2 in the decisions"),
        (decision.mcc, [0, 1], [1, 1], "one class only: class 1 in the decisions"),
    ],
)
def test_undefined_numbers_say_why(function, truth: list[int], given: list[int], reason: str) -> None:
    with pytest.raises(Undefined, match=f"^{reason}$"):
        function(torch.tensor(truth), torch.tensor(given))


def test_scores_are_not_taken_for_decisions() -> None:
    truth = torch.tensor([0, 1])
    for function in (decision.sensitivity, decision.accuracy):
        with pytest.raises(PredictionError, match="decisions must be"):
            function(truth, torch.tensor([0.2, 0.8]))
    with pytest.raises(PredictionError, match="labels must be 0 or 1"):
        decision.f1(torch.tensor([0, 2]), truth)
