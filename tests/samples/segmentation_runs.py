"""Run directories of segmentations as the engine writes them: true rows, values of cases drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medvfm.adapters import _dinov2_words, _monai_words, _sam_words
from medvfm.core.image import Image as MedicalImage
from medvfm.core.metric_spec import parse
from medvfm.core.protocols import Points
from medvfm.core.recipe_sections import Confidence
from medvfm.core.result_row import as_records
from medvfm.engine import subgroups
from medvfm.engine.evaluate import Judging
from medvfm.io.rendering import slice_strips
from medvfm.tasks.per_case import PerCaseValues
from medvfm.tasks.segmentation import self_check
from medvfm.tasks.segmentation.task import SegmentationTask
from tests.samples import runs

METRICS = ("dice", "hd95", "hd95_detected", "nsd@tolerance=2", "volume_error", "missed", "spurious",
           "false_positive_volume")  # fmt: skip
METRICS_OF_OBJECTS = ("dice", "aji", "pq", "f1@iou=0.5", "count_error")
DIAGONAL_MM = 88.0
VARIANTS = {f"box_jitter_px={px}": px / 60 for px in (0, 2, 5, 10, 20)} | {f"clicks={n}": 0.3 / n for n in range(1, 11)}


def cases(
    rng: np.random.Generator,
    targets: tuple[str, ...],
    n: int,
    quality: float,
    *,
    instances: bool,
    metrics: tuple[str, ...],
    per_patient: int = 1,
    truth: np.ndarray | None = None,
    first: int = 0,
) -> PerCaseValues:
    """Cases of which one of seven lacks the last structure, where there are several, and one of eight is missed."""
    t = len(targets)
    if truth is None:
        truth = rng.gamma(20, 0.15, (n, t)) if not instances else rng.poisson(30, (n, t)).astype(float) + 1
        truth[np.arange(n) % 7 == 6, -1] = 0 if t > 1 or instances else truth[np.arange(n) % 7 == 6, -1]
    present = truth > 0
    found = rng.random((n, t)) > (0.12 if quality < 0.95 else 0)
    error = rng.normal(1 - (1 - quality) * 0.4, 1.2 * (1 - quality) + 0.01, (n, t)).clip(0.2)
    predicted = np.where(present, truth * error * found, np.where(rng.random((n, t)) < 0.4, 0.2, 0.0))
    predicted = np.round(predicted) if instances else predicted
    overlap = np.clip(rng.normal(quality, 0.05, (n, t)), 0, 1) * (predicted > 0)
    distance = np.where(predicted > 0, rng.gamma(4, (1.02 - overlap) * 3), DIAGONAL_MM)
    nan = np.nan
    values = {
        "dice": np.where(present, overlap, nan),
        "iou": np.where(present, overlap / (2 - overlap), nan),
        "aji": np.where(present, overlap * 0.9, nan),
        "pq": np.where(present, overlap * 0.85, nan),
        "f1@iou=0.5": np.where(present, overlap**0.5, nan),
        "count_error": predicted - truth,
        "hd95": np.where(present, distance, nan),
        "hd95_detected": np.where(present & (predicted > 0), distance, nan),
        "nsd@tolerance=2": np.where(present, overlap**0.5, nan),
        "volume_error": np.where(present, predicted / np.where(present, truth, 1) - 1, nan),
        "missed": np.where(present, predicted == 0, nan),
        "spurious": np.where(present, nan, predicted > 0),
        "false_positive_volume": np.where(present, nan, predicted),
    }
    sizes = {"truth_size": truth, "predicted_size": predicted}
    return PerCaseValues(
        tuple(f"DOE-JANE-{i}" for i in range(first, first + n)),
        np.array([f"p{i // per_patient}" for i in range(first, first + n)], dtype=object),
        np.zeros(n, dtype=int),
        targets,
        {name: values[name].astype(float) for name in metrics} | sizes,
        present,
        {"truth": truth, "score": predicted},
        {"sex": np.array(["FM"[i % 2] for i in range(n)], dtype=object)},
    )


def write(
    directory: Path,
    *,
    targets: tuple[str, ...] = ("anterior_part", "posterior_part"),
    kind: str = "semantic",
    n: int = 48,
    quality: float = 0.86,
    baselines: Mapping[str, float] = {"location": 0.68, "monai": 0.84},
    oracle: str | None = None,
    variants: bool = False,
    metrics: tuple[str, ...] | None = None,
    per_patient: int = 1,
    title: str = "Two parts of a structure on T1 MRI",
    model: Mapping[str, Any] | None = None,
    seed: int = 5,
    doubts: bool = False,
) -> dict[str, Any]:
    """A complete run in `directory`; gives the record that was written. doubts: with what the model says of its own
    masks, noisy signs of their Dice."""
    rng = np.random.default_rng(seed)
    instances = kind == "instances"
    metrics = metrics or (METRICS_OF_OBJECTS if instances else METRICS)
    draw = {"instances": instances, "metrics": metrics, "per_patient": per_patient}
    question, points = SegmentationTask(targets, kind), Points()
    specs = [parse(name, question.metrics) for name in metrics]
    judging = Judging(question, specs, Confidence(resamples=100), seed)
    test, val = cases(rng, targets, n, quality, **draw), cases(rng, targets, 12, quality, first=n, **draw)
    doubted: dict[str, Any] = {}
    if doubts:
        told = self_check.checked(val, test, signs(rng, val), signs(rng, test))
        test = told.test
        checks = [as_records(judging.as_rows(e, test, baseline=rival)) for rival, e in told.estimands]
        doubted = {"self_check": {"rows": [row for part in checks for row in part], **told.record}}
    rows = judging.rows(test, points, note=oracle) + subgroups.rows(judging, test, points, ["sex"], note=oracle)
    rows += judging.rows(val, points, split="val", note=oracle)
    if variants:
        for group, worse in VARIANTS.items():
            values = {k: np.clip(v - worse, 0, 1) for k, v in test.values.items() if k == specs[0].name}
            changed = replace(test, values=values)
            rows += judging.rows(changed, points, group=group, note=oracle, specs=specs[:1])
    hashed = {p: f"h{p}" for p in {*test.patients, *val.patients}}
    parts = [("test", test, None), ("val", val, None)]
    for name, level in baselines.items():
        other = cases(rng, targets, n, level, truth=test.values["truth_size"], **draw)
        note = "oracle prompt: a true box for each object" if name == "ellipse" else None
        estimands = question.estimands(other, specs, points)
        rows += judging.as_rows(estimands, other, baseline=name, note=note)
        rows += judging.differences(test, points, estimands, name)
        parts.append(("test", other, name))
    directory.mkdir(parents=True, exist_ok=True)
    record = runs.write(directory / "plain", n=20, metrics=("auroc",))
    for file in sorted((directory / "plain").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    (directory / "plain").rmdir()
    for name, frames in (
        ("predictions", [found.as_frame(split, hashed, baseline) for split, found, baseline in parts]),
        ("measures", [found.measures(split, hashed, baseline) for split, found, baseline in parts]),
    ):
        runs.stacked(frames).to_parquet(directory / f"{name}.parquet", index=False)
    record |= {
        "title": title,
        "task": runs.task("segmentation", kind, targets, "image"),
        "model": _model(model or DENSE, oracle),
        "baselines": {"monai": {key: said_of(MONAI)[key] for key in ("adapter", "method", "weights", "said")}},
        "training": {
            "settings": {"epochs": 8, "steps": 100, "batch_size": 8, "learning_rate": 1e-3},
            "epochs": [{"epoch": e, "loss": 1.1 / e, "learning_rate": 1e-3, "val": {"dice": 0.85 - 0.4 / e}}
                       for e in range(1, 9)],
            "best_epoch": 8,
            "best_value": 0.8,
            "audit": {"trained_tensors": 80, "moved_tensors": 80, "frozen_tensors": 0, "frozen_moved": 0},
            "seconds": 341.0,
        },
        "warnings": [f"Prompts come from the truth ({oracle}): these numbers are ..."] if oracle else [],
        "examples": examples(directory, n, volumes=not instances),
        "metrics": as_records(rows),
        **doubted,
    }  # fmt: skip
    record["data"]["splits"] = {
        s: {"cases": m, "patients": m, "positives": dict.fromkeys(targets, m - 1)}
        for s, m in (("train", 100), ("val", 12), ("test", n))
    }
    record["recipe"]["task"] = record["task"]
    record["recipe"]["select"] = {"metric": "dice", "on": "val"}
    record["recipe"]["evaluate"]["metrics"] = list(metrics)
    for part in ("thresholds", "previews"):
        record.pop(part)
    runs.save(directory, record)
    return record


DENSE = {
    "adapter": "dinov2",
    "weights": "embedded:tf_efficientnet_b0",
    "sha256": "cd" * 32,
    "licence": "apache-2.0",
    "contract": runs.CONTRACT | {"resize": "pad", "resize_px": None, "side_px": 96, "size_px": [96, 96]},
    "decoder": "conv",
    "neighbours": 1,
    "slices": "native",
    "parameters": {"total": 5_288_548, "trainable": 5_288_548},
    "method": "full",
    "method_note": "every weight of the encoder and a head",
}
MONAI = {
    "adapter": "monai",
    "weights": "scratch",
    "source": "scratch",
    "sha256": "ef" * 32,
    "network": {"network": "unet", "dims": 3, "patch": [48, 48, 48], "width": 16, "overlap": 0.5, "channels": 1},
    "parameters": {"total": 1_188_000, "trainable": 1_188_000},
    "method": "full",
    "method_note": "every weight of the network, from scratch or from a bundle",
}
SAM = {
    "adapter": "sam",
    "weights": "tiny",
    "sha256": "01" * 32,
    "contract": {"contract": "tiny", "side_px": 1024, "multiple": 16},
    "prompts": {"from": "truth", "kind": "box", "options": {"robustness": True}},
    "parameters": {"total": 912_000, "trainable": 912_000},
    "method": "full",
    "method_note": "encoder and decoder",
}


def signs(rng: np.random.Generator, values: PerCaseValues) -> dict[str, np.ndarray]:
    """Noisy signs of the Dice of what was drawn."""
    dice = self_check.quality(values)
    assert dice is not None
    return {name: 0.5 + dice / 2 + rng.normal(0, 0.02, dice.shape) for name in ("agreement", "confidence")}


def said_of(model: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a model with its adapter's own words."""
    words = {"dinov2": _dinov2_words, "monai": _monai_words, "sam": _sam_words}[model["adapter"]]
    return {**model, "said": words.said(model)}


def _model(model: Mapping[str, Any], oracle: str | None) -> dict[str, Any]:
    return said_of({**model, "oracle": oracle} if oracle or model["adapter"] == "sam" else model)


def examples(directory: Path, n: int, volumes: bool = True) -> list[dict[str, Any]]:
    """Gradients in place of patients: three planes beside each other, or one picture."""
    (directory / "previews").mkdir(exist_ok=True)
    found = []
    for number, (kind, score) in enumerate((k, s) for k, s in (("worst", 0.41), ("median", 0.87), ("best", 0.95))):
        width, height = (600, 220) if volumes else (300, 280)
        pixels = np.linspace(0, 200 + number, width * height).reshape(height, width).astype(np.uint8)
        name = f"previews/{number:03d}.png"
        Image.fromarray(pixels).save(directory / name)
        caption = f"case {number + 3} of {n} test cases"
        entry = {"file": name, "kind": kind, "metric": "dice", "score": score, "caption": caption, "place": number + 3}
        found.append(entry | (slices(directory, f"previews/{number:03d}", number) if volumes else {}))
    return found


def slices(directory: Path, name: str, seed: int) -> dict[str, Any]:
    """Noise with a bright block that the truth holds and of which the prediction misses a part."""
    rng = np.random.default_rng(seed)
    voxels = rng.random((24, 30, 8)) * 60
    truth, predicted = np.zeros((2, 24, 30, 8), np.uint8)
    truth[6:14, 8:20, 2:6] = 1
    predicted[8:14, 8:20, 2:5] = 1
    voxels[truth > 0] += 150
    image = MedicalImage(voxels.astype(np.float32), np.diag([1.0, 1.0, 3.0, 1.0]), "arbitrary")
    found = slice_strips.strips(image, truth, predicted, (7, 10, 5))
    assert found is not None
    files = {part: f"{name}-{part}.webp" for part in ("picture", "labels")}
    for part, file in files.items():
        (directory / file).write_bytes(getattr(found, part))
    return {"slices": files | found.facts() | {"structure": 1}}
