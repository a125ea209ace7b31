"""What the families to come need of the engine, each shown by a trial adapter of two towers: frozen towers, rates of
parts, moving averages, selection by loss, stages, several tasks, and baselines that reuse the fitted model."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

import medvfm
from medvfm import lookup, pipeline
from medvfm.core.errors import DataError, RecipeError, WeightsError
from medvfm.engine import train
from medvfm.io import cache
from medvfm.io.console import SILENT
from tests.samples.trial import rooms


@pytest.fixture(autouse=True)
def towers(monkeypatch, tmp_path):
    """The module of the trial adapter, with nothing counted or stored yet."""
    rooms.open_rooms(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    module = lookup.module("adapters", "trial_towers", "test")
    module.CALLS.clear()
    module.SEEN.clear()
    return module


@pytest.fixture
def study(tmp_path):
    return rooms.BrightnessStudy(tmp_path / "study")


def recipe(study, method="both", stages=None, **changes):
    adapter = {"name": "trial_towers", **({"stages": stages} if stages else {"method": method})}
    return study.recipe(adapter=adapter, **changes)


def run(study, out, method="both", stages=None, resume=False, **changes):
    found = recipe(study, method, stages, **changes)
    return pipeline.run(found, out, device="cpu", console=SILENT, resume=resume)


def values(found):
    return [
        (r["metric"], r["target"], r["split"], r["group"], r["baseline"], r["value"]) for r in found.record["metrics"]
    ]


# frozen towers


def test_trial_towers_that_are_frozen_are_computed_once_and_read_back_by_the_next_run(study, tmp_path, towers):
    first = run(study, tmp_path / "a", train={"epochs": 3})
    assert towers.CALLS == {"image": 32, "text": 3}  # 32 images in 3 epochs; the texts of three sites
    again = run(study, tmp_path / "b", train={"epochs": 3})
    assert towers.CALLS == {"image": 32, "text": 3}
    assert values(first) == values(again)


def test_two_trial_cases_with_one_image_and_other_texts_share_the_output_of_the_image(study, tmp_path, towers):
    for row in study.rows:
        if row["patient_id"] == "p01":
            row |= {"image": "02.png", "text": f"own words {row['case_id']}"}
    study.write()
    run(study, tmp_path / "a")
    assert towers.CALLS["image"] == 31
    assert towers.CALLS["text"] == 5


def test_a_trial_case_without_images_is_stored_under_no_key_of_files(study, tmp_path, towers, monkeypatch):
    put, keys = cache.ArrayCache.put, []

    def noted(self, key, array):
        keys.append(key)
        put(self, key, array)

    monkeypatch.setattr(cache.ArrayCache, "put", noted)
    rows = [{k: v for k, v in row.items() if k != "image"} for row in study.rows]
    study.write(rows=rows, layout={"images": {}})
    run(study, tmp_path / "a", train={"epochs": 1})
    assert towers.CALLS["text"] == 3 and towers.CALLS["image"] >= 16
    assert keys and all("text-" in key for key in keys)


def test_a_trial_with_frozen_towers_refuses_augmentation(study):
    with pytest.raises(RecipeError, match="image and text tower frozen"):
        pipeline.check(recipe(study, train={"augment": [{"name": "flip"}]}), ready=False)


# the loop


def test_trial_parts_learn_at_rates_of_their_own(study, tmp_path, monkeypatch):
    made = []
    real = torch.optim.AdamW

    class Noted(real):
        def __init__(self, groups, **settings):
            groups = list(groups)
            made.append([(group.get("lr"), sum(p.numel() for p in group["params"])) for group in groups])
            super().__init__(groups, **settings)

    monkeypatch.setattr(train.torch.optim, "AdamW", Noted)
    run(study, tmp_path / "a", train={"epochs": 1, "rates": {"projector": 0.003, "head": 0.0002}})
    assert {(rate, n) for rate, n in made[0] if n} == {(0.003, 4), (0.003, 2), (0.0002, 2), (0.0002, 1)}
    with pytest.raises(RecipeError, match=r"train\.rates.*'projektor'.*did you mean 'projector'"):
        run(study, tmp_path / "b", train={"rates": {"projektor": 0.003}})


def test_trial_averages_answer_are_saved_and_resume_to_the_same_numbers(study, tmp_path, monkeypatch, towers):
    settings = {"epochs": 4, "ema": 0.9}
    whole = run(study, tmp_path / "whole", train=settings)
    plain = run(study, tmp_path / "plain", train={"epochs": 4})
    assert values(whole) != values(plain)
    saved = medvfm.predict(whole.directory, [study.root / "06.png"], tmp_path / "new", device="cpu", console=SILENT)
    assert len(saved) == 1
    history = whole.record["training"]
    assert history["best_value"] == pytest.approx(
        next(r["value"] for r in whole.record["metrics"] if r["split"] == "val" and r["metric"] == "absolute_error")
    )
    real, calls = train.checkpoint.save, []

    def stopping(folder, state):
        real(folder, state)
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(train.checkpoint, "save", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(study, tmp_path / "stopped", train=settings)
    assert values(run(study, tmp_path / "stopped", train=settings, resume=True)) == values(whole)


def test_a_trial_selects_the_epoch_of_the_lowest_validation_loss(study, tmp_path):
    settings = {"train": {"epochs": 4, "learning_rate": 0.4}, "select": {"metric": "loss"}}
    first, again = (run(study, tmp_path / name, **settings) for name in "ab")
    losses = [epoch["val"]["loss"] for epoch in first.record["training"]["epochs"]]
    assert losses == [epoch["val"]["loss"] for epoch in again.record["training"]["epochs"]]
    assert first.record["training"]["best_epoch"] == losses.index(min(losses)) + 1
    with pytest.raises(RecipeError, match="no training loss to select by"):
        pipeline.check(recipe(study, "probe", select={"metric": "loss"}), ready=False)


# stages


def extra(study, changes=None, labelled=False):
    """A card of further cases, of other patients unless `changes` says otherwise; the stage that trains on it."""
    rows = []
    for n, row in enumerate(study.rows[:8]):
        own = {k: v for k, v in row.items() if k not in ("split", "bright", "answer")}
        rows.append(own | {"case_id": f"x{n}", "patient_id": f"q{n}", "image": f"x{n}.png"})
        if labelled:
            rows[-1]["answer"] = row["answer"] if n < 5 else ""
        pixels = (study.root / row["image"]).read_bytes()
        if (changes or {}).get("same_image") != n:
            from PIL import Image

            with Image.open(study.root / row["image"]) as image:
                image.point(lambda v: 255 - v).save(study.root / f"x{n}.png")
        else:
            (study.root / f"x{n}.png").write_bytes(pixels)
    rows[0] |= (changes or {}).get("row", {})
    study.write("extra.csv", rows)
    return {"card": "extra.yaml", "root": "data"}


def stages_of(data, last="open", **more):
    train_one = {"epochs": 2, "learning_rate": 0.05}
    first = {"method": "unlabelled", "train": train_one, "data": data, **more}
    return [first, {"method": last, "train": {} if last == "probe" else {"epochs": 1}}]


def test_a_trial_stage_trains_on_its_own_unlabelled_cases_alone(study, tmp_path, towers, monkeypatch):
    seen = []
    real = towers.Towers.collate

    def noted(self, examples):
        if torch.is_grad_enabled():
            seen.append((self.method, {e.case.case_id[0] for e in examples}))
        return real(self, examples)

    monkeypatch.setattr(towers.Towers, "collate", noted)
    found = run(study, tmp_path / "a", stages=stages_of(extra(study)))
    assert dict(seen) == {"unlabelled": {"x"}, "open": {"c"}}
    assert [list(s["epochs"][0]["val"]) for s in found.record["training"]["stages"]] == [["loss"], ["absolute_error"]]


def test_a_trial_stage_that_needs_truth_takes_labelled_cases_alone(study, tmp_path, towers, monkeypatch):
    seen = set()
    real = towers.Towers.collate

    def noted(self, examples):
        if torch.is_grad_enabled():
            seen.update(e.case.case_id for e in examples)
        return real(self, examples)

    monkeypatch.setattr(towers.Towers, "collate", noted)
    stages = [{"method": "open", "train": {"epochs": 1}, "data": extra(study, labelled=True)},
              {"method": "open", "train": {"epochs": 1}}]  # fmt: skip
    run(study, tmp_path / "a", stages=stages)
    assert {i for i in seen if i[0] == "x"} == {f"x{n}" for n in range(5)}


def test_a_trial_stage_on_the_data_of_the_recipe_itself_is_refused_before_data_are_read(study, towers):
    own = recipe(study).as_data()["data"]
    with pytest.raises(RecipeError, match="whose test cases it would train on; leave `data` out"):
        pipeline.check(recipe(study, stages=stages_of(own)), ready=False)


@pytest.mark.parametrize("changes", [{"row": {"patient_id": "p03"}}, {"same_image": 6}], ids=["patient", "image"])
def test_a_trial_stage_that_shares_a_patient_or_an_image_with_the_test_set_stops(study, tmp_path, changes):
    data = extra(study, changes)
    name = "x0" if "row" in changes else "x6"
    with pytest.raises(DataError, match=name):
        run(study, tmp_path / "a", stages=stages_of(data))
    found = run(study, tmp_path / "b", stages=stages_of(data), split={"from": "card", "leaks": "drop"})
    assert any(name in warning for warning in found.record["warnings"])


def test_trial_options_of_a_stage_reach_it_or_are_refused(study, tmp_path):
    stages = stages_of(extra(study))
    stages[1]["options"] = {"offset": 0.25}
    found = run(study, tmp_path / "a", stages=stages)
    assert found.record["model"]["started"] == [["open", {"offset": 0.25}]]
    stages[1]["options"] = {"ofset": 0.25}
    with pytest.raises(RecipeError, match="did you mean 'offset'"):
        pipeline.check(recipe(study, stages=stages), ready=False)


def test_a_trial_probe_follows_on_features_of_the_trained_weights(study, tmp_path, towers):
    alone = run(study, tmp_path / "alone", "probe").record["model"]["choice"]
    found = run(study, tmp_path / "a", stages=stages_of(extra(study), "probe")).record["model"]["choice"]
    assert found["tower"] != alone["tower"] and found["slope"] != alone["slope"]
    with pytest.raises(RecipeError, match="no stage can follow"):
        stages = [{"method": "probe"}, {"method": "open"}]
        pipeline.check(recipe(study, stages=stages), ready=False)


# tasks, baselines, towers of a saved model


def test_a_trial_answers_several_tasks_by_one_fit(study, tmp_path):
    tasks = [{"name": "trial_brightness"}, {"name": "classification", "classes": ["bright"], "metrics": ["auroc"]}]
    found = run(study, tmp_path / "a", task=tasks, evaluate={"confidence": {"resamples": 100}})
    record = found.record
    assert [t["name"] for t in record["tasks"]] == ["trial_brightness", "classification"]
    test = [(r["task"], r["metric"]) for r in record["metrics"] if r["split"] == "test"]
    assert test == [("trial_brightness", "absolute_error"), ("classification", "auroc")]
    table = pd.read_parquet(found.directory / "predictions.parquet")
    assert set(table["task"]) == {"trial_brightness", "classification"}
    assert "absolute error" in (found.directory / "report.html").read_text().lower()
    tasks[1] = {"name": "trial_brightness"}
    with pytest.raises(RecipeError, match="stands twice"):
        pipeline.check(recipe(study, task=tasks), ready=False)
    with pytest.raises(RecipeError, match="answers one task in a run"):
        adapter = {"name": "trial_adapter"}
        tasks[1] = {"name": "classification", "classes": ["bright"], "metrics": ["auroc"]}
        pipeline.check(study.recipe(adapter=adapter, task=tasks), ready=False)


def test_trial_baselines_ask_the_fitted_model_again(study, tmp_path):
    names = ["untrained", "first_stage", "shuffled", "real_noise"]
    stages = [{"method": "open", "train": {"epochs": 4, "learning_rate": 0.1}},
              {"method": "both", "train": {"epochs": 4, "learning_rate": 0.1}}]  # fmt: skip
    found = run(study, tmp_path / "a", stages=stages, baselines=[{"name": n} for n in names])
    rows = {(r["metric"], r["baseline"]): r for r in found.record["metrics"] if r["split"] == "test"}
    error = {name: rows["absolute_error", name]["value"] for name in [None, *names]}
    assert len(set(error.values())) == 5 and error["untrained"] > error[None]
    assert "the mean of 3 draws" in rows["absolute_error", "shuffled"]["note"]
    for name in names[:3]:
        apart = rows["absolute_error_difference", name]
        assert apart["value"] == pytest.approx(error[None] - error[name])
        assert apart["low"] <= apart["value"] <= apart["high"]
    assert ("absolute_error_difference", "real_noise") not in rows


def test_a_saved_trial_names_its_towers_and_predict_refuses_another(study, tmp_path, towers, monkeypatch):
    found = run(study, tmp_path / "a")
    assert [t["role"] for t in found.record["model"]["towers"]] == ["image", "text"]
    monkeypatch.setitem(towers.WEIGHTS, "text", "c" * 64)
    with pytest.raises(WeightsError, match="text tower"):
        medvfm.predict(found.directory, [study.root / "06.png"], tmp_path / "new", device="cpu", console=SILENT)


@pytest.mark.parametrize("method", ["both", "open", "probe"])
def test_no_truth_reaches_a_trial_item_that_is_answered(study, tmp_path, towers, method):
    more = {} if method == "probe" else {"baselines": [{"name": "shuffled"}], "train": {"epochs": 1}}
    found = run(study, tmp_path / "a", method, **more)
    medvfm.predict(found.directory, [study.root / "06.png"], tmp_path / "new", device="cpu", console=SILENT)
    assert towers.SEEN
    assert not [i for i in towers.SEEN if i.case.answer or i.case.targets or i.case.masks or i.truth is not None]
