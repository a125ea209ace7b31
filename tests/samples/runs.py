"""Run directories as the engine writes them: true rows, scores drawn, and one part or another missing."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from medvfm import lookup
from medvfm.adapters import _dinov2_words
from medvfm.core.metric_spec import parse
from medvfm.core.recipe_sections import Confidence
from medvfm.core.result_row import as_records
from medvfm.engine import record as records
from medvfm.engine import subgroups
from medvfm.engine.evaluate import Judging
from medvfm.tasks.classification.scores import ScoreTable, joined
from medvfm.tasks.classification.task import ClassificationTask

METRICS = ("auroc", "auprc", "sensitivity@specificity=0.9", "specificity@sensitivity=0.9", "brier", "ece")
CARD = {
    "name": "lakeside_mri",
    "title": "Lakeside brain MRI",
    "version": "3",
    "licence": {"name": "CC BY 4.0", "url": "https://example.org/licence"},
    "simulated": False,
    "statement": "T1 brain MRI of patients with suspected demyelination.",
    "truth": "consensus of two neuroradiologists",
    "population": "Adults of one clinic, 2011 to 2019",
    "modality": ["MR"],
    "known_flaws": ["Small lesions are underreported."],
    "confounders": ["Scanner C is used for follow-up."],
    "citation": "Lake S. Journal of Lakes 1 (2020).",
}
CONTRACT = {
    "size_px": [224, 224],
    "resize": "shortest_then_crop",
    "resize_px": [256, 256],
    "interpolation": "bicubic",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "channels": 3,
    "origin": "preprocessor_config.json",
}


def scored(
    rng: np.random.Generator,
    n: int,
    targets: tuple[str, ...],
    skill: float,
    *,
    exclusive: bool,
    per_patient: int = 1,
    first: int = 0,
) -> ScoreTable:
    """Units with sigmoid scores that lie `skill` deviations apart."""
    if exclusive:
        truth = np.eye(len(targets))[rng.integers(0, len(targets), n)]
    else:
        truth = (rng.random((n, len(targets))) < 0.4).astype(float)
    raw = rng.normal(size=truth.shape) + skill * truth
    scores = np.exp(raw) / np.exp(raw).sum(1, keepdims=True) if exclusive else 1 / (1 + np.exp(-(1.6 * raw - 1)))
    patients = np.array([f"p{i // per_patient}" for i in range(first, first + n)], dtype=object)
    groups = {
        "sex": np.array(["F" if r < 0.5 else "M" for r in rng.random(n)], dtype=object),
        "scanner": np.array(["ABC"[r] for r in rng.integers(0, 3, n)], dtype=object),
    }
    return ScoreTable(
        tuple(f"case{i}" for i in range(first, first + n)), patients, targets, truth, scores, True, groups
    )


def write(
    directory: Path,
    *,
    targets: tuple[str, ...] = ("lesion",),
    kind: str = "binary",
    folds: int = 1,
    per_patient: int = 1,
    n: int = 120,
    metrics: tuple[str, ...] = METRICS,
    training: bool = False,
    title: str = "Lesion on T1 MRI, frozen encoder and linear probe",
    seed: int = 7,
) -> dict[str, Any]:
    """A complete run in `directory`; gives the record that was written."""
    rng = np.random.default_rng(seed)
    exclusive = kind in ("multi_class", "ordinal")

    def draw(skill: float, size: int) -> ScoreTable:
        parts = [
            scored(rng, size // folds, targets, skill, exclusive=exclusive, per_patient=per_patient, first=fold * size)
            for fold in range(folds)
        ]
        return joined(parts) if folds > 1 else parts[0]

    test, val = draw(1.6, n), draw(1.6, 60)
    unit = "patient" if per_patient == 1 else "image"
    question = ClassificationTask(targets, kind, unit, "mean")
    specs = [parse(name, question.metrics) for name in metrics]
    judging = Judging(question, specs, Confidence(resamples=200), seed)
    points = question.operating_points(val, specs, recalibrate="none")
    rows = judging.rows(test, points) + subgroups.rows(judging, test, points, ["sex", "scanner"])
    rows += judging.rows(val, points, split="val")
    hashed = {p: f"h{p}" for p in {*test.patients, *val.patients}}
    frames = [test.as_frame("test", hashed, None), val.as_frame("val", hashed, None)]
    for name, skill in (("intensity", 0.6), ("attributes", 0.1)):
        raw = rng.normal(size=test.scores.shape) + skill * np.nan_to_num(test.truth)
        other = test.with_scores(1 / (1 + np.exp(-raw)), True)
        estimands = question.estimands(other, specs, points)
        rows += judging.as_rows(estimands, other, baseline=name)
        rows += judging.differences(test, points, estimands, name)
        frames.append(other.as_frame("test", hashed, name))
    directory.mkdir(parents=True, exist_ok=True)
    stacked(frames).to_parquet(directory / "predictions.parquet", index=False)
    record = {
        "format": 1,
        "kind": "run",
        "status": "complete",
        "medvfm": "0.1.0",
        "title": title,
        "hash": "0a1b2c3d",
        "created": "2026-11-23T15:45:40+00:00",
        "seconds": {"reading": 20.5, "fitting": 3.0, "total": 61.0},
        "recipe": _recipe(targets, unit, metrics, folds),
        "task": task("classification", kind, targets, unit),
        "data": _data(targets, n) | {"folds": folds},
        "model": _model(training),
        "training": _training() if training else None,
        "thresholds": records.thresholds(points),
        "previews": previews(directory, targets[0]),
        "environment": {
            "python": "3.11.7",
            "torch": "2.11.0",
            "device": "cpu, 2 threads",
            "platform": "Linux x86_64",
            "packages": {"medvfm": "0.1.0", "torch": "2.11.0", "peft": "not installed"},
        },
        "warnings": [],
        "metrics": as_records(rows),
    }
    save(directory, record)
    return record


def task(name: str, kind: str, targets: tuple[str, ...], unit: str) -> dict[str, Any]:
    """The section of a task of medvfm, with its own words."""
    words = lookup.module("tasks", name, "").WORDS
    return {"name": name, "kind": kind, "classes": list(targets), "unit": unit, "words": dict(words)}


def stacked(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One table; `baseline` is empty for the model."""
    return pd.concat([frame.astype({"baseline": object}) for frame in frames], ignore_index=True)


def save(directory: Path, record: dict[str, Any]) -> None:
    (directory / "run.json").write_text(json.dumps(record, allow_nan=False), encoding="utf-8")


def previews(directory: Path, target: str) -> list[dict[str, Any]]:
    """Gradients in place of patients."""
    (directory / "previews").mkdir(exist_ok=True)
    found = []
    for number, (kind, truth, score) in enumerate((("false positive", 0, 0.97), ("false negative", 1, 0.0004))):
        pixels = np.linspace(0, 200 + number, 48 * 32).reshape(32, 48).astype(np.uint8)
        name = f"previews/{number:03d}.png"
        Image.fromarray(pixels).save(directory / name)
        caption = f"case {number + 3} of 120 test cases"
        found.append({"file": name, "target": target, "truth": truth, "score": score, "kind": kind, "caption": caption,
                      "place": number + 3})  # fmt: skip
    return found


def _recipe(targets: tuple[str, ...], unit: str, metrics: tuple[str, ...], folds: int) -> dict[str, Any]:
    return {
        "title": "Lesion on T1 MRI",
        "seed": 7,
        "data": {"card": "lakeside_mri", "root": "/home/jane.doe/mri", "layout": None, "options": {}},
        "prepare": {"slices": {"axis": "axial", "count": 13, "span": [0.2, 0.8], "pool": "mean"}},
        "split": {"folds": folds, "from": None} if folds > 1 else {"from": "random", "folds": None},
        "task": {"name": "classification", "classes": list(targets), "unit": unit},
        "adapter": {"name": "dinov2", "weights": "facebook/dinov2-base", "method": None},
        "select": {"metric": "auroc", "on": "val"},
        "evaluate": {"metrics": list(metrics), "confidence": {"level": 0.95, "resamples": 200}, "recalibrate": "none"},
    }


def _data(targets: tuple[str, ...], n: int) -> dict[str, Any]:
    sizes = {"train": 170, "val": 60, "test": n}
    return {
        "card": copy.deepcopy(CARD),
        "layout": "nifti",
        "flow": [
            {"step": "in the table", "cases": 360, "patients": 355},
            {"step": "files missing", "cases": -3, "patients": -3},
            {"step": "unreadable", "cases": -7, "patients": -2},
            {"step": "analysed", "cases": 350, "patients": 350},
        ],
        "left_out": [
            {"case_id": "DOE-JANE-1", "reason": "no such file: images/DOE-JANE-1.nii.gz"},
            {"case_id": "DOE-JANE-2", "reason": "/home/jane.doe/mri/DOE JANE 2.dcm: end of file inside the pixels"},
            {"case_id": "ROE-3", "reason": "ROE-3.dcm: end of file inside the pixels"},
        ],
        "splits": {
            s: {"cases": size, "patients": size, "positives": dict.fromkeys(targets, size // 3)}
            for s, size in sizes.items()
        },
        "characteristics": [
            {"name": "Cases"} | {s: str(v) for s, v in sizes.items()},
            {"name": "age, mean (SD)", "train": "51.6 (18.5)", "val": "57.3 (19.8)", "test": "51.3 (19.1)"},
            {"name": "sex: F", "train": "90 (53%)", "val": "30 (50%)", "test": "66 (55%)"},
            {"name": "sex: M", "train": "80 (47%)", "val": "30 (50%)", "test": "54 (45%)"},
        ],
        "folds": 1,
        "test_openings": 2,
    }


def _model(training: bool) -> dict[str, Any]:
    model = {
        "adapter": "dinov2",
        "weights": "facebook/dinov2-base",
        "sha256": "ab" * 32,
        "licence": "apache-2.0",
        "contract": CONTRACT,
        "parameters": {"total": 86_580_480, "trainable": 294_912 if training else 0},
        "method": "lora" if training else "linear_probe",
        "method_note": "low-rank updates" if training else "logistic regression on frozen features",
    }
    volume = {"axis": "axial", "count": 13, "span": [0.2, 0.8], "pool": "mean"}
    model["said"] = _dinov2_words.said(model | {"volume": volume})
    if training:
        return model
    swept = [10.0**e for e in range(-4, 5)]
    values = [0.61, 0.66, 0.71, 0.78, 0.80, 0.79, 0.78, None, 0.77]
    return model | {
        "choice": {"C": 1.0, "swept": swept, "values": values, "on": "val", "note": None},
        "features": {"dimension": 768, "cases": 350},
    }


def _training() -> dict[str, Any]:
    epochs = [
        {"epoch": e, "loss": 0.7 / e + 0.05, "learning_rate": 1e-4, "val": {"auroc": 0.6 + 0.03 * e - 0.002 * e * e}}
        for e in range(1, 13)
    ]
    return {
        "settings": {"epochs": 12, "batch_size": 16, "learning_rate": 1e-4, "augment": None},
        "epochs": epochs,
        "best_epoch": 7,
        "best_value": 0.712,
        "audit": {"trained_tensors": 48, "moved_tensors": 48, "frozen_tensors": 222, "frozen_moved": 0},
        "seconds": 412.0,
    }
