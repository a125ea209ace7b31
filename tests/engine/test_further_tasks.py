"""One fit that answers two tasks: rows, predictions and baselines of each."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from medvfm import pipeline
from medvfm.adapters import _clip_pairs
from medvfm.core.errors import RecipeError
from medvfm.core.metric_spec import parse
from medvfm.io.console import SILENT
from medvfm.nn import state
from medvfm.tasks.classification import task as classification
from medvfm.tasks.retrieval import task as retrieval
from tests.samples.pair_studies import PROMPTS, PairStudy

BASELINES = [{"name": "texts_permuted"}, {"name": "untuned"}, {"name": "probe"}]
TASKS = [
    {"name": "retrieval", "options": {"within": ["sex"]}},
    {"name": "classification", "classes": ["disc"], "unit": "image", "metrics": ["auroc", "brier"]},
]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The run, and how often heads were drawn anew."""
    folder, draws = tmp_path_factory.mktemp("two"), []
    study, real = PairStudy(folder / "study"), _clip_pairs.PairAdapter.redraw

    def redraw(self, rng):
        real(self, rng)
        draws.append(self.module.image_head.weight.detach().clone())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_clip_pairs.PairAdapter, "redraw", redraw)
        return pipeline.run(recipe(study, baselines=BASELINES), folder / "run", device="cpu", console=SILENT), draws


def recipe(study, **changes):
    given = {
        "task": TASKS, "select": {"metric": "mean_average_precision"},
        "adapter": {"options": {"width": 16, "prompts": PROMPTS}},
        "evaluate": {"metrics": ["recall@k=5", "mean_average_precision"], "confidence": {"resamples": 100}},
    }  # fmt: skip
    return study.recipe("contrastive", **(given | changes))


def rows(found, task, **wanted):
    plain = {"task": task, "split": "test", "group": None} | wanted
    return [r for r in found.record["metrics"] if all(r[k] == v for k, v in plain.items())]


def test_each_baseline_stands_at_the_tasks_that_it_answers(done):
    found, _ = done
    names = {task: {r["baseline"] for r in rows(found, task)} for task in ("retrieval", "classification")}
    assert names == {
        "retrieval": {None, "texts_permuted", "untuned"},
        "classification": {None, "untuned", "probe"},
    }
    assert {r["group"] for r in found.record["metrics"] if r["task"] == "retrieval"} == {None, "within sex"}
    assert set(found.record["baselines"]) == {"texts_permuted", "untuned", "probe"}
    differences = {(r["task"], r["metric"], r["baseline"]) for r in found.record["metrics"]
                   if r["metric"].endswith("_difference") and r["group"] is None}  # fmt: skip
    assert ("classification", "auroc_difference", "probe") in differences
    assert ("retrieval", "recall@k=5_difference", "texts_permuted") in differences
    assert [t["name"] for t in found.record["tasks"]] == ["retrieval", "classification"]


def test_the_untuned_pair_is_the_mean_of_five_draws_of_its_heads(done):
    found, draws = done
    for row in rows(found, "retrieval", baseline="untuned") + rows(found, "classification", baseline="untuned"):
        if not row["metric"].endswith("_difference"):
            assert "the mean of 5 draws" in (row["note"] or "")
    different = {tuple(d.flatten().tolist()) for d in draws}
    assert len(different) == 5  # the same five for both tasks, validation and test
    kept = state.read(found.directory / "weights" / "model.safetensors")["image_head.weight"]
    assert all(not torch.allclose(kept, d) for d in draws)


def test_baselines_leave_the_model_as_it_was_trained(done, tmp_path):
    found, _ = done
    study = PairStudy(tmp_path / "study")
    plain = pipeline.run(recipe(study), tmp_path / "plain", device="cpu", console=SILENT)
    kept = [(r.directory / "weights" / "model.safetensors").read_bytes() for r in (found, plain)]
    assert kept[0] == kept[1]
    own = [r for r in found.record["metrics"] if r["baseline"] is None]
    assert own == plain.record["metrics"]


def test_predictions_of_both_tasks_are_read_back_with_their_numbers(done):
    found, _ = done
    table = pd.read_parquet(found.directory / "predictions.parquet")
    assert set(table["task"]) == {"retrieval", "classification"}
    for module, record in zip((retrieval, classification), found.record["tasks"], strict=True):
        again = module.from_record(record)
        read = again.read_run(found.directory)
        for baseline in {r["baseline"] for r in rows(found, again.name)} - {"untuned", "texts_permuted"}:
            own = {(r["metric"], r["target"]): r["value"] for r in rows(found, again.name, baseline=baseline)
                   if not r["metric"].endswith("_difference")}  # fmt: skip
            specs = [parse(name, again.metrics) for name in dict.fromkeys(name for name, _ in own)]
            for estimand in again.estimands(read["test", baseline], specs, retrieval.Points()):
                assert estimand.value == pytest.approx(own[estimand.metric.name, estimand.target]), estimand.metric.name
    assert {key[1] for key in read} >= {None, "untuned", "probe"}


def test_the_probe_is_the_linear_probe_of_the_same_encoder(done, tmp_path):
    found, _ = done
    study = PairStudy(tmp_path / "study")
    alone = pipeline.run(
        study.recipe("linear_probe", task=TASKS[1], adapter={"options": {}}),
        tmp_path / "a",
        device="cpu",
        console=SILENT,
    )
    probe = {r["metric"]: r["value"] for r in rows(found, "classification", baseline="probe")}
    own = {r["metric"]: r["value"] for r in alone.record["metrics"] if r["split"] == "test" and r["group"] is None}
    assert own == {name: pytest.approx(probe[name]) for name in own}


def test_a_probe_stands_beside_low_rank_updates_too(tmp_path):
    """What only the model uses (`rank`) is not asked of its baseline."""
    study = PairStudy(tmp_path / "study", 24)
    given = study.recipe("lora", adapter={"rank": 2}, baselines=[{"name": "probe"}])
    assert pipeline.check(given, ready=False)


def test_texts_permuted_are_chance(done):
    found, _ = done
    (row,) = rows(found, "retrieval", baseline="texts_permuted", metric="recall@k=5", target="text_to_image")
    assert 0 < row["value"] <= 1 and np.isfinite(row["low"])
    assert "the mean of 20 draws" in row["note"]


def test_a_probe_beside_a_model_that_is_selected_by_its_loss_is_selected_by_a_metric(tmp_path):
    study = PairStudy(tmp_path / "study")
    recipe = study.recipe(baselines=[{"name": "probe"}], select={"metric": "loss"})
    found = pipeline.run(recipe, tmp_path / "a", device="cpu", console=SILENT)
    assert list(found.record["training"]["epochs"][0]["val"]) == ["loss"]
    probe = [r for r in found.record["metrics"] if r["baseline"] == "probe" and r["metric"] == "auroc"]
    assert len(probe) == 1 and probe[0]["value"] is not None


def test_a_baseline_of_another_task_is_refused_by_the_task_that_it_does_not_answer(tmp_path):
    study = PairStudy(tmp_path / "study")
    recipe = study.recipe(task={"name": "retrieval"}, baselines=[{"name": "probe"}], evaluate={})
    with pytest.raises(RecipeError, match="the baseline probe does not answer retrieval"):
        pipeline.check(recipe, ready=False)
