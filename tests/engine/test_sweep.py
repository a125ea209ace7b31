"""Sweeps: which patients are drawn, that test cases are those of all, what the curve says, and what is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from medvfm import pipeline
from medvfm.core.errors import RecipeError
from medvfm.engine import sweep
from medvfm.io.console import SILENT
from medvfm.pipeline import sweeping
from medvfm.report.sections.sweep.words import Curve, need, needed
from tests.samples.studies import PictureStudy

OVER = {"adapter.method": ["linear_probe", "last_blocks"]}


def drawn(share, seed, owners, labels):
    return sweep.few_patients(owners, labels, share, 1, np.random.default_rng(seed))


def test_patients_come_whole_each_kind_in_its_share_and_more_hold_the_fewer():
    rng = np.random.default_rng(0)
    owners = np.repeat([f"p{n}" for n in range(60)], 3)
    labels = np.repeat((np.arange(60) < 15).astype(float), 3)[:, None]
    labels[::3] = 0  # an image without the finding does not make the patient another kind
    for seed in range(4):
        taken = [drawn(share, seed, owners, labels) for share in (0.01, 0.1, 0.4, 1)]
        assert [len(set(owners[t])) for t in taken] == [2, 2 + 5, 6 + 18, 60]
        assert all((few <= more).all() for few, more in itertools.pairwise(taken))
        for mask in taken:
            assert all(mask[owners == p].all() or not mask[owners == p].any() for p in set(owners))
            assert {int(labels[owners == p].max()) for p in set(owners[mask])} == {0, 1}
    assert len({tuple(drawn(0.1, seed, owners, labels)) for seed in range(6)}) > 3
    assert drawn(0.25, 1, rng.permutation(40), None).sum() == 10  # a task without labels: any patients


def curve(values, low=None, better="higher"):
    rows = [
        {
            "value": v,
            "low": v - 0.05 if low is None else low[n],
            "high": v + 0.05,
            "train_patients": size,
            "better": better,
        }
        for n, (v, size) in enumerate(zip(values, (2, 10, 50, 250), strict=True))
    ]
    return Curve("m", tuple(rows))


def test_patients_for_a_value_lie_where_the_curve_stays_beyond_it():
    found = need(curve([0.5, 0.7, 0.8, 0.9]), 0.75)
    assert (found.more_than, found.at_most) == (10, 50)
    assert found.about == pytest.approx((10 * 50) ** 0.5)  # half way on the logarithm
    assert found.sure == 50
    assert needed(found).startswith("about 22 (10 to 50)")
    dips = need(curve([0.76, 0.7, 0.8, 0.9]), 0.75)  # reached with two patients by luck, and lost again
    assert (dips.more_than, dips.at_most) == (10, 50)
    assert needed(need(curve([0.5, 0.6, 0.65, 0.7]), 0.75)) == "more than 250"
    assert needed(need(curve([0.8, 0.81, 0.82, 0.83]), 0.75)) == "2 or fewer"
    assert need(curve([0.5, 0.7, 0.8, 0.9], low=[None, 0.6, 0.6, 0.7]), 0.75).sure is None
    falling = need(curve([0.3, 0.2, 0.15, 0.1], better="lower"), 0.18)
    assert (falling.more_than, falling.at_most) == (10, 50)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return PictureStudy(tmp_path_factory.mktemp("sweep") / "study")


def recipe(study, **changes):
    settings = {
        "adapter": {"name": "dinov2", "weights": "tiny"},
        "train": {"epochs": 1},
        "evaluate": {"metrics": ["auroc", "brier"], "confidence": {"resamples": 100}},
        "sweep": {"over": OVER, "patients": [0.2, 1.0], "draws": 2},
    }
    return study.recipe(**settings | changes)


@pytest.fixture(scope="module")
def swept(study, tmp_path_factory):
    return pipeline.run(recipe(study), tmp_path_factory.mktemp("swept") / "run", device="cpu", console=SILENT)


def test_every_model_answers_the_same_cases_and_rows_are_means_over_draws(swept):
    assert swept.record["kind"] == "sweep"
    table = pd.read_parquet(swept.directory / "predictions.parquet")
    cases = {label: tuple(sorted(part["case_id"])) for label, part in table.groupby("baseline")}
    assert len(set(cases.values())) == 1
    assert len(cases) == 2 + 1 + 2 + 2  # all patients by a probe: one fit, which again would be the same
    rows = [r for r in swept.record["metrics"] if r["metric"] == "auroc"]
    assert [(r["model"], r["share"], r["draws"]) for r in rows] == [
        ("linear_probe", 0.2, 2), ("linear_probe", 1.0, 1), ("last_blocks", 0.2, 2), ("last_blocks", 1.0, 2),
    ]  # fmt: skip
    for row in rows:
        own = [
            roc_auc_score(part["truth"], part["score"])
            for label, part in table.groupby("baseline")
            if label.startswith(f"{row['model']}, {row['train_patients']} patients")
        ]
        assert len(own) == row["draws"]
        assert row["value"] == pytest.approx(np.mean(own))
    few, whole = rows[:2]
    assert few["train_patients"] < whole["train_patients"]
    assert few["seeds"] == 2
    html = (swept.directory / "report.html").read_text(encoding="utf-8")
    assert html.count("from which number on the whole interval is beyond it") == 1  # said once for all models
    assert "Learning curves" in html
    assert '<th scope="col">Run</th>' not in html  # the table of compared runs stays away
    assert "linear_probe needs" in html
    assert "Training patients for an AUROC of" in html


def test_all_patients_are_those_of_a_run(study, swept, tmp_path):
    """The probe on all patients is the run without a sweep, to the digit."""
    single = recipe(
        study, sweep=None, train={}, adapter={"name": "dinov2", "weights": "tiny", "method": "linear_probe"}
    )
    found = pipeline.run(single, tmp_path / "run", device="cpu", console=SILENT)
    own = next(
        r for r in found.record["metrics"] if (r["metric"], r["split"], r["baseline"]) == ("auroc", "test", None)
    )
    row = swept.record["metrics"]
    whole = next(r for r in row if (r["metric"], r["model"], r["share"]) == ("auroc", "linear_probe", 1.0))
    assert (whole["value"], whole["low"], whole["high"]) == (own["value"], own["low"], own["high"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sweep": {"over": {"split.folds": [2, 3]}}}, "cannot be swept over"),
        ({"sweep": {"over": {"adapter.method": ["linear_prob"]}}}, "did you mean 'linear_probe'"),
        ({"sweep": {"over": [OVER, OVER]}}, "stands twice"),
        ({"baselines": [{"name": "intensity"}]}, "no use for baselines"),
        ({"repeats": {"seeds": 3}}, "no use for repeats"),
        ({"evaluate": {"subgroups": ["sex"]}}, "no use for evaluate.subgroups"),
    ],
)
def test_what_a_sweep_cannot_do_is_refused(study, changes, said):
    with pytest.raises(RecipeError, match=said):
        pipeline.check(recipe(study, **changes), ready=False)


def test_grids_are_expanded_one_by_one(study):
    grids = [{"adapter.method": ["knn", "linear_probe"]}, {"adapter.weights": ["tiny"], "adapter.method": ["full"]}]
    made = sweeping.models(recipe(study, sweep={"over": grids, "draws": 2}))
    assert [model.name for model in made] == ["tiny knn", "tiny linear_probe", "tiny full"]
    assert [plan.recipe.train.epochs for plan in made[0].plans + made[2].plans] == [None, None, 1, 1]
    assert [plan.recipe.seed for plan in made[2].plans] == [1, 2]


def test_check_says_what_a_sweep_costs(study):
    lines = pipeline.check(recipe(study), ready=False)
    assert "training patients: 20%, 100%, 2 draws of each; 8 fits at most" in lines
