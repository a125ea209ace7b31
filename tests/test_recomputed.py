"""Every row of run.json comes out again from the files of a finished run."""

from __future__ import annotations

import pandas as pd
import pytest

from medvfm import lookup, pipeline
from medvfm.core.metric_spec import parse
from medvfm.core.protocols import Points
from medvfm.io.console import SILENT
from medvfm.tasks.classification.scores import read_frame
from tests.samples.trial import rooms


def again(directory) -> dict:
    """(metric, target, split, group, baseline) to its value, from the run's record of its task and its tables."""
    record = pipeline.Run(directory).record
    recipe = record["recipe"]
    task = lookup.module("tasks", record["task"]["name"], "test").from_record(record["task"])
    names = recipe["evaluate"]["metrics"] or task.default_metrics
    specs = [parse(name, task.metrics) for name in names]
    tables = task.read_run(directory)
    points = {
        name: task.operating_points(tables["val", name], specs, "none") if ("val", name) in tables else Points()
        for split, name in tables
    }
    found = {}

    def add(values, name, split, group=None):
        for e in task.estimands(values, specs, points[name]):
            found[e.metric.name, e.target, split, group, name] = e.value

    def groups(values, column):
        """Each value, less the rest where both have an interval of their own, and the largest less the smallest."""
        held = {v: values.groups[column] == v for v in sorted(set(values.groups[column]))}
        every = {v: task.estimands(values.subset(mask), specs, points[None]) for v, mask in held.items()}
        for v, mask in held.items():
            add(values.subset(mask), None, "test", f"{column}={v or 'missing'}")
            if mask.all():
                continue
            outside = task.estimands(values.subset(~mask), specs, points[None])
            for mine, rest in zip(every[v], outside, strict=True):
                if None not in (mine.value, rest.value, mine.spread, rest.spread):
                    key = (f"{mine.metric.name}_against_rest", mine.target, "test", f"{column}={v or 'missing'}", None)
                    found[key] = mine.value - rest.value
        for same in zip(*every.values(), strict=True) if len(held) > 1 else ():
            known = [e.value for e in same if e.value is not None]
            if len(known) > 1:
                found[f"{same[0].metric.name}_gap", same[0].target, "test", f"gap={column}", None] = max(known) - min(
                    known
                )

    stored = pd.read_parquet(directory / "predictions.parquet")
    if "score_before" in stored:
        part = stored[(stored["split"] == "test") & stored["baseline"].isna()]
        unscaled = [s for s in specs if s.metric.takes in ("probability", "class_score")]
        before = read_frame(part.assign(score=part["score_before"]))
        for e in task.estimands(before, unscaled, Points()):
            found[e.metric.name, e.target, "test", "recalibrated=no", None] = e.value
    for (split, name), values in tables.items():
        if name is None or split == "test":
            add(values, name, split)
        if name is None and split == "test":
            for column in recipe["evaluate"]["subgroups"]:
                groups(values, column)
    ours = task.estimands(tables["test", None], specs, points[None])
    for split, name in tables:
        if split == "test" and name is not None:
            theirs = task.estimands(tables[split, name], specs, points[name])
            for mine, other in zip(ours, theirs, strict=True):
                apart = mine.minus(other) if mine.minus is not None else None
                if apart is not None:
                    found[f"{mine.metric.name}_difference", mine.target, split, None, name] = apart.value
    return found


def compare(found) -> None:
    rows = found.record["metrics"]
    key = ("metric", "target", "split", "group", "baseline")
    wanted = {tuple(row[k] for k in key): row["value"] for row in rows}
    made = again(found.directory)
    assert set(made) == set(wanted)
    for place, value in wanted.items():
        assert made[place] == (None if value is None else pytest.approx(value, abs=1e-9)), place


@pytest.mark.parametrize(
    ("split", "more"),
    [
        ({"from": "card"}, {"baselines": [{"name": "prevalence"}, {"name": "intensity"}]}),
        ({"folds": 3}, {"baselines": [{"name": "intensity"}]}),
        ({"from": "card"}, {"evaluate": {"recalibrate": "platt"}}),
        ({"from": "card"}, {"task": {"name": "classification", "classes": ["bright"], "unit": "patient"}}),
    ],
    ids=["splits", "folds", "platt", "patients"],
)
def test_rows_of_a_classification_run_come_out_again(tmp_path, split, more):
    study = rooms.BrightnessStudy(tmp_path / "study", cases=48)
    own = {"metrics": ["auroc", "sensitivity@specificity=0.8", "accuracy", "brier", "balanced_accuracy"]}
    own |= {"subgroups": ["site"], "confidence": {"resamples": 100}} | more.pop("evaluate", {})
    recipe = study.recipe(
        task=more.pop("task", {"name": "classification", "classes": ["bright"]}),
        adapter={"name": "dinov2", "weights": "tiny", "method": "knn"},
        prepare={"size": 28}, split=split, evaluate=own, **more,
    )  # fmt: skip
    compare(pipeline.run(recipe, tmp_path / "run", device="cpu", console=SILENT))


def test_scores_that_are_no_probabilities_are_none_when_they_are_read_back(tmp_path, monkeypatch):
    from medvfm.adapters import dinov2

    monkeypatch.setattr(dinov2.EncoderClassifier, "probabilities", False)
    study = rooms.BrightnessStudy(tmp_path / "study")
    recipe = study.recipe(
        task={"name": "classification", "classes": ["bright"]},
        adapter={"name": "dinov2", "weights": "tiny", "method": "knn"}, prepare={"size": 28},
        evaluate={"metrics": ["auroc", "brier"], "confidence": {"resamples": 100}},
    )  # fmt: skip
    found = pipeline.run(recipe, tmp_path / "run", device="cpu", console=SILENT)
    assert next(r["value"] for r in found.record["metrics"] if r["metric"] == "brier") is None
    compare(found)


@pytest.mark.parametrize("split", [{"from": "random", "fractions": [0.5, 0.2, 0.3]}, {"folds": 2}])
def test_rows_of_a_segmentation_run_come_out_again(tmp_path, split):
    study = rooms.BrightnessStudy(tmp_path / "study", cases=12)
    study.with_masks()
    recipe = study.recipe(
        task={"name": "segmentation", "classes": ["left", "lower"]},
        adapter={"name": "monai", "weights": "tiny", "method": "full",
                 "options": {"dims": 2, "patch": [16, 16], "width": 4}},
        train={"epochs": 1, "steps": 2, "batch_size": 4}, split=split,
        baselines=[{"name": "location"}, {"name": "ellipse"}],
        evaluate={"metrics": ["dice", "hd95", "missed", "volume_error"], "subgroups": ["site"],
                  "confidence": {"resamples": 100}},
    )  # fmt: skip
    compare(pipeline.run(recipe, tmp_path / "run", device="cpu", console=SILENT))


def test_rows_of_a_trial_run_come_out_again(tmp_path, monkeypatch):
    rooms.open_rooms(monkeypatch)
    study = rooms.BrightnessStudy(tmp_path / "study")
    found = pipeline.run(study.recipe(), tmp_path / "run", device="cpu", console=SILENT)
    compare(found)
