"""Runs of generation on volumes: from NIfTI files to NIfTI files, judged by slices of three planes, and refusals."""

from __future__ import annotations

import re

import nibabel
import numpy as np
import pytest
from PIL import Image as Picture

from medvfm import pipeline
from medvfm.core.errors import RecipeError
from medvfm.core.image import Image
from medvfm.io.console import SILENT
from medvfm.io.writers.nifti import write_nifti
from medvfm.pipeline import making, planning
from tests.samples.trial import rooms

SPACING = (2.0, 1.5, 1.5)
SIZE = (16, 16, 16)
REAL = ("real", "real_blur_1", "real_augmented")
STABLE = "stable-diffusion-v1-5/stable-diffusion-v1-5"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """60 volumes with a block that is bright or dark, in the upper half or in the lower one; 15 for testing."""
    made = rooms.BrightnessStudy(tmp_path_factory.mktemp("volumes"), 60)
    rng = np.random.default_rng(4)
    for row in made.rows:
        bright, high = int(rng.integers(2)), int(rng.integers(2))
        voxels = rng.normal(60, 6, (18, 18, 14))
        voxels[4:14, 5:13, 7 * high + 1 : 7 * high + 5] += 120 if bright else 50
        row["image"] = row["image"].replace(".png", ".nii.gz")
        affine = np.diag([-SPACING[2], -SPACING[1], SPACING[0], 1.0])
        write_nifti(Image(voxels.clip(0, 255).astype(np.float32), affine), made.root / row["image"])
        row |= {"bright": bright, "text": f"a {'bright' if bright else 'dark'} block {'high' if high else 'low'}"}
    made.write()
    return made


def recipe(study, **changes):
    plain = {
        "task": {"name": "generation", "classes": ["bright"], "options": {"extractor_px": 32}},
        "adapter": {
            "name": "latent_diffusion", "weights": "tiny", "method": "full",
            "options": {"condition": "text", "steps": 4},
        },
        "prepare": {"size": list(SIZE), "spacing": list(SPACING), "windows": [0, 255]},
        "evaluate": {},
        "train": {"epochs": 2, "steps": 20, "batch_size": 16},
        "baselines": [{"name": name} for name in ("untrained", "noise", "gaussian_full", *REAL)],
    }  # fmt: skip
    return study.recipe(**(plain | changes))


@pytest.fixture(scope="module")
def found(study, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        rooms.open_rooms(patch)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return pipeline.run(recipe(study), tmp_path_factory.mktemp("runs") / "run", device="cpu", console=SILENT)


def value(found, metric, baseline=None):
    rows = found.record["metrics"]
    (one,) = (r for r in rows if r["metric"] == metric and r["baseline"] == baseline and r["group"] is None)
    return one["value"]


def test_a_number_that_nobody_has_is_no_column_and_what_has_no_better_way_no_arrow(found):
    page = (found.directory / "report.html").read_text()
    head = re.search(r'<table class="sets">.*?</thead>', page, re.DOTALL).group()
    names = [" ".join(re.sub("<[^>]+>", "", cell).split()) for cell in re.findall(r"<th.*?</th>", head, re.DOTALL)]
    assert "FID ↓" in names and "Nearest ratio" in names and "Singled out ↓" in names
    assert not any("eidentified" in name for name in names)  # no verification model was named


def test_several_volumes_a_condition_are_not_said_to_be_as_many_as_real_ones(study, tmp_path, monkeypatch):
    rooms.open_rooms(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    several = {"name": "generation", "classes": ["bright"], "options": {"extractor_px": 32, "images": 2}}
    asked = recipe(study, task=several, evaluate={"metrics": ["fid"]}, baselines=[{"name": "real"}])
    run = pipeline.run(asked, tmp_path / "run", device="cpu", console=SILENT)
    real = run.record["generation"]["real"]
    words = " ".join(re.sub(r"<[^>]+>", " ", (run.directory / "report.html").read_text()).split())
    assert f"{2 * real} made images lie, beside {real} real test images" in words


def test_every_number_of_pictures_is_there_for_volumes(found):
    for metric in ("fid", "kid", "precision", "ms_ssim", "nearest_ratio", "condition_auroc", "usefulness_auroc"):
        assert np.isfinite(value(found, metric)), metric
    assert value(found, "fid", "real") < value(found, "fid", "real_blur_1") < value(found, "fid", "noise")
    assert value(found, "fid") < value(found, "fid", "noise")
    assert "5 sagittal" in found.record["extractor"]["of_volumes"]
    assert found.record["model"]["size_px"] == list(SIZE) and found.record["model"]["spacing_mm"] == list(SPACING)


def test_made_volumes_are_files_that_any_program_reads(found):
    files = sorted((found.directory / "images").iterdir())
    assert len(files) == value_count(found) and all(f.name.endswith(".nii.gz") for f in files)
    image = nibabel.load(files[0])
    assert image.shape == SIZE[::-1] and image.header.get_zooms() == SPACING[::-1]
    assert "prompt: a " in image.header.extensions[0].get_content().decode()
    voxels = image.get_fdata()
    assert 0 <= voxels.min() < voxels.max() <= 1
    assert not voxels[..., 0].any() or voxels[..., 0].mean() < voxels[..., 8].mean()


def value_count(found):
    (one,) = (r for r in found.record["metrics"] if r["metric"] == "fid" and r["baseline"] is None and not r["group"])
    return one["cases"]


def test_the_page_shows_three_planes_and_says_how_volumes_were_seen(found):
    page = (found.directory / "report.html").read_text()
    assert "Volumes were resampled to 2 × 1.5 × 1.5 mm and cut or filled to 16 × 16 × 16 voxels" in page
    assert "Of each volume the axial, coronal and sagittal slice in the middle" in page
    assert "blurred by 1 voxel" in page and "all voxels together" in page and "voxel by voxel" in page
    assert "Made image above, training image below" in page and " px" not in page.partition("All results")[0][-200_000:]
    sheet = found.record["generation"]["sheets"][0]["made"]
    width, height = Picture.open(found.directory / sheet).size
    assert width > 2 * height or found.record["generation"]["sheets"][0]["images"] > 2


def test_a_prompt_gives_the_same_volume_again_and_begins_with_a_volume(found, study, tmp_path):
    def made(name, **more):
        table = making.make(found, tmp_path / name, prompt="a bright block high", device="cpu", console=SILENT, **more)
        return nibabel.load(tmp_path / name / table["file"][0]).get_fdata()

    one = made("one", seed=1)
    assert np.array_equal(one, made("again", seed=1)) and not np.array_equal(one, made("other", seed=2))
    start = study.root / study.rows[0]["image"]
    near = made("near", seed=1, image=start, strength=0.25)
    voxels = nibabel.load(start).get_fdata() / 255
    inside = near[:, :, 1:15]  # 18 x 18 x 14 voxels in 16 x 16 x 16
    like = [np.corrcoef(x.ravel(), voxels[1:17, 1:17].ravel())[0, 1] for x in (inside, one[:, :, 1:15])]
    assert like[0] > like[1]
    with pytest.raises(RecipeError, match="a volume was made, and png holds none"):
        made("png", form="png")


def test_monais_networks_make_volumes_from_nifti_to_nifti(study, tmp_path, monkeypatch):
    rooms.open_rooms(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    step = {"epochs": 1, "steps": 2, "batch_size": 4}
    changed = [{"name": "RandomHorizontalFlip"}, {"name": "ColorJitter", "brightness": 0.1}]
    own = {
        "name": "latent_diffusion", "weights": "monai", "options": {"width": 16, "steps": 2},
        "stages": [{"method": "autoencoder", "train": step | {"augment": changed}}, {"method": "full", "train": step}],
    }  # fmt: skip
    asked = recipe(
        study,
        adapter=own,
        train={},
        evaluate={"metrics": ["kid", "condition_auroc"]},
        baselines=[{"name": "untrained"}],
    )
    run = pipeline.run(asked, tmp_path / "run", device="cpu", console=SILENT)
    assert run.record["model"]["latent_shape"] == [3, 4, 4, 4] and run.record["model"]["scaling_factor"] != 1
    table = making.make(run, tmp_path / "made", prompt="bright", seed=1, device="cpu", console=SILENT)
    assert nibabel.load(tmp_path / "made" / table["file"][0]).shape == SIZE[::-1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prepare": {"size": list(SIZE)}}, "prepare.spacing: volumes are made on one grid"),
        ({"prepare": {"size": 16, "spacing": [2.0]}}, "pictures are fitted into prepare.size, and have no spacing"),
        ({"prepare": {"size": [16, 16, 16, 16], "spacing": [2.0]}}, "images of size"),
        ({"prepare": {"size": [16, 16, 4], "spacing": [2.0]}}, "images of size"),
        ({"prepare": {"size": list(SIZE), "spacing": [2.0, 1.0]}}, "volumes are made on one grid"),
        ({"prepare": {"size": [2000, 2000, 2000], "spacing": [2.0]}}, "2000 × 2000 × 2000 hold more than 67,108,864"),
        (
            {"prepare": {"size": list(SIZE), "spacing": [2.0], "windows": [[0, 1], [0, 2], [0, 3]]}},
            "prepare.windows: volumes are gray",
        ),
        (
            {
                "prepare": {"size": [16, 20, 16], "spacing": [2.0]},
                "adapter": {
                    "name": "latent_diffusion", "weights": "monai",
                    "stages": [{"method": "autoencoder"}, {"method": "full"}],
                },
                "train": {},
            },
            "prepare.size: MONAI's networks do not take sides of 16 × 20 × 16; take multiples of 16",
        ),
        ({"prepare": {"size": list(SIZE), "spacing": [2.0], "slices": {"axis": "coronal"}}}, "no slices of it"),
        (
            {"adapter": {"name": "latent_diffusion", "weights": "pixels", "method": "full"}},
            "pixels makes pictures, and three sizes are those of a volume; take weights: tiny or monai",
        ),
        (
            {"adapter": {"name": "latent_diffusion", "weights": STABLE, "method": "lora"}},
            "makes pictures, and three sizes",
        ),
        (
            {
                "task": {"name": "restoration", "options": {"degrade": "gaussian"}},
                "adapter": {"name": "latent_diffusion", "weights": "tiny", "method": "restore"},
                "baselines": [],
            },
            "restore works on pictures, not on volumes",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_volumes_is_refused_before_anything_is_read(study, changes, message, monkeypatch):
    rooms.open_rooms(monkeypatch)
    with pytest.raises(RecipeError, match=message):
        planning.plan(recipe(study, **changes))
