"""Runs of the adapter llava on published families taken whole: what is trained, saved and answered."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

import medvfm
from medvfm import pipeline
from medvfm.core.errors import MedvfmError, RecipeError
from medvfm.core.recipe_sections import Prepare
from medvfm.engine.weight_audit import FrozenMoved
from medvfm.io.console import SILENT
from medvfm.models.inputs.shown_pictures import ShownPictures, as_pillow
from medvfm.models.language.from_image_text import ImageTextModel
from medvfm.nn import state
from medvfm.pipeline import planning
from medvfm.report import page
from medvfm.tasks.question_answering.task import QuestionAnsweringTask
from tests.samples.question_studies import QuestionStudy
from tests.samples.talking_checkpoints import FAMILIES

TRAIN = {"epochs": 1, "batch_size": 8, "learning_rate": 3e-3, "accumulate": 1, "warmup": 0.0}


@pytest.fixture(autouse=True)
def numbers_alone(monkeypatch):
    """No report and no pictures of cases, which take longer than these runs."""
    monkeypatch.setattr(page, "render", lambda directory: None)
    monkeypatch.setattr(QuestionAnsweringTask, "pictures", lambda *_: {})


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("qwen")
    FAMILIES["qwen2_vl"](folder)
    return str(folder)


def recipe(study, weights, stages=None, rank=2, **changes):
    options = {"connector": "mlp", "grid": 2, "template": "chat", "answer_tokens": 4} | changes.pop("options", {})
    return study.recipe(
        stages or [{"method": "instruct", "train": TRAIN}],
        adapter={"weights": weights, "options": options} | ({"rank": rank} if rank else {}),
        prepare={},
        **changes,
    )


def run(made, out):
    return pipeline.run(made, out, device="cpu", console=SILENT)


def test_a_run_trains_the_language_model_alone_and_answers_again_what_it_answered(qwen, tmp_path):
    study = QuestionStudy(tmp_path / "study", 16)
    found = run(recipe(study, qwen, baselines=[{"name": "blind"}]), tmp_path / "run")
    audit = found.record["training"]["audit"]
    assert audit["trained_tensors"] == audit["moved_tensors"] == 2 * 4 * 2 and audit["frozen_moved"] == 0
    model = found.record["model"]
    assert model["family"] == "qwen2_vl" and "You are a helpful assistant." in model["chat"]["begins"]
    assert {t["role"]: t["trained"] for t in model["towers"]} == {"vision": False, "language": True}
    kept = state.read(found.directory / "weights" / "lora" / "adapter_model.safetensors")
    assert len(kept) == 16 and all("language_model" in name for name in kept)
    table = pd.read_parquet(found.directory / "predictions.parquet")
    own = table[(table["split"] == "test") & table["baseline"].isna()].drop_duplicates("case_id").set_index("case_id")
    row = next(r for r in study.rows if r["case_id"] == own.index[0])
    told = medvfm.predict(
        found.directory, [study.root / row["image"]], question=row["question"], device="cpu", console=SILENT
    )
    assert told["answer"][0] == own["answer"].iloc[0]


def test_a_vision_encoder_that_moves_is_caught(qwen, tmp_path, monkeypatch):
    loss = ImageTextModel.loss

    def moving(self, inputs, tokens):
        with torch.no_grad():
            next(p for n, p in self.inner.named_parameters() if "visual" in n).add_(1e-3)
        return loss(self, inputs, tokens)

    monkeypatch.setattr(ImageTextModel, "loss", moving)
    with pytest.raises(FrozenMoved, match=r"frozen weights moved in the first step: .*visual"):
        run(recipe(QuestionStudy(tmp_path / "study", 12), qwen), tmp_path / "run")


@pytest.mark.parametrize(
    ("stages", "options", "said"),
    [
        ([{"method": "align", "train": TRAIN}], {}, "align trains a projector, and that of qwen2_vl"),
        (None, {"tune": "full"}, "qwen2_vl is tuned by LoRA alone"),
    ],
)
def test_what_is_not_trained_is_refused(qwen, tmp_path, stages, options, said):
    study = QuestionStudy(tmp_path / "study", 12)
    made = recipe(study, qwen, stages, rank=None, options=options)
    with pytest.raises(MedvfmError, match=said):
        run(made, tmp_path / "run")


def test_a_probe_of_a_model_that_is_taken_whole_is_refused_before_anything_is_read(qwen, tmp_path):
    study = QuestionStudy(tmp_path / "study", 12)
    with pytest.raises(RecipeError, match="the baseline probe reads the encoders of LLaVA-type models alone"):
        planning.plan(recipe(study, qwen, baselines=[{"name": "probe"}]))


def test_three_windows_become_the_colours_of_a_slice():
    import numpy as np

    from medvfm.core.image import Image

    windows = ((-1024, 1024), (-135, 215), (0, 80))
    voxels = np.zeros((6, 5, 4), np.float32)
    voxels[..., 1], voxels[..., 2], voxels[..., 3] = 40, -135, 215
    image = Image(voxels, np.eye(4), "HU", True)
    prepare = Prepare.model_validate({"windows": windows, "slices": {"count": 4, "span": [0, 1]}})
    shown = ShownPictures(prepare).arrays([image], None)
    expected = [[round(255 * min(1, max(0, (hu - a) / (b - a)))) for a, b in windows] for hu in (0, 40, -135, 215)]
    assert shown["pixels"].shape[:2] == (4, 3)
    assert [list(map(int, s[:, 0, 0])) for s in shown["pixels"]] == expected
    apart = ShownPictures(prepare, apart=True).arrays([image], None)
    assert apart["pixels"].shape[:2] == (12, 1) and list(apart["pixels"][:, 0, 0, 0]) == [
        value for picture in expected for value in picture
    ]
    assert ShownPictures(prepare, apart=True).key() != ShownPictures(prepare).key()
    assert as_pillow(shown)[1].getpixel((0, 0)) == tuple(expected[1])
