"""Reports of simulated studies for the gallery, made when the pages are built: no picture of a report grows old."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd

import medvfm


def reports() -> dict[str, str]:
    """Name of the page to its HTML."""
    with tempfile.TemporaryDirectory() as folder:
        made = {"classification": _scores, "segmentation": _masks, "question_answering": _answers}
        return {task: _report(task, make, Path(folder) / task) for task, make in made.items()}


def _report(task: str, make: Callable[[Path], tuple[Path, Path]], folder: Path) -> str:
    folder.mkdir()
    truth, predictions = make(folder)
    medvfm.evaluate(task, truth=truth, predictions=predictions, out=folder / "report", resamples=500)
    return (folder / "report" / "report.html").read_text(encoding="utf-8")


def _scores(folder: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    disease = np.repeat(rng.random(120) < 1 / 3, 2).astype(int)
    scores = 1 / (1 + np.exp(1 - 2.4 * disease - rng.normal(0, 1.2, 240)))
    cases, patients = [f"image_{n:03d}" for n in range(240)], [f"patient_{n // 2:03d}" for n in range(240)]
    truth = pd.DataFrame({"case_id": cases, "patient_id": patients, "disease": disease})
    return _table(folder, "truth", truth), _table(folder, "scores", pd.DataFrame({"case_id": cases, "disease": scores}))


def _masks(folder: Path) -> tuple[Path, Path]:
    i, j, k = np.mgrid[:40, :40, :12]
    for name, larger in (("truth", 0.0), ("drawn", 0.8)):
        (folder / name).mkdir()
        rng = np.random.default_rng(0)
        for number in range(12):
            centre, radius = rng.uniform(12, 28, 2), rng.uniform(5, 9)
            distance = np.sqrt((i - centre[0]) ** 2 + (j - centre[1]) ** 2 + (3 * (k - 6)) ** 2)
            labels = (distance < radius + larger).astype(np.uint8) + (distance < radius / 2 + larger).astype(np.uint8)
            image = nibabel.Nifti1Image(labels, np.diag([1.0, 1.0, 3.0, 1.0]))
            nibabel.save(image, folder / name / f"patient_{number:02d}.nii.gz")
    return folder / "truth", folder / "drawn"


def _answers(folder: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    places = ["left lower lobe", "right upper lobe", "left hilum", "right base"]
    rows, given = [], []
    for number in range(40):
        closed = number % 2 == 0
        right = ("yes", "no")[int(rng.integers(2))] if closed else places[int(rng.integers(4))]
        wrong = {"yes": "no", "no": "yes"}.get(right, places[int(rng.integers(4))])
        asked = "Is there an opacity?" if closed else "Where is the opacity?"
        kind = "CLOSED" if closed else "OPEN"
        rows.append((f"question_{number:02d}", f"patient_{number // 2:02d}", kind, asked, right))
        given.append((f"question_{number:02d}", right if rng.random() < 0.75 else wrong))
    truth = pd.DataFrame(rows, columns=["case_id", "patient_id", "question_type", "question", "answer"])
    return _table(folder, "truth", truth), _table(folder, "answers", pd.DataFrame(given, columns=["case_id", "answer"]))


def _table(folder: Path, name: str, rows: pd.DataFrame) -> Path:
    rows.to_csv(folder / f"{name}.csv", index=False)
    return folder / f"{name}.csv"
