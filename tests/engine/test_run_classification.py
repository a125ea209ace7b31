"""Whole runs on a small study: what a record holds, what repeats, and that test cases stay unseen."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

import medvfm
from medvfm import pipeline
from medvfm.core.errors import DataError, RecipeError, RunError, WeightsError
from medvfm.engine import train
from medvfm.io import cache
from medvfm.io.console import SILENT
from medvfm.nn import state
from tests.samples.studies import PictureStudy


@pytest.fixture
def study(tmp_path):
    return PictureStudy(tmp_path / "study")


def run(recipe, out, **options):
    return pipeline.run(recipe, out, device="cpu", console=SILENT, **options)


def values(found):
    return [
        (r["metric"], r["target"], r["split"], r["group"], r["baseline"], r["value"]) for r in found.record["metrics"]
    ]


def test_a_record_holds_what_was_done_and_repeats_to_the_digit(study, tmp_path):
    baselines = [{"name": "prevalence"}, {"name": "intensity"}, {"name": "attributes", "columns": ["age", "sex"]},
                 {"name": "image_and_attributes", "columns": ["age"]}]  # fmt: skip
    evaluate = {"metrics": ["auroc", "accuracy", "brier"], "subgroups": ["sex"], "confidence": {"resamples": 200}}
    recipe = study.recipe(baselines=baselines, evaluate=evaluate)
    first, again = run(recipe, tmp_path / "a"), run(recipe, tmp_path / "b")
    assert values(first) == values(again)
    record = first.record
    assert record["status"] == "complete"
    assert record["hash"] == recipe.digest()
    assert record["data"]["splits"]["test"]["patients"] == 9
    assert {r["baseline"] for r in record["metrics"]} == {None, *(b["name"] for b in baselines)}
    assert {r["group"] for r in record["metrics"]} == {None, "sex=F", "sex=M", "gap=sex"}
    assert any("simulated" in w for w in record["warnings"])
    constant = next(r for r in record["metrics"] if r["metric"] == "auroc" and r["baseline"] == "prevalence")
    assert constant["value"] == 0.5
    assert "same for every case" in constant["note"]
    table = pd.read_parquet(first.directory / "predictions.parquet")
    assert {"case_id", "patient", "split", "target", "truth", "score"} <= set(table)
    assert not set(table["patient"]) & {row["patient_id"] for row in study.rows}
    html = (first.directory / "report.html").read_text()
    assert first.record["expected_seconds"] > 0 and "the guess before was" in html
    assert "Discs &amp; &lt;bars&gt;" in html
    assert "<bars>" not in html


def test_another_seed_gives_other_numbers(study, tmp_path):
    split = {"from": "random", "fractions": [0.5, 0.2, 0.3]}
    one, other = (run(study.recipe(seed=s, split=split), tmp_path / str(s)) for s in (1, 2))
    assert values(one) != values(other)


def fitted(directory):
    """Everything that was fitted or chosen, as bytes and values."""
    weights = {
        p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in (directory / "weights").rglob("*.safetensors")
    }
    record = pipeline.Run(directory).record
    training = record["training"] or {}
    best = {k: training.get(k) for k in ("best_epoch", "best_value")}
    return weights, record["thresholds"], record["model"].get("choice"), best


@pytest.mark.parametrize(
    ("method", "train_settings"),
    [("linear_probe", {}), ("knn", {}), ("last_blocks", {"epochs": 2})],
)
def test_scrambled_test_cases_change_nothing_that_is_fitted_or_chosen(study, tmp_path, method, train_settings):
    adapter = {"name": "dinov2", "weights": "tiny", "method": method}
    settings = {"adapter": adapter, "train": train_settings, "baselines": [{"name": "intensity"}]}
    before = fitted(run(study.recipe(**settings), tmp_path / "before").directory)
    rng = np.random.default_rng(0)
    for row in study.rows:
        if row["split"] == "test":
            Image.fromarray(rng.integers(0, 255, (48, 48), dtype=np.uint8)).save(study.root / row["image"])
            row["disc"], row["age"] = int(rng.integers(2)), int(rng.integers(20, 90))
    after = run(study.recipe(**settings), tmp_path / "after")
    assert fitted(after.directory) == before
    seen = pipeline.Run(tmp_path / "before").metrics["value"].tolist()
    assert after.metrics["value"].tolist() != seen  # the test numbers did change: the scramble was real


def test_an_interrupted_run_goes_on_to_the_same_numbers(study, tmp_path, monkeypatch):
    recipe = study.recipe(
        adapter={"name": "dinov2", "weights": "tiny", "method": "lora"}, train={"epochs": 3, "batch_size": 8}
    )
    whole = run(recipe, tmp_path / "whole")
    real, calls = train.checkpoint.save, []

    def stopping(folder, state):
        real(folder, state)
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(train.checkpoint, "save", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path / "stopped")
    with pytest.raises(RunError, match="--resume"):
        run(recipe, tmp_path / "stopped")
    found = run(recipe, tmp_path / "stopped", resume=True)
    assert values(found) == values(whole)
    assert not (found.directory / "checkpoint").exists()
    with pytest.raises(RunError, match="never overwritten"):
        run(recipe, tmp_path / "stopped", resume=True)


def test_what_cannot_be_read_is_left_out_counted_and_named(study, tmp_path):
    (study.root / "c000.png").write_bytes(b"")
    (study.root / "c001.png").write_bytes((study.root / "c001.png").read_bytes()[:200])
    found = run(study.recipe(), tmp_path / "a").record
    assert {e["case_id"] for e in found["data"]["left_out"]} == {"c000", "c001"}
    assert [s["cases"] for s in found["data"]["flow"]] == [72, -2, 70]
    with pytest.raises(Exception, match=r"c000\.png"):
        run(study.recipe(), tmp_path / "b", strict=True)
    for row in study.rows:
        (study.root / row["image"]).write_bytes(b"")
    with pytest.raises(DataError, match="no case could be read"):
        run(study.recipe(), tmp_path / "c")


def test_leaks_stop_the_run(study, tmp_path):
    train_row = next(r for r in study.rows if r["split"] == "train")
    test_row = next(r for r in study.rows if r["split"] == "test")
    (study.root / test_row["image"]).write_bytes((study.root / train_row["image"]).read_bytes())
    with pytest.raises(DataError, match=f"identical.*{train_row['case_id']}.*{test_row['case_id']}"):
        run(study.recipe(), tmp_path / "a")
    dropped = run(study.recipe(split={"from": "card", "leaks": "drop"}), tmp_path / "b").record
    assert any(train_row["case_id"] in w for w in dropped["warnings"])
    test_row["patient_id"] = train_row["patient_id"]
    with pytest.raises(DataError, match="1 patient in two splits"):
        run(study.recipe(), tmp_path / "c")


def test_a_published_split_that_its_card_calls_leaky_runs_with_a_warning(study, tmp_path):
    train_row = next(r for r in study.rows if r["split"] == "train")
    test_row = next(r for r in study.rows if r["split"] == "test")
    test_row["patient_id"] = train_row["patient_id"]
    recipe = study.recipe()
    card = study.folder / "pictures.yaml"
    known = yaml.safe_load(card.read_text())
    card.write_text(yaml.safe_dump(known | {"split_leaks": "some patients are in both parts."}))
    record = run(recipe, tmp_path / "a").record
    (told,) = [w for w in record["warnings"] if "This split leaks: some patients are in both parts." in w]
    assert "1 of 10 test patients are in training" in told
    assert record["data"]["card"]["split_leaks"] == "some patients are in both parts."
    apart = run(study.recipe(split={"from": "random"}), tmp_path / "b").record
    assert not any("leaks" in w for w in apart["warnings"])


def test_the_same_pixels_in_another_format_stop_the_run(study, tmp_path):
    train_row = next(r for r in study.rows if r["split"] == "train")
    test_row = next(r for r in study.rows if r["split"] == "test")
    (study.root / test_row["image"]).unlink()
    test_row["image"] = "other.tif"
    Image.open(study.root / train_row["image"]).save(study.root / "other.tif")
    for folder in ("a", "b"):  # the second time features are taken from the cache
        with pytest.raises(DataError, match=f"identical.*{train_row['case_id']}.*{test_row['case_id']}"):
            run(study.recipe(), tmp_path / folder)
    cache.clear("marks")
    with pytest.raises(DataError, match="identical"):
        run(study.recipe(), tmp_path / "c")
    dropped = run(study.recipe(split={"from": "card", "leaks": "drop"}), tmp_path / "d").record
    assert any(train_row["case_id"] in w for w in dropped["warnings"])


def test_a_run_tells_of_one_picture_with_two_labels(study, tmp_path):
    first = study.rows[0]
    study.rows.append({**first, "case_id": "again", "disc": 1 - first["disc"]})
    found = run(study.recipe(adapter={"name": "dinov2", "weights": "tiny", "method": "knn"}), tmp_path / "a")
    told = [w for w in found.record["warnings"] if "the same pixels and different labels" in w]
    assert len(told) == 1 and first["case_id"] in told[0] and "again" in told[0]


def test_predictions_for_new_images_equal_those_of_the_run(study, tmp_path):
    done = run(study.recipe(), tmp_path / "run")
    table = pd.read_parquet(done.directory / "predictions.parquet").set_index("case_id")
    wanted = table[table["split"] == "test"].index[:3].tolist()
    found = medvfm.predict(done, [study.root / f"{c}.png" for c in wanted], device="cpu", console=SILENT)
    assert found.attrs["left_out"] == []
    assert found["score"].tolist() == pytest.approx(table.loc[wanted, "score"].tolist(), abs=1e-5)
    assert (found["decision"] == (found["score"] >= found["threshold"])).all()
    assert found["model"].str.startswith(done.record["hash"]).all()


def test_predict_refuses_other_frozen_weights(study, tmp_path):
    done = run(study.recipe(), tmp_path / "run")
    path = done.directory / "weights" / "adapter.json"
    path.write_text(path.read_text().replace('"sha256": "', '"sha256": "0', 1))
    with pytest.raises(WeightsError, match="frozen weights differ"):
        medvfm.predict(done.directory, [study.root / "c000.png"], tmp_path / "out", device="cpu", console=SILENT)


@pytest.mark.parametrize(
    ("task", "metrics"),
    [
        ({"classes": ["disc", "bar"], "kind": "multi_label"}, ["auroc", "f1"]),
        ({"classes": ["one", "two", "three"], "kind": "multi_class"}, ["auroc", "accuracy", "multiclass_brier"]),
        ({"classes": ["one", "two", "three"], "kind": "ordinal"}, ["quadratic_kappa", "balanced_accuracy"]),
        ({"classes": ["disc"], "unit": "patient", "pool": "max"}, ["auroc"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["linear_probe", "full"])
def test_every_kind_of_classification_runs(study, tmp_path, task, metrics, method):
    found = run(
        study.recipe(
            task={"name": "classification", **task},
            adapter={"name": "dinov2", "weights": "tiny", "method": method},
            train={"epochs": 1} if method == "full" else {},
            select={"metric": metrics[0]},
            evaluate={"metrics": metrics, "confidence": {"resamples": 100}},
        ),
        tmp_path / "a",
    )
    rows = [r for r in found.record["metrics"] if r["split"] == "test" and r["baseline"] is None]
    assert {r["metric"] for r in rows} == set(metrics)
    assert all(r["value"] is not None or r["note"] for r in rows)
    if task.get("unit") == "patient":
        assert all(r["cases"] == r["patients"] for r in rows)


def test_folds_test_every_patient_and_average_within_folds(study, tmp_path):
    found = run(study.recipe(split={"folds": 3}), tmp_path / "a")
    table = pd.read_parquet(found.directory / "predictions.parquet")
    test = table[table["split"] == "test"]
    assert len(test) == 72
    from sklearn.metrics import roc_auc_score

    each = [roc_auc_score(part["truth"], part["score"]) for _, part in test.groupby("fold")]
    row = found.record["metrics"][0]
    assert row["metric"] == "auroc"
    assert row["value"] == pytest.approx(np.mean(each))


@pytest.mark.parametrize("way", ["platt", "temperature"])
def test_recalibration_is_fitted_on_validation(study, tmp_path, way):
    plain = run(study.recipe(), tmp_path / "a")
    evaluate = {"metrics": ["auroc", "brier"], "recalibrate": way, "confidence": {"resamples": 100}}
    found = run(study.recipe(evaluate=evaluate), tmp_path / "b")
    one, other = (pd.read_parquet(r.directory / "predictions.parquet")["score"] for r in (plain, found))
    assert not np.allclose(one, other)
    assert one.rank().corr(other.rank()) == pytest.approx(1.0)
    rows = {(r["metric"], r["split"], r["group"], r["baseline"]): r["value"] for r in found.record["metrics"]}
    before = next(
        r for r in plain.record["metrics"] if (r["metric"], r["split"], r["baseline"]) == ("brier", "test", None)
    )
    assert rows["brier", "test", "recalibrated=no", None] == pytest.approx(before["value"])
    assert rows["brier", "test", None, None] != pytest.approx(before["value"])
    assert "Before and after recalibration" in (found.directory / "report.html").read_text()
    asked = next(row for row in study.rows if row["split"] == "test")
    answers = medvfm.predict(found.directory, [study.root / asked["image"]], tmp_path / "answers")
    assert np.isclose(other, answers["score"].iloc[0], atol=1e-6).any()  # predict scales as the run did


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"adapter": {"name": "dinov2", "weights": "tiny", "method": "linear_prob"}}, "did you mean 'linear_probe'"),
        ({"adapter": {"name": "dinov3x"}}, "no adapter 'dinov3x'"),
        ({"train": {"epochs": 3}}, "linear_probe has no use for 'epochs'"),
        ({"evaluate": {"metrics": ["dice"]}}, "no metric 'dice'"),
        ({"evaluate": {"metrics": ["sensitivity@specificity=2"]}}, "lies between 0 and 1"),
        ({"task": {"name": "classification", "classes": ["discs"]}}, "did you mean 'disc'"),
        ({"task": {"name": "classification", "classes": ["disc", "bar"]}}, "need a `kind`"),
        ({"evaluate": {"subgroups": ["sx"]}}, "did you mean 'sex'"),
        ({"baselines": [{"name": "intens"}]}, "did you mean 'intensity'"),
        ({"baselines": [{"name": "attributes"}]}, "needs columns"),
        ({"prepare": {"windows": "lng"}}, "did you mean 'lung'"),
        ({"prepare": {"slices": {"pool": "attention"}}}, "attention pooling is trained"),
    ],
)
def test_what_cannot_run_is_refused_before_data_are_read(study, tmp_path, changes, said):
    recipe = study.recipe(**changes)
    for row in study.rows:
        (study.root / row["image"]).unlink()
    with pytest.raises(RecipeError, match=said):
        run(recipe, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_weights_pass_from_stage_to_stage(study, tmp_path):
    """A second stage that hardly moves must stand where the first one left it; alone, it stands nowhere."""
    first = {"epochs": 2, "batch_size": 8, "learning_rate": 3e-3}
    still = {"epochs": 1, "batch_size": 8, "learning_rate": 1e-6, "warmup": 0.0}
    adapter = {"name": "dinov2", "weights": "tiny", "rank": 4}
    staged = run(
        study.recipe(
            adapter={**adapter, "stages": [{"method": "lora", "train": first}, {"method": "full", "train": still}]}
        ),
        tmp_path / "stages",
    )
    alone = run(study.recipe(adapter={**adapter, "method": "lora"}, train=first), tmp_path / "lora")
    back = [{"method": "full", "train": first}, {"method": "lora", "train": still}]
    again = run(study.recipe(adapter={**adapter, "stages": back}), tmp_path / "back")
    plain = {key: value for key, value in adapter.items() if key != "rank"}
    never = run(study.recipe(adapter={**plain, "method": "full"}, train=still), tmp_path / "full")
    head = {
        name: state.read(r.directory / "weights" / "model.safetensors")["head.weight"]
        for name, r in (("staged", staged), ("alone", alone), ("never", never))
    }
    assert (head["staged"] - head["alone"]).abs().max() < 1e-4 < (head["staged"] - head["never"]).abs().max()
    stages = staged.record["training"]["stages"]
    assert [len(s["epochs"]) for s in stages] == [2, 1]
    assert stages[1]["audit"]["trained_tensors"] > stages[0]["audit"]["trained_tensors"]
    for finished in (staged, again):
        table = pd.read_parquet(finished.directory / "predictions.parquet")
        case_id, score = table[table["split"] == "test"].iloc[0][["case_id", "score"]]
        found = medvfm.predict(finished, study.root / f"{case_id}.png", device="cpu", console=SILENT)
        assert found["score"].item() == pytest.approx(score, abs=1e-6)


def test_a_list_of_tasks_is_read_and_refused_with_what_to_do(study, tmp_path):
    tasks = [
        {"name": "classification", "classes": ["disc"]},
        {"name": "segmentation", "classes": ["bar"], "metrics": ["dice"]},
    ]
    with pytest.raises(RecipeError, match=r"answers one task in a run.*write a recipe for each task"):
        run(study.recipe(task=tasks), tmp_path / "x")
    with pytest.raises(RecipeError, match="the task classification stands twice"):
        run(study.recipe(task=[tasks[0], tasks[0]]), tmp_path / "x")
