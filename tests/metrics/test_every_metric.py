"""What every metric of scores, probabilities and decisions keeps to. A row that is not named here fails."""

from __future__ import annotations

import importlib
import pkgutil

import numpy as np
import pytest
import torch

from medvfm import metrics
from medvfm.core.errors import PredictionError, Undefined
from medvfm.core.metric_spec import Metric
from tests.samples.pretended_device import back, moved, pretended

KINDS = ("score", "probability", "decision", "class_score", "class")

# What happens where the truth holds one class only: a reason, or a number for those that are defined.
ONE_CLASS = {
    **dict.fromkeys(["auroc", "auprc", "roc_sensitivity@specificity", "roc_specificity@sensitivity"], "one class only"),
    "condition_auroc": "one class only",
    "usefulness_auroc": "one class only",
    **dict.fromkeys(["macro_auroc", "macro_auprc"], "class 0: one class only"),
    **dict.fromkeys(["sensitivity", "f1", "sensitivity@specificity"], "no positives"),
    **dict.fromkeys(["specificity", "npv", "specificity@sensitivity", "accuracy", "macro_f1", "kappa"], None),
    **dict.fromkeys(["quadratic_kappa", "ppv"], None),
    **dict.fromkeys(["balanced_accuracy", "mcc"], "one class only"),
    **dict.fromkeys(["brier", "log_loss", "ece", "ece_equal_mass"], None),
    **dict.fromkeys(["multiclass_brier", "multiclass_log_loss", "top_label_ece"], None),
    **dict.fromkeys(["calibration_slope", "calibration_intercept"], "one class only"),
    **dict.fromkeys(["ppv@prevalence", "npv@prevalence"], "no positives"),
    "net_benefit@threshold": None,
}


def all_metrics() -> dict[str, Metric]:
    found: dict[str, Metric] = {}
    for module in pkgutil.iter_modules(metrics.__path__):
        table = getattr(importlib.import_module(f"medvfm.metrics.{module.name}"), "METRICS", {})
        for name, metric in table.items():
            if metric.takes in KINDS:  # a Dice of objects may share its name with one of voxels: no task has both
                assert name not in found, f"{name} stands in two tables"
                found[name] = metric
    return found


METRICS = all_metrics()
every = pytest.mark.parametrize("name", METRICS)


def cases(takes: str, n: int = 40, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Truth and prediction with ties, every class on both sides."""
    rng = np.random.default_rng(seed)
    many = takes in ("class", "class_score")
    classes = np.arange(3 if many else 2)
    truth = torch.as_tensor(np.r_[classes, classes, rng.integers(0, len(classes), n - 2 * len(classes))])
    if takes in ("decision", "class"):
        return truth, torch.as_tensor(rng.permutation(truth.numpy()))
    if takes == "class_score":
        return truth, torch.as_tensor(rng.multinomial(16, [1 / 3] * 3, n) / 16)  # the same in every float type
    return truth, torch.as_tensor(rng.integers(1, 16, n) / 16)


def value(name: str, truth: torch.Tensor, prediction: torch.Tensor, **options) -> torch.Tensor:
    metric = METRICS[name]
    if metric.parameter:
        options[metric.parameter] = 0.7
    return metric.function(truth, prediction, **options)


def test_no_row_is_forgotten() -> None:
    assert set(ONE_CLASS) == set(METRICS)


@every
def test_the_row_says_what_it_is(name: str) -> None:
    metric = METRICS[name]
    assert metric.summary
    assert metric.better in ("higher", "lower", "zero", "")
    assert (metric.parameter is not None) == ("@" in name)
    assert metric.parameter is None or name.endswith(f"@{metric.parameter}")


@every
def test_one_number_in_float64_whatever_the_order_and_type(name: str) -> None:
    truth, prediction = cases(METRICS[name].takes)
    found = value(name, truth, prediction)
    assert found.shape == ()
    assert found.dtype == torch.float64
    order = torch.randperm(len(truth), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(value(name, truth[order], prediction[order]), found, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(value(name, truth.to(torch.float32), prediction), found, rtol=1e-12, atol=0)
    if prediction.is_floating_point():
        torch.testing.assert_close(value(name, truth, prediction.float()), found, rtol=1e-5, atol=1e-6)


@every
@pytest.mark.parametrize("block", [2**18, 100])
def test_weights_are_repeated_cases(name: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medvfm.metrics.weighted.CPU_ELEMENTS", block)  # several blocks must join
    truth, prediction = cases(METRICS[name].takes, n=12)
    weights = torch.from_numpy(np.random.default_rng(5).multinomial(12, [1 / 12] * 12, 40))
    weights[0], weights[1] = 1, torch.arange(12) == 3
    found = value(name, truth, prediction, weights=weights)
    assert found.shape == (40,)
    assert found.dtype == torch.float64
    for got, counts in zip(found, weights, strict=True):
        rows = torch.arange(12).repeat_interleave(counts)
        try:
            expected = value(name, truth[rows], prediction[rows])
        except Undefined:
            expected = torch.tensor(torch.nan, dtype=torch.float64)
        torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-9, equal_nan=True)
    torch.testing.assert_close(found[0], value(name, truth, prediction), rtol=1e-12, atol=1e-13)
    assert value(name, truth, prediction, weights=weights[:0]).shape == (0,)


@every
def test_nan_is_refused_and_never_ranked(name: str) -> None:
    truth, prediction = cases(METRICS[name].takes)
    weights = torch.ones(3, len(truth), dtype=torch.int64)
    broken = prediction.to(torch.float64).clone()
    broken[4] = torch.nan
    for options in ({}, {"weights": weights}):
        with pytest.raises(Undefined, match="scores hold NaN"):
            value(name, truth, broken, **options)
        unknown = truth.to(torch.float64)
        unknown[4] = torch.nan
        with pytest.raises(Undefined, match="labels hold NaN"):
            value(name, unknown, prediction, **options)


@every
def test_one_class(name: str) -> None:
    _, prediction = cases(METRICS[name].takes)
    truth = torch.zeros(len(prediction), dtype=torch.int64)
    if ONE_CLASS[name] is None:
        assert bool(torch.isfinite(value(name, truth, prediction)))
        return
    with pytest.raises(Undefined, match=f"^{ONE_CLASS[name]}"):
        value(name, truth, prediction)
    resampled = (
        value(name, truth, prediction, weights=torch.ones(2, len(truth), dtype=torch.int32))
        if (not name.startswith("macro"))
        else torch.tensor([torch.nan])
    )
    assert bool(torch.isnan(resampled).all())


@every
def test_no_cases_and_unequal_lengths(name: str) -> None:
    truth, prediction = cases(METRICS[name].takes)
    with pytest.raises(Undefined, match="no cases"):
        value(name, truth[:0], prediction[:0])
    with pytest.raises(PredictionError, match="do not pair up"):
        value(name, truth[1:], prediction)
    with pytest.raises(ValueError, match="whole numbers"):
        value(name, truth, prediction, weights=torch.ones(len(truth), dtype=torch.int64))


@every
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_accelerator_gives_the_same_and_keeps_the_result(name: str) -> None:
    truth, prediction = cases(METRICS[name].takes, n=500)
    weights = torch.from_numpy(np.random.default_rng(0).multinomial(500, [1 / 500] * 500, 20))
    for options in ({}, {"weights": weights}):
        on_device = value(name, truth.cuda(), prediction.cuda(), **{k: w.cuda() for k, w in options.items()})
        assert on_device.is_cuda
        torch.testing.assert_close(on_device.cpu(), value(name, truth, prediction, **options), rtol=1e-9, atol=1e-12)


@every
def test_on_an_accelerator_nothing_goes_through_the_host(name: str) -> None:
    truth, prediction = cases(METRICS[name].takes, n=60)
    weights = torch.from_numpy(np.random.default_rng(0).multinomial(60, [1 / 60] * 60, 20))
    for options in ({}, {"weights": weights}):
        with pretended(few=12):
            there = {k: moved(w) for k, w in options.items()}
            found = back(value(name, moved(truth), moved(prediction), **there))
        torch.testing.assert_close(found, value(name, truth, prediction, **options), rtol=1e-12, atol=0, equal_nan=True)
