"""Re-identification: a planted copy and a second image of a training patient are found, strangers are not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medvfm import pipeline
from medvfm.core.errors import DataError, MedvfmError
from medvfm.core.metric_spec import parse
from medvfm.core.protocols import Points
from medvfm.io.console import SILENT
from medvfm.models.extractors.base import Extractor
from medvfm.tasks.generation import sheets
from medvfm.tasks.generation.judge import Judge, Pictures
from medvfm.tasks.generation.made_set import MadeSet
from medvfm.tasks.generation.task import METRICS, GenerationTask
from medvfm.tasks.generation.verifier import LIKE, Verifier
from tests.samples.trial import rooms
from tests.tasks.generation import test_judge


def pixels_read() -> Extractor:
    return Extractor(
        torch.nn.Identity(), lambda x: torch.nn.functional.avg_pool2d(x, 4), lambda x: x.flatten(1), 64,
        {"name": "pixels", "weights": "of a test", "comparable": False},
    )  # fmt: skip


def people(count, seed):
    """Two images of each of `count` patients, alike but for noise."""
    rng = np.random.default_rng(seed)
    faces = rng.random((count, 1, 8, 8)).repeat(2, axis=0)
    noisy = (faces + 0.05 * rng.standard_normal(faces.shape)).clip(0, 1)
    return noisy.repeat(4, axis=2).repeat(4, axis=3).astype(np.float32), np.arange(count).repeat(2)


def test_patients_are_recognised_and_strangers_are_not():
    train, owners = people(50, 0)
    found = Verifier.fitted(pixels_read(), train, owners)
    assert found.recognised == 1.0 and found.record["share"] == LIKE
    assert found.verified(train[:6]).all()  # copies
    again = (train[:10] + 0.05 * np.random.default_rng(3).standard_normal(train[:10].shape)).clip(0, 1)
    assert found.verified(again.astype(np.float32)).all()
    strangers, _ = people(100, 1)
    assert found.verified(strangers).mean() < 0.06


def test_a_model_that_tells_nobody_apart_recognises_nobody():
    rng = np.random.default_rng(0)
    noise = rng.random((100, 1, 32, 32)).astype(np.float32)
    found = Verifier.fitted(pixels_read(), noise, np.arange(50).repeat(2))
    assert found.recognised is not None and found.recognised < 0.2
    assert Verifier.fitted(pixels_read(), noise, np.arange(100)).recognised is None
    with pytest.raises(DataError, match="all training images are of one patient"):
        Verifier.fitted(pixels_read(), noise, np.zeros(100))


@pytest.mark.parametrize("named", [True, False])
def test_a_planted_copy_is_counted_beside_real_test_images(named, tmp_path):
    train, test = test_judge.Drawn("train", 40, 1), test_judge.Drawn("test", 24, 2)
    judge = Judge.of(train, ("bright",), test_judge.extractor(), None, pixels_read() if named else None)
    shown, real = judge.real(test)
    pixels = test_judge.Drawn("made", 24, 3).images.copy()
    pixels[5] = train.images[17]
    made = judge.made(Pictures(shown.ids, shown.patients, pixels, shown.labels), real)
    nothing = np.array([""] * 24, dtype=object)
    sets = MadeSet(made, real, nothing, np.zeros(24, int), nothing, pictures=pixels, judge=judge)
    (row,) = GenerationTask().estimands(sets, [parse("reidentified", METRICS)], Points())
    copies = sheets.write(sets, (), test_judge.seen(tmp_path, test), blinded=False)["generation"]["copies"]
    if not named:
        assert row.value is None and "task.options.reidentification" in row.reason
        assert copies["verified_by"] is None and copies["verified_by_reason"]
        return
    assert made.verified[5] == 1 and row.value == made.verified.mean() > 0
    assert copies["verified"]["made"] == made.verified.sum() and copies["verified"]["of_real"] == 24
    assert copies["verified_by"]["weights"] == "of a test"
    references = MadeSet(made, real, nothing, np.zeros(24, int), nothing, reference=True)
    (of_test,) = GenerationTask().estimands(references, [parse("reidentified", METRICS)], Points())
    assert of_test.value == real.verified.mean() and "of real test images" in of_test.notes


def test_a_finished_run_verifies(tmp_path, monkeypatch):
    rooms.open_rooms(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    study = rooms.BrightnessStudy(tmp_path / "study", 48)
    of_faces = study.recipe(
        task={"name": "classification", "classes": ["bright"]}, evaluate={"metrics": ["auroc"]},
        adapter={"name": "dinov2", "weights": "tiny", "method": "linear_probe"},
    )  # fmt: skip
    run = pipeline.run(of_faces, tmp_path / "verifier", device="cpu", console=SILENT)

    def made(folder, **changes):
        return study.recipe(
            task={"name": "generation", "options": {"extractor_px": 32, "reidentification": f"run:{folder}"}},
            adapter={"name": "latent_diffusion", "weights": "tiny", "method": "full", "options": {"steps": 2}},
            prepare={"size": 12}, train={"epochs": 1, "steps": 2, "batch_size": 8},
            evaluate={"metrics": ["reidentified", "kid"]}, baselines=[{"name": "real"}], **changes,
        )  # fmt: skip

    found = pipeline.run(made(run.directory), tmp_path / "run", device="cpu", console=SILENT)
    copies = found.record["generation"]["copies"]
    assert copies["verified_by"]["weights"].startswith("the run ") and copies["verified"]["of_real"] == 12
    rows = {r["baseline"]: r for r in found.record["metrics"] if r["metric"] == "reidentified"}
    assert rows[None]["value"] == copies["verified"]["made"] / 12
    assert rows["real"]["value"] == copies["verified"]["real"] / 12
    with pytest.raises(MedvfmError, match=r"task\.options\.reidentification"):
        pipeline.run(made(tmp_path / "absent"), tmp_path / "no", device="cpu", console=SILENT)
