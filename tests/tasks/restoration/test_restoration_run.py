"""A whole run of restoration on small pictures: what is hidden, scored beside filters, shown, predicted and given."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from medvfm import pipeline
from medvfm.adapters._diffusion.generation import LatentDiffusion
from medvfm.core.errors import MedvfmError, RecipeError
from medvfm.core.metric_spec import parse
from medvfm.core.protocols import Points
from medvfm.io.console import SILENT
from medvfm.pipeline import planning, predicting
from medvfm.tasks.restoration import filters
from medvfm.tasks.restoration import task as restoration
from medvfm.tasks.restoration.filters import ChosenFilters
from tests.samples.trial import rooms

ANSWERED: list = []  # arrays of every item that was answered
SIDE = 32


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """96 pictures of 32 px: a bright square with a dark spot in every second; the spot is outlined."""
    made = rooms.BrightnessStudy(tmp_path_factory.mktemp("study"), 96)
    rng = np.random.default_rng(3)
    for n, row in enumerate(made.rows):
        pixels, spot = np.full((SIDE, SIDE), 20.0), np.zeros((SIDE, SIDE), np.uint8)
        pixels[3:29, 3:29] = 180 + rng.normal(0, 1, (26, 26))
        r, c = rng.integers(8, 20, 2)
        spot[r : r + 5, c : c + 5] = n % 2
        Image.fromarray(np.where(spot, 90, pixels).astype(np.uint8)).save(made.root / row["image"])
        Image.fromarray(spot * 2).save(made.root / f"mask{row['image']}")
        row["mask"] = f"mask{row['image']}"
    made.write(labels={1: {"name": "head"}, 2: {"name": "spot"}}, layout={"masks": {"mask": "{mask}"}})
    return made


def recipe(study, **changes):
    plain = {
        "task": {"name": "restoration", "classes": ["spot"], "options": {"level": 0.15}},
        "adapter": {
            "name": "latent_diffusion", "weights": "tiny-spatial", "method": "restore",
            "options": {"width": 16, "steps": 1, "sweep": {"steps": [1, 3]}},
        },
        "prepare": {"size": SIDE, "windows": [0, 255]},
        "evaluate": {},
        "train": {"epochs": 2, "steps": 60, "batch_size": 16, "learning_rate": 2e-3, "ema": 0.9},
        "baselines": [{"name": n} for n in ("untrained", "degraded", "gaussian_filter", "non_local_means")],
    }  # fmt: skip
    return study.recipe(**(plain | changes))


@pytest.fixture(scope="module")
def found(study, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        rooms.open_rooms(patch)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        answer = LatentDiffusion.answer

        def watched(self, items, variant=None):
            ANSWERED.extend(item.arrays for item in items)
            return answer(self, items, variant)

        patch.setattr(LatentDiffusion, "answer", watched)
        run = tmp_path_factory.mktemp("runs") / "run"
        return pipeline.run(recipe(study), run, device="cpu", console=SILENT)


def value(found, metric, baseline=None, group=None):
    (one,) = (
        r for r in found.record["metrics"]
        if (r["metric"], r["baseline"], r["group"], r["split"]) == (metric, baseline, group, "test")
    )  # fmt: skip
    return one


def test_the_model_restores_better_than_the_degraded_image_and_its_start(found):
    own = value(found, "psnr")
    assert own["cases"] == 24 and own["low"] <= own["value"] <= own["high"] and own["unit"] == "dB"
    assert own["value"] > value(found, "psnr", "degraded")["value"] + 1
    assert own["low"] > value(found, "psnr", "untrained")["high"]
    assert value(found, "psnr_difference", "degraded")["value"] == pytest.approx(
        own["value"] - value(found, "psnr", "degraded")["value"]
    )


def test_degraded_images_have_the_psnr_of_their_noise(found):
    without_cuts = -20 * np.log10(0.15)  # values are cut to [0, 1], which takes some of the noise away
    assert without_cuts < value(found, "psnr", "degraded")["value"] < without_cuts + 1.5


def test_the_true_image_and_its_lesions_are_hidden_from_who_answers(found):
    assert len(ANSWERED) >= 24 and all(set(arrays) == {"degraded"} for arrays in ANSWERED)


def test_psnr_and_ssim_of_the_files_are_those_of_scikit_image(study, found):
    table = pd.read_parquet(found.directory / "predictions.parquet")
    measures = pd.read_parquet(found.directory / "measures.parquet")
    own = table[table["baseline"].isna()].set_index("case_id")
    names = {row["case_id"]: row["image"] for row in study.rows}
    for case_id in list(own.index)[:6]:
        true = np.asarray(Image.open(study.root / names[case_id])) / 255
        made = np.asarray(Image.open(found.directory / own.loc[case_id, "answer"])) / 255
        mine = measures[(measures["case_id"] == case_id) & measures["baseline"].isna()].set_index("metric")["value"]
        assert mine["psnr"] == pytest.approx(peak_signal_noise_ratio(true, made, data_range=1), abs=0.05)
        wanted = structural_similarity(
            true, made, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        assert mine["ssim"] == pytest.approx(wanted, abs=0.03)


def test_erased_counts_cases_with_a_spot_and_invented_all(found):
    erased, invented = value(found, "lesions_erased"), value(found, "lesions_invented")
    assert erased["cases"] == 12 and invented["cases"] == 24
    assert value(found, "lesions_erased", "degraded")["value"] == 0
    lesion = found.record["restoration"]["usual_lesion"]
    assert lesion["contrast"] == pytest.approx(90 / 255, abs=0.02) and lesion["lesions"] == 24


def test_every_row_comes_out_of_the_files_again(found):
    task = restoration.from_record(found.record["task"])
    for (split, name), kept in task.read_run(found.directory).items():
        assert split == "test"
        for e in task.estimands(kept, [parse(m, task.metrics) for m in task.default_metrics], Points()):
            assert e.value == pytest.approx(value(found, e.metric.name, name)["value"], abs=1e-9)


def test_the_page_shows_strips_and_the_curve_over_steps(found):
    page = (found.directory / "report.html").read_text(encoding="utf-8")
    assert "Gaussian noise of 0.15" in page and "non-local means" in page and "Steps of sampling" in page
    assert value(found, "psnr", group="steps=1")["value"] == pytest.approx(value(found, "psnr")["value"])


def test_an_image_that_is_handed_in_is_taken_as_the_degraded_one(study, found, tmp_path):
    given = tmp_path / "noisy.png"
    Image.fromarray(np.full((SIDE, SIDE), 128, np.uint8)).save(given)
    seen = []
    answer = LatentDiffusion.answer
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LatentDiffusion, "answer", lambda s, items, v=None: (seen.extend(items), answer(s, items, v))[1])
        table = predicting.predict(found.directory, str(given), tmp_path / "out", device="cpu", console=SILENT)
    assert set(seen[0].arrays) == {"degraded"} and np.ptp(seen[0].arrays["degraded"]) == 0
    made = Image.open(tmp_path / "out" / table["file"][0])
    assert made.size == (SIDE, SIDE) and made.info["made"] == "restored by a model"


def test_folders_of_another_program_are_scored_by_name(study, found, tmp_path):
    names = {row["case_id"]: row["image"] for row in study.rows}
    made = sorted((found.directory / "images").iterdir())
    (tmp_path / "true").mkdir()
    for file in made:
        shutil.copy(study.root / names[file.stem], tmp_path / "true" / file.name)
    given = pipeline.evaluate("restoration", tmp_path / "true", found.directory / "images", out=tmp_path / "out")
    psnr = given.set_index("metric").loc["psnr"]
    assert psnr["cases"] == 24
    assert psnr["value"] == pytest.approx(value(found, "psnr")["value"], abs=0.05)  # of 8 bits
    (tmp_path / "true" / made[0].name).unlink()
    with pytest.raises(MedvfmError, match="1 prediction has no case"):
        pipeline.evaluate("restoration", tmp_path / "true", found.directory / "images")


def test_what_is_refused(study):
    for wrong, said in (
        ({"level": 0.1, "degrade": "lower_resolution"}, "lower_resolution has no level"),
        ({"factor": 2}, "gaussian has no factor"),
        ({"level": 3}, "less than or equal to 1"),
    ):
        with pytest.raises(RecipeError, match=said):
            planning.plan(recipe(study, task={"name": "restoration", "options": wrong}))
    blocks = {"name": "restoration", "options": {"degrade": "lower_resolution", "factor": 5}}
    with pytest.raises(RecipeError, match="are no blocks of 5 px"):
        planning.plan(recipe(study, task=blocks, baselines=[]))
    with pytest.raises(RecipeError, match="bicubic interpolates a lower resolution"):
        planning.plan(recipe(study, baselines=[{"name": "bicubic"}]))
    with pytest.raises(RecipeError, match="outlines no 'bright'"):
        planning.plan(recipe(study, task={"name": "restoration", "classes": ["bright"]}))
    with pytest.raises(RecipeError, match="full answers generation, not restoration"):
        planning.plan(recipe(study, adapter={"name": "latent_diffusion", "weights": "tiny", "method": "full"}))


def test_filters_are_as_strong_as_fits_training_images():
    rng = np.random.default_rng(0)
    true = filters.blurred(rng.random((8, 1, 32, 32), np.float32), 3.0)
    spoil = restoration.Options(level=0.05).degradation
    noisy = np.stack([spoil(image, rng) for image in true])
    chosen = ChosenFilters.of(true, noisy, spoil)
    reached = {
        s: np.mean(
            [peak_signal_noise_ratio(t, f, data_range=1) for t, f in zip(true, filters.blurred(noisy, s), strict=True)]
        )
        for s in filters.WIDTHS_PX
    }
    assert chosen.strengths["gaussian_filter"] == max(reached, key=reached.__getitem__)
    assert np.square(chosen.filtered("non_local_means", noisy) - true).mean() < np.square(noisy - true).mean()
    for channels in (1, 3):  # a ramp, which would be seen if it were turned
        ramp = np.broadcast_to(np.linspace(0.2, 0.8, 24)[:, None], (2, channels, 24, 24)).astype(np.float32)
        np.testing.assert_allclose(filters.non_local_means(ramp, 0.05), ramp, atol=0.06)
    low = restoration.Options(degrade="lower_resolution", factor=2).degradation
    small = np.stack([low(image, rng) for image in true])
    again = filters.bicubic(small, 2)
    assert np.square(again - true).mean() < np.square(small - true).mean()
