"""Runs of the adapter llava on a small study: what each stage trains, saves and answers; its baselines."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch

import medvfm
from medvfm import pipeline
from medvfm.adapters import llava
from medvfm.adapters._llava.closed_probe import ClosedProbe
from medvfm.adapters._llava.conversations import Conversations, counted_once
from medvfm.core.case import Case
from medvfm.core.errors import DataError, MedvfmError, RecipeError
from medvfm.engine.weight_audit import FrozenMoved
from medvfm.io import cache
from medvfm.io.console import SILENT
from medvfm.models.language.connectors import Connector
from medvfm.models.language.image_language import ImageLanguageModel
from medvfm.models.language.load import load_language_model
from medvfm.nn import state
from medvfm.pipeline import planning
from medvfm.report import page
from medvfm.tasks.question_answering.task import QuestionAnsweringTask
from tests.samples.question_studies import STAGES, QuestionStudy

BASELINES = [{"name": "majority"}, {"name": "blind"}, {"name": "align"}, {"name": "probe"}, {"name": "shuffled"}]


@pytest.fixture
def study(tmp_path):
    return QuestionStudy(tmp_path / "study")


@pytest.fixture(autouse=True)
def numbers_alone(monkeypatch):
    """No report and no pictures of cases, which take longer than these runs."""
    monkeypatch.setattr(page, "render", lambda directory: None)
    monkeypatch.setattr(QuestionAnsweringTask, "pictures", lambda *_: {})


def run(recipe, out, **options):
    return pipeline.run(recipe, out, device="cpu", console=SILENT, **options)


def answers(found, baseline=None):
    table = pd.read_parquet(found.directory / "predictions.parquet")
    own = table[
        (table["split"] == "test") & (table["baseline"].isna() if baseline is None else table["baseline"] == baseline)
    ]
    return own.drop_duplicates("case_id").set_index("case_id")["answer"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of both stages with every baseline."""
    folder = tmp_path_factory.mktemp("llava")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "render", lambda directory: None)
        patch.setattr(QuestionAnsweringTask, "pictures", lambda *_: {})
        study = QuestionStudy(folder / "study")
        options = {"permutations": 2}
        task = {"name": "question_answering", "options": options}
        return study, run(study.recipe(baselines=BASELINES, task=task), folder / "run")


def test_both_stages_move_what_they_should_and_nothing_else(whole):
    _, found = whole
    align, instruct = (stage["audit"] for stage in found.record["training"]["stages"])
    for audit in (align, instruct):
        assert audit["frozen_moved"] == 0 and audit["moved_tensors"] == audit["trained_tensors"]
    language = load_language_model("tiny", seed=1)
    assert align["trained_tensors"] == 7  # standardisation, two layers, scale
    assert instruct["trained_tensors"] == 7 + 2 * 2 * 4  # A and B of q, k, v, o in two blocks
    assert instruct["frozen_tensors"] >= len(list(language.parameters()))
    roles = {t["role"]: (t["trained"], bool(t["sha256"])) for t in found.record["model"]["towers"]}
    assert roles == {"vision": (False, True), "language": (True, True)}


def test_every_baseline_has_its_rows_and_differences(whole):
    _, found = whole
    rows = {
        (r["metric"], r["group"], r["baseline"]): r["value"] for r in found.record["metrics"] if r["split"] == "test"
    }
    for name in ("majority", "blind", "align", "probe", "shuffled"):
        for group in (None, "question_type=disc", "question_type=bar"):
            own, other = rows["closed_accuracy", group, None], rows["closed_accuracy", group, name]
            assert rows["closed_accuracy_difference", group, name] == pytest.approx(own - other)


def test_blind_answers_each_question_alike(whole):
    _, found = whole
    told = answers(found, "blind")
    for kind in ("disc", "bar"):
        assert told[told.index.str.endswith(kind)].nunique() == 1
    assert found.record["baselines"]["blind"]["blind"] is True


def test_the_probe_reads_what_the_encoder_sees(whole):
    _, found = whole
    rows = {
        (r["group"], r["baseline"]): r["value"] for r in found.record["metrics"] if r["metric"] == "closed_accuracy"
    }
    assert rows["question_type=bar", "probe"] >= 0.7


def test_the_probe_encodes_nothing_that_the_model_has_encoded(study, tmp_path, monkeypatch):
    encoded = []
    embed = ClosedProbe.embed
    monkeypatch.setattr(ClosedProbe, "embed", lambda self, batch: encoded.append(batch) or embed(self, batch))
    recipe = study.recipe(STAGES[1:], baselines=[{"name": "probe"}])
    shared = run(recipe, tmp_path / "shared")
    assert not encoded
    cache.clear("features")
    apart = run(recipe, tmp_path / "apart")
    assert encoded
    assert answers(shared, "probe").equals(answers(apart, "probe"))


def test_a_run_answers_again_what_it_answered(whole):
    study, found = whole
    known = answers(found)
    for case_id in (known.index[0], known.index[-1]):
        row = next(r for r in study.rows if r["case_id"] == case_id)
        told = medvfm.predict(
            found.directory,
            [study.root / row["image"]],
            question=row["question"],
            device="cpu",
            console=SILENT,
        )
        assert told["answer"][0] == known[case_id]


def test_a_projector_begins_with_what_is_said_about_training_images(study, tmp_path, monkeypatch):
    told = []
    start_from = Connector.start_from

    def seen(self, images, said, seed):
        told.extend(said)
        start_from(self, images, said, seed)

    monkeypatch.setattr(Connector, "start_from", seen)
    options = {"connector": "prefix", "start": "said"}
    found = run(study.recipe(STAGES[1:], adapter={"options": options}, baselines=[{"name": "blind"}]), tmp_path / "run")
    table = pd.read_parquet(found.directory / "predictions.parquet")
    elsewhere = set(table[table["split"].isin(["val", "test"])]["case_id"])
    training = [row for row in study.rows if row["case_id"] not in elsewhere]
    assert len(told) == len({row["image"] for row in training})  # once, and blind never
    assert {row["question"] for row in training} <= {question for said in told for question, _ in said}


def test_low_rank_updates_lie_in_the_format_of_peft_with_the_projector_beside_them(whole):
    from peft import PeftModel

    _, found = whole
    folder = found.directory / "weights"
    plain = load_language_model("tiny", seed=1)
    ids = torch.tensor([[5, 6, 7]])
    before = plain.backbone(input_ids=ids).logits
    loaded = PeftModel.from_pretrained(plain.backbone, str(folder / "lora"))
    assert not torch.equal(loaded(input_ids=ids).logits, before)
    assert {n.split(".")[0] for n in state.read(folder / "model.safetensors")} == {"projector"}


def test_a_projector_frozen_by_mistake_and_a_language_model_that_moves_are_caught(study, tmp_path, monkeypatch):
    loss, projected = ImageLanguageModel.loss, ImageLanguageModel._projected

    def detached(self, images):
        return [vectors.detach() for vectors in projected(self, images)]

    with monkeypatch.context() as patch:
        patch.setattr(ImageLanguageModel, "_projected", detached)
        with pytest.raises(MedvfmError, match="should be trained did not move"):
            run(study.recipe(STAGES[1:]), tmp_path / "frozen")

    def moving(self, given, weights=None):
        with torch.no_grad():
            next(self.language.parameters()).add_(1e-3)
        return loss(self, given, weights)

    monkeypatch.setattr(ImageLanguageModel, "loss", moving)
    with pytest.raises(FrozenMoved, match="frozen weights moved in the first step: language"):
        run(study.recipe(STAGES[:1]), tmp_path / "moved")


def test_a_language_model_tuned_in_full_is_kept_in_full(study, tmp_path):
    found = run(study.recipe(STAGES[1:], adapter={"options": {"tune": "full"}}), tmp_path / "run")
    kept = state.read(found.directory / "weights" / "model.safetensors")
    assert any(n.startswith("language.") for n in kept)
    known = answers(found)
    row = next(r for r in study.rows if r["case_id"] == known.index[0])
    told = medvfm.predict(
        found.directory, [study.root / row["image"]], question=row["question"], device="cpu", console=SILENT
    )
    assert told["answer"][0] == known.iloc[0]


@pytest.mark.parametrize(
    ("changes", "stages", "said"),
    [
        ({"weights": None, "options": {"vision": "tiny"}}, None, "a model of parts lacks its language"),
        ({"weights": "org/llava", "options": {"vision": "tiny", "language": "tiny"}}, None, "of its own"),
        ({}, [{"method": "zero_shot"}], "the projector is random"),
        ({"rank": 4, "options": {"tune": "full"}}, None, "tune full has no use for 'rank'"),
        ({"options": {"blind": True}}, None, "blind sees none"),
        ({"options": {"connector": "mpl"}}, None, "the option 'connector' of llava"),
        ({"options": {"start": "said"}}, None, "the connector prefix alone can begin with"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(study, changes, stages, said):
    with pytest.raises(RecipeError, match=said):
        planning.plan(study.recipe(stages, adapter=changes))


def test_blind_may_be_trained_for_less(study):
    planned = planning.plan(study.recipe(baselines=[{"name": "blind", "train": {"epochs": 7}}]))
    own, blind = planned.model.stages[-1].settings, planned.baselines["blind"].stages[-1].settings
    assert blind == {**own, "epochs": 7} and own["epochs"] != 7
    with pytest.raises(RecipeError, match="majority has no use for 'train'"):
        planning.plan(study.recipe(baselines=[{"name": "majority", "train": {"epochs": 7}}]))


def test_the_first_stage_alone_is_a_baseline_of_two_stages(study):
    with pytest.raises(RecipeError, match="the baseline align is the model after a first stage"):
        planning.plan(study.recipe(STAGES[1:], baselines=[{"name": "align"}]))


def test_cases_without_what_is_trained_on_are_named():
    said, rng = Conversations("Answer in one word."), np.random.default_rng(0)
    with pytest.raises(DataError, match="c1 has no text, and align trains on captions"):
        said.caption(Case("c1", None, {}), rng)
    with pytest.raises(DataError, match="c2 has no answer to train on"):
        said.answered(Case("c2", None, {}, question="Why?", text="a report"))
    assert said.answered(Case("c3", None, {}, text="No lesion."))[0].answer == "No lesion."
    assert said.asked(Case("c4", None, {}, question="Why?"))[0].question == "Why? Answer in one word."


def test_the_same_is_asked_once():
    rows, places = counted_once(["a", "b", "a", "c", "b"])
    assert rows == [0, 1, 3] and places == [0, 1, 0, 2, 1]


def test_methods_and_defaults_are_those_of_llava_med():
    settings = llava.training("instruct", "llava-hf/llava-1.5-7b-hf", type("T", (), {"given": lambda self: {}})())
    assert settings["learning_rate"] == 2e-5 and settings["epochs"] == 3
    assert settings["batch_size"] * settings["accumulate"] == 128
    assert json.dumps(settings)
