"""The model fitted again on few cases of each class: which cases, the mean of draws, and what is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medvfm import pipeline
from medvfm.core.errors import RecipeError
from medvfm.engine import few_shot
from medvfm.io.console import SILENT
from medvfm.report import page
from medvfm.tasks.classification.task import ClassificationTask
from tests.samples.pair_studies import PROMPTS, QUICK, PairStudy

MULTI = {"name": "classification", "classes": ["one", "two", "three"], "kind": "multi_class", "unit": "image"}


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "render", lambda directory: None)
    monkeypatch.setattr(ClassificationTask, "pictures", lambda *_: {})
    return PairStudy(tmp_path / "study")


def run(recipe, out):
    return pipeline.run(recipe, out, device="cpu", console=SILENT)


def recipe(study, per_class, draws=2, method="linear_probe", **changes):
    evaluate = {"metrics": ["auroc"], "confidence": {"resamples": 100},
                "few_shot": {"per_class": per_class, "draws": draws}}  # fmt: skip
    return study.recipe(method, **({"evaluate": evaluate, "adapter": {"options": {}}} | changes))


def drawn(labels, shots, seed=0):
    rows = np.arange(100, 100 + len(labels))
    return few_shot.few(np.asarray(labels, float), rows, shots, np.random.default_rng(seed)) - 100


def test_each_class_has_as_many_cases_and_more_shots_hold_the_fewer():
    rng = np.random.default_rng(1)
    labels = np.eye(3)[rng.integers(0, 3, 60)]
    for seed in range(5):
        draws = [drawn(labels, shots, seed) for shots in (1, 2, 4, 8)]
        assert [labels[d].sum(0).tolist() for d in draws] == [[n] * 3 for n in (1, 2, 4, 8)]
        assert all(set(fewer) <= set(more) for fewer, more in itertools.pairwise(draws))
        assert all((np.diff(d) > 0).all() for d in draws)
    assert len({tuple(drawn(labels, 2, seed)) for seed in range(8)}) > 4


def test_one_class_alone_has_its_negatives_and_a_rare_class_all_it_has():
    labels = np.array([[1.0], [0], [0], [1], [0], [np.nan]])
    assert labels[drawn(labels, 2), 0].tolist().count(1) == labels[drawn(labels, 2), 0].tolist().count(0) == 2
    assert drawn(labels, 3).tolist() == [0, 1, 2, 3, 4]  # two positives and no more; unknown ones never
    several = np.array([[1.0, 1], [1, 0], [0, 1], [0, 0]])  # findings that go together: a case may serve two classes
    assert all(several[drawn(several, 1, seed)].sum(0).min() >= 1 for seed in range(5))


def test_rows_are_the_mean_of_draws_that_were_fitted_on_those_cases_alone(study, tmp_path, monkeypatch):
    seen, fits = [], []
    real_collected, real_fit = few_shot.fitting.collected, few_shot.fitting.fit_all

    def collected(plan, fitted, folder, context, **more):
        found = real_collected(plan, fitted, folder, context, **more)
        seen.append(found.test)
        return found

    def fit_all(*given, **named):
        found = real_fit(*given, **named)
        fits.append({s: [found[0].learner.store.cases[int(r)] for r in found[0].rows[s]] for s in found[0].rows})
        return found

    monkeypatch.setattr(few_shot.fitting, "collected", collected)
    monkeypatch.setattr(few_shot.fitting, "fit_all", fit_all)
    found = run(recipe(study, [1, 2], draws=3), tmp_path / "run")
    rows = {r["group"]: r for r in found.record["metrics"] if r["split"] == "test" and r["baseline"] is None}
    assert set(rows) == {None, "shots=1", "shots=2"}
    fits, seen = fits[1:], seen[1:]  # the first is the model itself
    for shots, part in ((1, slice(0, 3)), (2, slice(3, 6))):
        for fit in fits[part]:
            for split in ("train", "val"):
                labels = [c.target("disc") for c in fit[split]]
                assert sorted(labels) == [0.0] * shots + [1.0] * shots
                assert {c.split for c in fit[split]} == {split}
            assert len(fit["test"]) == 12
        each = [roc_auc_score(test.truth[:, 0], test.scores[:, 0]) for test in seen[part]]
        row = rows[f"shots={shots}"]
        assert row["value"] == pytest.approx(np.mean(each))
        assert row["low"] <= row["value"] <= row["high"]
        assert f"{shots} training case{'s' if shots > 1 else ''} of each class" in row["note"]
        assert "the mean of 3 draws" in row["note"]
        assert f"draws from {min(each):.3f} to {max(each):.3f}" in row["note"]
    for fewer, more in zip(fits[:3], fits[3:], strict=True):
        assert {c.case_id for c in fewer["train"]} < {c.case_id for c in more["train"]}
    assert len({tuple(c.case_id for c in fit["train"]) for fit in fits}) > 4


def test_few_cases_leave_the_model_and_its_own_rows_as_they_are(study, tmp_path):
    """Each draw trains from the start: what was trained on all cases is saved to the byte."""
    options = {"options": {"width": 16, "prompts": PROMPTS}}
    quick = {**QUICK, "epochs": 1}
    one = recipe(study, [2], draws=1, method="contrastive", adapter=options, train=quick)
    alone = {"metrics": ["auroc"], "confidence": {"resamples": 100}}
    plain = run(study.recipe("contrastive", adapter=options, train=quick, evaluate=alone), tmp_path / "a")
    found = run(one, tmp_path / "b")
    kept = [(r.directory / "weights" / "model.safetensors").read_bytes() for r in (plain, found)]
    assert kept[0] == kept[1]
    own = [r for r in found.record["metrics"] if not (r["group"] or "").startswith("shots=")]
    assert own == plain.record["metrics"]
    assert not (found.directory / "checkpoint").exists()


def test_as_many_cases_as_there_are_give_the_model_itself(study, tmp_path):
    found = run(recipe(study, [99], draws=1), tmp_path / "run")
    rows = {r["group"]: r for r in found.record["metrics"] if r["split"] == "test"}
    assert rows["shots=99"]["value"] == rows[None]["value"]


@pytest.mark.parametrize(
    ("method", "changes", "said"),
    [
        ("zero_shot", {"adapter": {"weights": "nowhere/model", "options": {}}}, "few cases are as good as many"),
        ("contrastive", {"task": {"name": "retrieval"},
                         "evaluate": {"few_shot": {"per_class": [1]}}}, "retrieval has no labels"),
        ("linear_probe", {"evaluate": {"few_shot": {"per_class": []}}}, "per_class"),
        ("linear_probe", {"evaluate": {"few_shot": {"per_class": [0]}}}, "per_class"),
        ("linear_probe", {"evaluate": {"few_shot": {"draws": 0}}}, "draws"),
    ],
)  # fmt: skip
def test_few_cases_are_refused_where_they_mean_nothing(study, method, changes, said):
    with pytest.raises(RecipeError, match=said):
        pipeline.check(recipe(study, [1], method=method, **changes), ready=False)
