"""`latent_diffusion` on a Stable Diffusion folder: stored latents, what each method trains, what is written."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from medvfm.adapters import latent_diffusion
from medvfm.core.case import Case
from medvfm.core.errors import RecipeError
from medvfm.core.item import Item
from medvfm.core.recipe_sections import AdapterSettings, Prepare, Train
from medvfm.engine import train
from tests.samples import diffusers_folders

TASK = SimpleNamespace(name="generation", classes=(), images=1, answers="images", kind="images")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "sd"
    diffusers_folders.write(path)
    return path


@pytest.fixture(scope="module")
def items():
    rng = np.random.default_rng(0)
    texts = ("a lesion", "no lesion", "", "age 63")
    return [
        Item(Case(f"c{n}", None, {}, text=text), {"pixels": rng.random((1, 32, 32), np.float32)})
        for n, text in enumerate(texts)
    ]


def built(folder, method, task=TASK, rank=None, alpha=None, **options):
    settings = AdapterSettings(
        name="latent_diffusion",
        weights=str(folder),
        method=method,
        rank=rank,
        alpha=alpha,
        options={"steps": 3, **options},
    )
    latent_diffusion.refuse(settings, [method], Prepare(), task)
    return latent_diffusion.build(settings, task, method, Prepare(), windows={}, read={}, train=Train(), seed=3)


def stored(adapter, items, method):
    towers = {tower: adapter.embed_tower(tower, items) for tower in latent_diffusion.METHODS[method].frozen}
    return [
        Item(item.case, towers={t: {n: v[k].detach().numpy() for n, v in out.items()} for t, out in towers.items()})
        for k, item in enumerate(items)
    ]


def batch_of(adapter, items, seed=0):
    same = lambda pixels, labels: (pixels, labels)  # noqa: E731
    return adapter.collate([adapter.example(i, np.random.default_rng([seed, k]), same) for k, i in enumerate(items)])


@pytest.mark.parametrize("method", ["lora", "full", "full_text"])
@pytest.mark.parametrize("options", [{}, {"min_snr_gamma": 5.0, "offset_noise": 0.1, "dropped": 0.6}])
def test_a_step_on_stored_outputs_is_the_step_on_images_and_texts(folder, items, method, options):
    adapter = built(folder, method, **options)
    adapter.start_from(items)
    adapter.module.train()
    found = []
    for given in (items, stored(adapter, items, method)):
        adapter.module.zero_grad()
        loss = adapter.loss(batch_of(adapter, given))
        loss.backward()
        gradients = [p.grad for p in adapter.module.parameters() if p.grad is not None]
        found.append((float(loss.detach()), torch.cat([g.flatten() for g in gradients])))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("method", "moved"),
    [("lora", {"unet"}), ("full", {"unet"}), ("full_text", {"unet", "text_encoder"})],
)
def test_each_method_trains_its_parts_and_no_other(folder, items, method, moved, tmp_path):
    adapter = built(folder, method)
    adapter.start_from(items)
    assert adapter.module.channels == 1
    ready = stored(adapter, items, method)
    before = {n: w.clone() for n, w in adapter.module.state_dict().items()}
    history = train.fit(
        adapter, lambda epoch: [(batch_of(adapter, ready, k), 4) for k in range(3)], 3, dict,
        train.Settings(epochs=1, learning_rate=1e-3, ema=0.9), select="loss", better="lower", seed=0, device="cpu",
        folder=tmp_path / "checkpoint", say=lambda text: None,
    )  # fmt: skip
    assert history.audit["frozen_moved"] == 0 and history.audit["moved_tensors"] > 0
    changed = {n for n, w in adapter.module.state_dict().items() if not torch.equal(w, before[n])}
    assert {n.partition(".")[0] for n in changed} == moved
    if method == "lora":
        assert all(".lora_" in n for n in changed)
    adapter.save(tmp_path / "run")
    again = built(folder, method)
    again.load(tmp_path / "run")
    asked = [Item(adapter.asked("a lesion"))]
    first, second = (a.make(asked, [[1, 2]])[0] for a in (adapter, again))
    assert first.pixels.shape == (2, 32, 32, 1) and first.asked == "a lesion"
    np.testing.assert_allclose(first.pixels, second.pixels, atol=1e-5)
    record = adapter.record()
    assert {t["role"] for t in record["towers"] if t["trained"]} == {
        {"unet": "denoiser", "text_encoder": "text"}[part] for part in moved
    }
    assert record["prediction"] == "epsilon" and record["scaling_factor"] == pytest.approx(0.18215)


@pytest.mark.parametrize("vectors", [1, 3])
def test_a_learned_word_is_trained_alone_and_diffusers_loads_it(folder, items, vectors, tmp_path):
    options = {"token": "<scan>", "vectors": vectors, "start": "no lesion", "guidance": 3.0}
    adapter = built(folder, "textual_inversion", **options)
    adapter.start_from(items)
    ready = stored(adapter, items, "textual_inversion")
    before = {n: w.clone() for n, w in adapter.module.state_dict().items()}
    train.fit(
        adapter, lambda epoch: [(batch_of(adapter, ready, k), 4) for k in range(3)], 3, dict,
        train.Settings(epochs=1, learning_rate=0.1, weight_decay=0.0), select="loss", better="lower", seed=0,
        device="cpu", folder=tmp_path / "checkpoint", say=lambda text: None,
    )  # fmt: skip
    changed = [n for n, w in adapter.module.state_dict().items() if not torch.equal(w, before[n])]
    assert len(changed) == 1 and changed[0].endswith("token_embedding.learned")
    adapter.save(tmp_path / "run")
    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_textual_inversion(str(tmp_path / "run" / "learned_embeds.safetensors"))
    adapter.module.channels = 3
    asked = [Item(adapter.asked("a lesion"))]
    own = adapter.make(asked, [[5]])[0].pixels
    theirs = pipeline(
        ["<scan> a lesion"], num_inference_steps=3, guidance_scale=3.0, output_type="np",
        generator=[torch.Generator().manual_seed(5)],
    ).images  # fmt: skip
    np.testing.assert_allclose(own, theirs, atol=5e-4)
    again = built(folder, "textual_inversion", **options)
    again.load(tmp_path / "run")
    again.module.channels = 3
    np.testing.assert_allclose(again.make(asked, [[5]])[0].pixels, own, atol=1e-5)


def test_half_precision_gives_nearly_the_same_loss(folder, items):
    adapter = built(folder, "lora")
    adapter.start_from(items)
    batch = batch_of(adapter, stored(adapter, items, "lora"))
    full = adapter.loss(batch)
    with torch.autocast("cpu", torch.bfloat16):
        half = adapter.loss(batch)
    half.backward()
    assert half.dtype == torch.float32 and float(half.detach()) == pytest.approx(float(full.detach()), rel=0.03)


def test_published_weights_answer_as_they_are(folder):
    adapter = built(folder, "zero_shot")
    (answer,) = adapter.answer([Item(Case("c", None, {}, text="a lesion"))])
    assert answer.pixels.shape == (1, 32, 32, 3) and not any(p.requires_grad for p in adapter.module.parameters())
    assert adapter.record()["said"]["subject"].endswith("without any training,")


def test_classes_are_asked_for_in_words(folder, items):
    task = SimpleNamespace(**{**vars(TASK), "classes": ("lesion",)})
    adapter = built(folder, "lora", task)
    adapter.start_from([Item(Case("a", None, {}, targets={"lesion": n}), items[n].arrays) for n in (0, 1)])
    asked = Item(Case("b", None, {}, targets={"lesion": 1.0}))
    words = adapter.make([asked], [[1]])[0]
    with torch.no_grad():
        read = adapter.embed_tower("text", [asked])["read"]
        torch.testing.assert_close(read, adapter.module.read_texts(["lesion"]))
    assert words.asked == "lesion"


def test_several_stages_go_on_from_each_other(folder, items):
    adapter = built(folder, "lora", rank=2)
    adapter.start_from(items)
    with torch.no_grad():
        for name, parameter in adapter.module.named_parameters():
            if ".lora_B" in name:
                parameter.add_(0.1)
    before = adapter.make([Item(items[0].case)], [[1]])[0].pixels
    adapter.start_stage("full", {})
    np.testing.assert_allclose(adapter.make([Item(items[0].case)], [[1]])[0].pixels, before, atol=1e-4)
    assert all(p.requires_grad for p in adapter.module.unet.parameters())


def test_texts_that_are_too_long_are_counted(folder, items):
    adapter = built(folder, "lora")
    long = Item(Case("l", None, {}, text="a very long report of a lesion"), items[0].arrays)
    adapter.start_from([*items, long])
    for item in (*items, long, long):
        adapter.tower_text("text", item.case)
    assert adapter.record()["texts"] == {"read": 4, "cut": 1}


def test_a_method_that_scratch_cannot_take_is_refused():
    with pytest.raises(RecipeError, match=r"adapter.method"):
        built("tiny", "lora")
