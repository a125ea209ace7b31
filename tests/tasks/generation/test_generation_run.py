"""A whole run of generation on small pictures: what is hidden, judged, written, said, and asked again."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pydicom
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file
from transformers import AutoTokenizer, CLIPImageProcessor, CLIPModel

import medvfm
from medvfm import pipeline
from medvfm.adapters._diffusion.generation import LatentDiffusion
from medvfm.core.errors import RecipeError, WeightsError
from medvfm.core.metric_spec import parse
from medvfm.core.protocols import Points
from medvfm.io.console import SILENT
from medvfm.pipeline import making, planning
from medvfm.tasks.generation import task as generation
from tests.samples import image_text_checkpoints
from tests.samples.trial import rooms

RIVALS = ("untrained", "noise", "gaussian", "gaussian_full", "mean_image")
ANSWERED: list = []  # arrays of every item that was answered
REAL = ("real", "real_blur_1", "real_augmented", "real_and_made")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """96 pictures of 16 px with a bar above or below, bright or dark; 24 of them for testing, of 12 patients."""
    made = rooms.BrightnessStudy(tmp_path_factory.mktemp("study"), 96)
    rng = np.random.default_rng(3)
    for row in made.rows:
        bright, high = int(rng.integers(2)), int(rng.integers(2))
        pixels = rng.normal(60, 6, (16, 16))
        pixels[(slice(2, 6) if high else slice(10, 14)), 2:14] += 120 if bright else 50
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(made.root / row["image"])
        row |= {"bright": bright, "text": f"a {'bright' if bright else 'dark'} bar {'high' if high else 'low'}"}
    made.write()
    return made


def recipe(study, **changes):
    plain = {
        "task": {"name": "generation", "classes": ["bright"], "options": {"extractor_px": 64}},
        "adapter": {
            "name": "latent_diffusion", "weights": "tiny", "method": "full",
            "options": {"condition": "text", "steps": 8, "sweep": {"guidance": [1, 3], "steps": [1, 8]}},
        },
        "prepare": {"size": 16},
        "evaluate": {},
        "train": {"epochs": 3, "steps": 20, "batch_size": 16},
        "baselines": [{"name": name} for name in (*RIVALS, *REAL)],
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
        clip = image_text_checkpoints.write_transformers("clip", tmp_path_factory.mktemp("clip"))
        model = CLIPModel.from_pretrained(clip)
        pictures = [Image.open(study.root / row["image"]).convert("RGB") for row in study.rows[:8]]
        seen = CLIPImageProcessor.from_pretrained(clip)(pictures, return_tensors="pt")
        words = AutoTokenizer.from_pretrained(clip)([row["text"] for row in study.rows[:8]], return_tensors="pt")
        with torch.no_grad():  # or every cosine of these random weights may be negative
            out = model(**words, **seen)
            model.text_projection.weight *= torch.sign((out.image_embeds * out.text_embeds).sum())
        model.save_pretrained(clip)
        options = {"extractor_px": 64, "clip": str(clip)}
        asked = recipe(study, task={"name": "generation", "classes": ["bright"], "options": options})
        return pipeline.run(asked, tmp_path_factory.mktemp("runs") / "run", device="cpu", console=SILENT)


def row(found, metric, target=None, baseline=None, group=None):
    (one,) = (
        r for r in found.record["metrics"]
        if (r["metric"], r["target"], r["baseline"], r["group"]) == (metric, target, baseline, group)
        and r["split"] == "test"
    )  # fmt: skip
    return one


def test_every_set_is_judged_at_equal_n_with_a_jackknife(found):
    for metric in ("fid", "kid"):
        own = row(found, metric)
        assert own["cases"] == 24 and own["patients"] == 12 and "jackknife" in own["method"]
        assert own["low"] <= own["value"] <= own["high"]
        for name in (*RIVALS, *REAL):
            assert row(found, metric, baseline=name)["cases"] == 24
        assert row(found, metric, baseline="real")["value"] < row(found, metric, baseline="real_blur_1")["value"]
    assert row(found, "fid", baseline="real")["value"] < row(found, "fid", baseline="noise")["value"]
    assert row(found, "fid", group="bright=1")["cases"] + row(found, "fid", group="bright=0")["cases"] == 24


def test_what_is_to_be_made_is_hidden_from_who_makes_it(found):
    assert len(ANSWERED) >= 48 and not any("pixels" in arrays for arrays in ANSWERED)


def test_references_are_compared_with_nothing(found):
    compared = {r["baseline"] for r in found.record["metrics"] if r["metric"] == "fid_difference"}
    assert compared == set(RIVALS)


def test_conditions_are_sought_in_made_images_and_in_real_test_images(found):
    real = row(found, "condition_auroc", "bright", "real")
    assert real["value"] > 0.8 and "real test images" in real["note"]
    assert row(found, "condition_auroc", "bright")["positives"] == real["positives"]
    learned = row(found, "usefulness_auroc", "bright", "real")
    assert learned["value"] > 0.8 and "saw 72 images each" in learned["note"] and "mean of 3 seeds" in learned["note"]
    for baseline in (None, "untrained", "real", "real_augmented", "real_and_made"):
        one = row(found, "usefulness_auroc", "bright", baseline)
        assert one["seeds"] == 3 and one["low"] <= one["value"] <= one["high"], baseline
    assert row(found, "usefulness_auroc_difference", "bright", "untrained")["low"] is not None


def test_every_row_comes_out_of_the_files_again(study, found):
    record = found.record
    assert {"generation", "extractor"} <= set(record) and record["extractor"]["comparable"] is False
    arrays = load_file(found.directory / "features.safetensors")
    assert arrays["test/model/made/features"].shape == arrays["test/gaussian/made/features"].shape
    assert "test/model/real/nearest" in arrays
    task = generation.from_record(record["task"])
    tables = task.read_run(found.directory)
    specs = [parse(name, task.metrics) for name in task.default_metrics]
    assert {name for _, name in tables} == {None, *RIVALS, *REAL}
    for _, name in tables:
        whole = tables["test", name]
        for group, sets in {None: whole, **task.views(whole)}.items():
            for e in task.estimands(sets, specs, Points()):
                wanted = row(found, e.metric.name, e.target, name, group)["value"]
                assert e.value == (None if wanted is None else pytest.approx(wanted, abs=1e-9)), (name, group, e.metric)


def test_made_images_are_files_that_say_what_was_asked(found):
    table = pd.read_parquet(found.directory / "predictions.parquet")
    own = table[table["baseline"].isna()]
    assert len(own) == 24 and set(own["split"]) == {"test"}
    assert set(own["truth"]) <= {"a bright bar high", "a bright bar low", "a dark bar high", "a dark bar low"}
    with Image.open(found.directory / own["answer"].iloc[0]) as image:
        assert image.info["prompt"] == own["truth"].iloc[0] and image.size == (16, 16)


def test_the_page_shows_sheets_numbers_neighbours_and_says_what_they_mean(found):
    html = (found.directory / "report.html").read_text()
    words = re.sub(r"<[^>]+>", " ", html).lower()
    for word in ("nearest training", "not comparable", "guidance", "n = 24", "gaussian", "a bright bar"):
        assert word in words, word
    assert not {"None", "nan"} & set(re.sub(r"<[^>]+>", " ", html).split())
    assert html.count("data:image/") >= 8 and len(html) < 3_000_000


def test_a_sweep_of_guidance_gives_rows_and_a_curve(found):
    for value in ("1", "3"):
        swept = row(found, "fid", group=f"guidance={value}")
        assert swept["cases"] == 24 and swept["value"] != row(found, "fid")["value"]
    assert row(found, "condition_auroc", "bright", group="guidance=3")["value"] is not None
    words = re.sub(r"<[^>]+>", " ", (found.directory / "report.html").read_text())
    assert "Guidance scale" in words and "FID against guidance scale" in (found.directory / "report.html").read_text()


def test_a_sweep_of_steps_shows_quality_against_time(found):
    assert row(found, "fid", group="steps=8")["value"] == pytest.approx(row(found, "fid")["value"])
    assert row(found, "kid", group="steps=1")["value"] != row(found, "kid")["value"]
    took = {v["group"]: v for v in found.record["variants"]}
    assert set(took) == {"guidance=1", "guidance=3", "steps=1", "steps=8"}
    assert all(v["cases"] == 24 and v["seconds"] > 0 for v in took.values())
    html = (found.directory / "report.html").read_text()
    assert "FID against steps" in html and "FID against seconds a case" in html and "Seconds a case" in html


def test_a_prompt_and_a_seed_give_one_image(found, tmp_path):
    asked = {"prompt": "a bright bar high", "device": "cpu", "console": SILENT}
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        making.make(found, tmp_path / name, seed=seed, **asked)
    one, again, other = (np.asarray(Image.open(tmp_path / n / "prompt-1.png")) for n in ("one", "again", "other"))
    assert (one == again).all() and (one != other).any()
    info = Image.open(tmp_path / "one" / "prompt-1.png").info
    assert info["prompt"] == "a bright bar high" and info["seed"] == "1" and info["recipe"]
    several = making.make(found, tmp_path / "several", seed=1, count=3, form="png16", **asked)
    assert list(several["seed"]) == [1, 2, 3] and Image.open(tmp_path / "several" / "prompt-3.png").mode == "I;16"


def test_dicom_holds_the_pixels_of_the_picture_and_says_that_nobody_was_examined(found, tmp_path):
    asked = {"prompt": "a bright bar high, größer", "seed": 1, "count": 2, "device": "cpu", "console": SILENT}
    table = making.make(found, tmp_path / "dicom", form="dicom", **asked)
    making.make(found, tmp_path / "png", form="png16", **asked)
    files = [pydicom.dcmread(tmp_path / "dicom" / name) for name in table["file"]]
    for number, file in enumerate(files, 1):
        assert (file.ConversionType, file.SyntheticData, file.Modality) == ("SYN", "YES", "OT")
        assert f"prompt: {asked['prompt']}" in file.ImageComments and f"seed: {number}" in file.ImageComments
        picture = np.asarray(Image.open(tmp_path / "png" / f"prompt-{number}.png"))
        np.testing.assert_array_equal(file.pixel_array, picture)
        again = medvfm.read_image(tmp_path / "dicom" / f"prompt-{number}.dcm")
        np.testing.assert_array_equal(again.voxels.squeeze().T, picture)
    assert len({file.SeriesInstanceUID for file in files}) == 1
    assert len({file.SOPInstanceUID for file in files}) == 2


def test_a_case_of_the_run_is_asked_for_again(found, tmp_path):
    table = pd.read_parquet(found.directory / "predictions.parquet")
    own = table[table["baseline"].isna()].iloc[0]
    made = making.make(found, tmp_path / "like", case=own["case_id"], device="cpu", console=SILENT)
    assert made["prompt"].tolist() == [own["truth"]]
    with pytest.raises(RecipeError, match="no case 'c99'"):
        making.make(found, tmp_path / "none", case="c99", device="cpu", console=SILENT)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"select": {"metric": "fid"}}, "fid cannot select"),
        ({"split": {"folds": 3}}, "one test set"),
        ({"task": {"name": "generation", "classes": ["brigth"]}}, "no class 'brigth'"),
        ({"task": {"name": "generation", "options": {"extractor": "incepton"}}}, "extractor"),
        ({"evaluate": {"few_shot": {}}}, "few cases"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_read(study, changes, words):
    with pytest.raises(RecipeError, match=words):
        planning.plan(recipe(study, **changes))


def test_the_test_images_change_no_weight(study, found, tmp_path, monkeypatch):
    """Other pixels in every test image: the same weights."""
    other = rooms.BrightnessStudy(tmp_path / "study", 96)
    for mine, theirs in zip(other.rows, study.rows, strict=True):
        pixels = np.asarray(Image.open(study.root / theirs["image"]))
        Image.fromarray(255 - pixels if theirs["split"] == "test" else pixels).save(other.root / mine["image"])
        mine |= theirs
    other.write()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    again = pipeline.run(recipe(other, baselines=[]), tmp_path / "run", device="cpu", console=SILENT)
    said = [
        json.loads((r.directory / "weights" / "adapter.json").read_text())["trained_sha256"] for r in (found, again)
    ]
    assert said[0] == said[1]
    assert again.record["metrics"][0]["value"] != found.record["metrics"][0]["value"]


def test_conditions_that_are_held_out_together_train_nothing_and_are_scored_apart(study, tmp_path, monkeypatch):
    rows = [row | {"high": int("high" in row["text"])} for row in study.rows]
    card = study.write("both.csv", rows, layout={"classes": ["bright", "high"]})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    options = {
        "extractor_px": 32, "per_condition": False,
        "held_out": [{"bright": True, "high": True}, {"bright": 0, "site": "A"}, {"bright": True, "site": "Z"}],
    }  # fmt: skip
    asked = recipe(
        study, data={"card": str(card), "root": str(study.root)}, baselines=[{"name": "untrained"}, {"name": "real"}],
        evaluate={"metrics": ["kid", "condition_auroc"]},
        task={"name": "generation", "classes": ["bright", "high"], "options": options},
        train={"epochs": 1, "steps": 2, "batch_size": 8},
    )  # fmt: skip
    learned, begin = [], LatentDiffusion.start_from

    def watched(self, items):
        found = list(items)
        learned.extend(found)
        begin(self, found)

    monkeypatch.setattr(LatentDiffusion, "start_from", watched)
    made = pipeline.run(asked, tmp_path / "run", device="cpu", console=SILENT)
    both = [r for r in rows if r["bright"] and r["high"]]
    dark = [r for r in rows if not r["bright"] and r["site"] == "A"]
    out = {r["case_id"] for r in (*both, *dark)}
    assert learned and not {i.case_id for i in learned} & out
    held = sum(r["split"] != "test" and r["case_id"] in out for r in rows)
    assert any(w.startswith(f"{held} cases of training and validation were held out") for w in made.record["warnings"])
    test = [r for r in rows if r["split"] == "test"]
    group, tested = "held_out=bright+high", [r for r in test if r in both]
    assert row(made, "kid", group=group)["cases"] == len(tested)
    assert row(made, "kid", baseline="real", group=group)["cases"] == len(tested)  # other training images, as many
    for name, other in (("bright", "high"), ("high", "bright")):
        beside = sum(r[other] and not r[name] for r in test)
        for baseline in (None, "untrained", "real"):
            one = row(made, "condition_auroc", name, baseline, group)
            assert one["positives"] == len(tested) and f"beside {beside} images" in one["note"], baseline
    assert row(made, "condition_auroc", "bright", "real", group)["value"] > 0.8
    of_site = row(made, "condition_auroc", "bright", group="held_out=no bright+site A")
    assert of_site["positives"] == sum(r["bright"] and r["site"] == "A" for r in test)
    said = {entry["group"]: entry for entry in made.record["generation"]["held_out"]}
    assert said[group] | {"group": ""} == {
        "group": "", "conditions": {"bright": True, "high": True}, "made": len(tested), "real": len(tested),
    }  # fmt: skip
    assert said["held_out=bright+site Z"]["real"] == 0
    words = re.sub(r"<[^>]+>", " ", (made.directory / "report.html").read_text())
    assert "Bright and high" in words and "no test case has bright and site Z together" in words
    tables = generation.from_record(made.record["task"]).read_run(made.directory)
    again = generation.from_record(made.record["task"]).views(tables["test", None])[group]
    specs = [parse("condition_auroc", generation.METRICS)]
    for e in generation.from_record(made.record["task"]).estimands(again, specs, Points()):
        assert e.value == pytest.approx(row(made, "condition_auroc", e.target, group=group)["value"])


@pytest.mark.parametrize(
    ("held_out", "words"),
    [
        ([{"bright": True}], "two conditions or more"),
        ([{"bright": "yes", "site": "A"}], "bright is a class, and true or false; not 'yes'"),
        ([{"bright": True, "stie": "A"}], "did you mean 'site'"),
        ([["bright", "site"]], "held_out"),
    ],
)
def test_combinations_that_cannot_be_held_out_are_refused(study, held_out, words):
    task = {"name": "generation", "classes": ["bright"], "options": {"held_out": held_out}}
    with pytest.raises(RecipeError, match=words):
        planning.plan(recipe(study, task=task))


def test_clip_score_is_that_of_the_images_and_their_own_words(found):
    """From the files of the run, by transformers' own CLIP."""
    table = pd.read_parquet(found.directory / "predictions.parquet")
    own = table[table["baseline"].isna()]
    weights = found.record["task"]["options"]["clip"]
    model, processor = CLIPModel.from_pretrained(weights), CLIPImageProcessor.from_pretrained(weights)
    tokens = AutoTokenizer.from_pretrained(weights)(list(own["truth"]), padding=True, return_tensors="pt")
    pictures = [Image.open(found.directory / name).convert("RGB") for name in own["answer"]]
    with torch.inference_mode():
        out = model(**tokens, **processor(pictures, return_tensors="pt"))
    cosines = (out.image_embeds * out.text_embeds).sum(1)
    mine = row(found, "clip_score")
    assert mine["value"] == pytest.approx(float(100 * cosines.clamp(min=0).mean()), abs=0.2)
    assert (cosines > 0).all()
    assert mine["low"] <= mine["value"] <= mine["high"] and mine["patients"] == 12
    assert "real test images" in row(found, "clip_score", baseline="real")["note"]
    assert row(found, "clip_score", baseline="noise")["value"] != mine["value"]


@pytest.mark.parametrize("key", ["extractor", "clip"])
def test_weights_that_judge_are_looked_for_before_anything_is_trained(study, tmp_path, key):
    prefix = "dinov2:" if key == "extractor" else ""

    def asked(source):
        return recipe(study, task={"name": "generation", "options": {key: f"{prefix}{source}"}}, baselines=[])

    with pytest.raises(RecipeError, match=f"options.{key}.*no file or folder {tmp_path}/absent"):
        planning.plan(asked(tmp_path / "absent"))
    empty = tmp_path / "empty"
    empty.mkdir()
    planning.plan(asked(empty))  # what a folder holds is seen when it is loaded
    for ask in (
        lambda: pipeline.check(asked(empty), ready=True, device="cpu", console=SILENT),
        lambda: pipeline.run(asked(empty), tmp_path / "run", device="cpu", console=SILENT),
    ):
        with pytest.raises(WeightsError, match=f"task.options.{key}: the folder has no config.json"):
            ask()
    assert not (tmp_path / "run" / "checkpoint").exists()


def test_an_image_to_begin_with_stays_the_more_the_weaker_it_is_made_anew(study, found, tmp_path):
    image = study.root / study.rows[0]["image"]
    given = np.asarray(Image.open(image)).astype(float)
    asked = {"prompt": "a bright bar high", "seed": 1, "device": "cpu", "console": SILENT}
    apart = {}
    for strength in (0.2, 0.6, 1.0):
        table = making.make(found, tmp_path / str(strength), image=image, strength=strength, **asked)
        with Image.open(tmp_path / str(strength) / table["file"][0]) as made:
            apart[strength] = float(np.abs(np.asarray(made) - given).mean())
            assert f"from an image with a strength of {strength:g}" in made.info["how"]
    assert apart[0.2] < apart[0.6] < apart[1.0]
    for wrong, words in (
        ({"strength": 0.5}, "belongs to an image"),
        ({"image": image, "strength": 2}, "strength of 2"),
    ):
        with pytest.raises(RecipeError, match=words):
            making.make(found, tmp_path / "no", **asked, **wrong)
