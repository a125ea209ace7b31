"""Predictive values and net benefit by hand, from published examples, and through the table that a user hands in."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import confusion_matrix

import medvfm
from medvfm.core.errors import RecipeError, Undefined
from medvfm.metrics import clinical_use, decision


def test_predictive_values_follow_bayes_rule():
    """Sensitivity 0.9, specificity 0.95: at 1% prevalence 15.4% of the alarms are right, by natural frequencies."""
    truth = torch.tensor([1] * 100 + [0] * 100)
    decided = torch.tensor([1] * 90 + [0] * 10 + [1] * 5 + [0] * 95)
    found = clinical_use.ppv_at_prevalence(truth, decided, 0.01)
    assert float(found) == pytest.approx(90 / (90 + 5 * 99))
    assert float(clinical_use.npv_at_prevalence(truth, decided, 0.01)) == pytest.approx(95 * 99 / (95 * 99 + 10))
    own = float(truth.double().mean())
    assert clinical_use.ppv_at_prevalence(truth, decided, own) == pytest.approx(decision.ppv(truth, decided))
    assert clinical_use.npv_at_prevalence(truth, decided, own) == pytest.approx(decision.npv(truth, decided))
    with pytest.raises(Undefined, match="no case was called positive"):
        clinical_use.ppv_at_prevalence(truth, torch.zeros_like(truth), 0.1)


def test_net_benefit_is_counted_from_the_table_of_decisions():
    rng = np.random.default_rng(0)
    truth, score = (rng.random(300) < 0.3).astype(int), rng.random(300)
    for cut in (0.05, 0.2, 0.5, 0.9):
        (_, fp), (_, tp) = confusion_matrix(truth, score >= cut)
        found = clinical_use.net_benefit(torch.as_tensor(truth), torch.as_tensor(score), cut)
        assert float(found) == pytest.approx(tp / 300 - fp / 300 * cut / (1 - cut))
    everyone = clinical_use.net_benefit(torch.as_tensor(truth), torch.ones(300), 0.2)
    assert float(everyone) == pytest.approx(clinical_use.net_benefit_of_all(truth.mean(), 0.2))
    assert float(clinical_use.net_benefit(torch.as_tensor(truth), torch.zeros(300), 0.2)) == 0
    with pytest.raises(Undefined, match="no probabilities"):
        clinical_use.net_benefit(torch.as_tensor(truth), torch.as_tensor(score * 3), 0.2)


def test_the_example_of_the_documentation_runs(capsys):
    text = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    exec(code, {})
    said = capsys.readouterr().out
    assert re.search(r"net_benefit@threshold=0.2\s+0.28125", said)  # 3 / 8 - 3 / 8 * 0.2 / 0.8
    assert re.search(r"ppv@prevalence=0.1\s+0.27027", said)  # 2 / 3 * 0.1 / (2 / 3 * 0.1 + 1 / 5 * 0.9)


def test_both_have_intervals_and_a_curve_in_the_report(tmp_path):
    rng = np.random.default_rng(1)
    truth = (rng.random(150) < 0.3).astype(int)
    score = 1 / (1 + np.exp(-(1.5 * (2 * truth - 1) + rng.normal(0, 1, 150) - 0.8)))
    ids = [f"c{n}" for n in range(150)]
    rows = medvfm.evaluate(
        "classification", truth=pd.DataFrame({"case_id": ids, "patient_id": ids, "lesion": truth}),
        predictions=pd.DataFrame({"case_id": ids, "lesion": score}), threshold=0.5, out=tmp_path / "out",
        metrics=["ppv@prevalence=0.02", "npv@prevalence=0.02", "net_benefit@threshold=0.2"],
    ).set_index("metric")  # fmt: skip
    for name in ("ppv@prevalence=0.02", "npv@prevalence=0.02", "net_benefit@threshold=0.2"):
        assert rows.loc[name, "low"] < rows.loc[name, "value"] < rows.loc[name, "high"]
    assert "decided at the threshold given" in rows.loc["ppv@prevalence=0.02", "note"]
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "greater net benefit than treating everyone or no one" in html
    with pytest.raises(RecipeError, match="the prevalence lies between 0 and 1"):
        medvfm.evaluate("classification", truth=[0, 1], predictions=[0.1, 0.9], metrics=["ppv@prevalence=2"])
