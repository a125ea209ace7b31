"""ControlNet and inpainting: against diffusers' own pipelines, what stays and what is filled, what is trained."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline, StableDiffusionInpaintPipeline
from PIL import Image as pillow
from scipy import ndimage

from medvfm.adapters import latent_diffusion
from medvfm.core.case import Case
from medvfm.core.degradation import Degradation
from medvfm.core.errors import RecipeError
from medvfm.core.image import Image
from medvfm.core.item import Item
from medvfm.core.recipe_sections import AdapterSettings, Prepare, Stage, Train
from medvfm.engine import train
from tests.samples import diffusers_folders

TASK = SimpleNamespace(name="generation", classes=(), images=1, answers="images", kind="images")


@pytest.fixture(scope="module", params=[4, 9], ids=["plain", "inpainting"])
def folder(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "sd"
    diffusers_folders.write(path, channels=request.param)
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "sd"
    diffusers_folders.write(path)
    return path


@pytest.fixture(scope="module")
def items():
    rng = np.random.default_rng(0)
    found = []
    for n in range(3):
        pixels, mask = rng.random((1, 32, 32), np.float32), np.zeros((1, 32, 32), np.float32)
        mask[:, 8 : 16 + 4 * n, 8:24] = 1
        around = np.where(mask > 0, np.float32(0.5), pixels)
        found.append(Item(Case(f"c{n}", None, {}, text="a lesion"), {"pixels": pixels, "mask": mask, "around": around}))
    return found


def hidden(item):
    return Item(item.case, {name: a for name, a in item.arrays.items() if name != "pixels"})


def built(folder, method, **options):
    settings = AdapterSettings(
        name="latent_diffusion", weights=str(folder), method=method, options={"steps": 4, "guidance": 3.0, **options}
    )
    latent_diffusion.refuse(settings, [method], Prepare(), TASK)
    return latent_diffusion.build(settings, TASK, method, Prepare(), windows={}, read={}, train=Train(), seed=3)


def unchanged(pixels, labels):
    return pixels, labels


def batch_of(adapter, items):
    return adapter.collate([adapter.example(i, np.random.default_rng([1, k]), unchanged) for k, i in enumerate(items)])


def trained(adapter, items, folder, steps=4):
    """The audit, after a few steps on stored outputs, which must give the loss that images give."""
    adapter.start_from(items)
    towers = {tower: adapter.embed_tower(tower, items) for tower in ("autoencoder", "text")}
    ready = [
        Item(i.case, towers={t: {n: v[k].detach().numpy() for n, v in out.items()} for t, out in towers.items()})
        for k, i in enumerate(items)
    ]
    adapter.module.train()
    losses = [float(adapter.loss(batch_of(adapter, given)).detach()) for given in (items, ready)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    return train.fit(
        adapter, lambda epoch: [(batch_of(adapter, ready), len(ready))] * steps, steps, dict,
        train.Settings(epochs=1, learning_rate=1e-3, warmup=0.0), select="loss", better="lower", seed=0, device="cpu",
        folder=folder, say=lambda text: None,
    ).audit  # fmt: skip


def test_a_controlnet_is_trained_alone_and_steers_as_in_diffusers(plain, items, tmp_path):
    adapter = built(plain, "controlnet")
    before = adapter.make([hidden(items[0])], [[5]])[0].pixels
    base = {n: w.clone() for n, w in adapter.module.unet.state_dict().items()}
    audit = trained(adapter, items, tmp_path / "checkpoint")
    assert audit["still_tensors"] == 0 and audit["frozen_moved"] == 0
    assert all(torch.equal(w, base[n]) for n, w in adapter.module.unet.state_dict().items())
    with torch.no_grad():  # a few steps from zero are faint: made plain
        for name, parameter in adapter.module.controlnet.named_parameters():
            if "controlnet_" in name:
                parameter.mul_(300)
    adapter.module.channels = 3
    after = adapter.make([hidden(items[0])], [[5]])[0].pixels
    assert np.abs(after - before).max() > 1e-3
    adapter.save(tmp_path / "run")
    net = ControlNetModel.from_pretrained(tmp_path / "run" / "controlnet")
    pipeline = StableDiffusionControlNetPipeline.from_pretrained(plain, controlnet=net)
    pipeline.set_progress_bar_config(disable=True)
    hint = torch.from_numpy(items[0].arrays["mask"])[None].expand(-1, 3, -1, -1)
    theirs = pipeline(
        ["a lesion"], image=hint, num_inference_steps=4, guidance_scale=3.0,
        generator=[torch.Generator().manual_seed(5)], output_type="np",
    ).images  # fmt: skip
    np.testing.assert_allclose(after, theirs, atol=5e-4)
    again = built(plain, "controlnet")
    again.load(tmp_path / "run")
    np.testing.assert_allclose(again.make([hidden(items[0])], [[5]])[0].pixels, after, atol=1e-5)


def test_inpainting_fills_the_region_and_leaves_the_rest(folder, items, tmp_path):
    adapter = built(folder, "inpaint")
    audit = trained(adapter, items, tmp_path)
    assert audit["still_tensors"] == 0
    one, other = adapter.make([hidden(items[1])], [[5, 6]])[0].pixels
    inside = items[1].arrays["mask"][0] > 0
    np.testing.assert_array_equal(one[~inside][:, 0], items[1].arrays["pixels"][0][~inside])
    assert np.abs(one[inside] - other[inside]).max() > 1e-3
    together = adapter.make([hidden(i) for i in items], [[1], [5], [2]])[1].pixels[0]
    np.testing.assert_allclose(together, one, atol=1e-4)


def test_a_network_for_inpainting_fills_as_diffusers_pipeline_does(tmp_path, items):
    """With a VAE of no deviation, so that the pipeline's draw of the surroundings is their middle."""
    made = diffusers_folders.pipeline(tmp_path / "words", channels=9)
    with torch.no_grad():
        made.vae.quant_conv.weight[4:], made.vae.quant_conv.bias[4:] = 0.0, -30.0
    made.save_pretrained(tmp_path / "sd")
    pipeline = StableDiffusionInpaintPipeline(
        vae=made.vae, text_encoder=made.text_encoder, tokenizer=made.tokenizer, unet=made.unet,
        scheduler=made.scheduler, safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    adapter, item = built(tmp_path / "sd", "inpaint"), items[0]
    eight = np.round(item.arrays["pixels"][0] * 255).astype(np.uint8)
    mask = item.arrays["mask"]
    around = np.where(mask > 0, np.float32(0.5), eight[None].astype(np.float32) / 255)
    own = adapter.make([Item(item.case, {"mask": mask, "around": around})], [[5]])[0].pixels[0]
    theirs = pipeline(
        ["a lesion"], image=pillow.fromarray(eight).convert("RGB"), height=32, width=32,
        mask_image=pillow.fromarray((mask[0] * 255).astype(np.uint8)), num_inference_steps=4, guidance_scale=3.0,
        strength=1.0, generator=[torch.Generator().manual_seed(5)], output_type="np",
    ).images[0]  # fmt: skip
    inside = mask[0] > 0
    np.testing.assert_allclose(own[inside], theirs[inside], atol=2e-3)


def test_an_autoencoder_is_adapted_before_the_denoiser(plain, items, tmp_path):
    adapter = built(plain, "autoencoder")
    adapter.start_from(items)
    key = adapter.tower_key("autoencoder")
    before = {n: w.clone() for n, w in adapter.module.state_dict().items()}
    settings = train.Settings(epochs=1, learning_rate=3e-3, weight_decay=0.0, warmup=0.0)
    history = train.fit(
        adapter, lambda epoch: [(batch_of(adapter, items), 3)] * 12, 12, dict, settings, select="loss", better="lower",
        seed=0, device="cpu", folder=tmp_path / "checkpoint", say=lambda text: None,
    )  # fmt: skip
    changed = {n.partition(".")[0] for n, w in adapter.module.state_dict().items() if not torch.equal(w, before[n])}
    assert changed == {"vae"} and history.audit["still_tensors"] == 0
    adapter.module.eval()
    with torch.no_grad():
        start = built(plain, "autoencoder")
        start.start_from(items)
        start.module.eval()
        assert adapter.loss(batch_of(adapter, items)) < start.loss(batch_of(start, items))
    adapter.start_stage("lora", {})
    assert adapter.tower_key("autoencoder") != key
    adapter.save(tmp_path / "run")
    assert {p.name for p in (tmp_path / "run").iterdir()} == {
        "vae", "generator.json", "pytorch_lora_weights.safetensors",
    }  # fmt: skip
    again = built(plain, "autoencoder")
    again.start_stage("lora", {})
    again.load(tmp_path / "run")
    first, second = (a.make([hidden(items[0])], [[1]])[0].pixels for a in (adapter, again))
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_words_alone_are_no_mask(plain):
    adapter = built(plain, "controlnet")
    with pytest.raises(RecipeError, match="words alone hold none"):
        adapter.make([Item(adapter.asked("a lesion"))], [[1]])


def test_a_controlnet_may_read_edges_in_place_of_masks(plain):
    """Of the image itself: a case without masks has edges, and they are not those of its mask."""
    adapter, usual = built(plain, "controlnet", control="edges"), built(plain, "controlnet")
    pixels = np.zeros((40, 40), np.uint8)
    pixels[10:30, 10:30] = 200
    arrays = adapter.preparer.arrays([Image(pixels[..., None].swapaxes(0, 1), np.eye(4))], Case("c", None, {}))
    edges = arrays["mask"][0]
    assert edges.shape == arrays["pixels"].shape[1:] and 0 < edges.mean() < 0.3 and set(np.unique(edges)) == {0, 1}
    inside = arrays["pixels"][0] > arrays["pixels"].max() / 2
    border = ndimage.binary_dilation(inside) & ~ndimage.binary_erosion(inside, iterations=2)
    assert edges[~border].sum() == 0
    assert adapter.preparer.key() != usual.preparer.key()
    assert adapter.tower_key("autoencoder") != usual.tower_key("autoencoder")
    with pytest.raises(RecipeError, match=r"options.control: full reads no edges"):
        built(plain, "full", control="edges")


def test_what_cannot_follow_is_refused(plain):
    stages = (Stage(method="controlnet"), Stage(method="full"))
    settings = AdapterSettings(name="latent_diffusion", weights=str(plain), stages=stages)
    with pytest.raises(RecipeError, match=r"stages.1.method.*controlnet as the last"):
        latent_diffusion.refuse(settings, ["controlnet", "full"], Prepare(), TASK)


def test_a_network_for_inpainting_does_nothing_else(tmp_path):
    diffusers_folders.write(tmp_path / "sd", channels=9)
    with pytest.raises(RecipeError, match=r"adapter.method.*take inpaint"):
        built(tmp_path / "sd", "lora")


RESTORING = SimpleNamespace(
    name="restoration",
    classes=(),
    images=1,
    answers="images",
    kind="images",
    degradation=Degradation("gaussian", 0.2),
    handed_in=lambda arrays: arrays,
)


@pytest.mark.parametrize("weights", ["sd", "tiny", "tiny-spatial"])
def test_a_denoiser_that_restores_reads_the_degraded_image(plain, items, weights, tmp_path):
    source = str(plain) if weights == "sd" else weights

    def made():
        settings = AdapterSettings(
            name="latent_diffusion", weights=source, method="restore", options={"steps": 2, "width": 16}
        )
        prepare = Prepare(size=32)
        latent_diffusion.refuse(settings, ["restore"], prepare, RESTORING)
        return latent_diffusion.build(
            settings, RESTORING, "restore", prepare, windows={}, read={}, train=Train(), seed=3
        )

    adapter = made()
    spoilt = [
        Item(i.case, {"pixels": i.pixels, "degraded": RESTORING.degradation.of_case(i.pixels, i.case_id)})
        for i in items
    ]
    adapter.start_from(spoilt)
    asked = [hidden(i) for i in spoilt]
    other = [Item(i.case, {"degraded": np.zeros_like(i.arrays["degraded"])}) for i in asked]
    first = [a.pixels for a in adapter.answer(asked)]
    if weights == "sd":  # new channels begin as zero: the model begins as it was, whatever it is shown
        assert adapter.module.unet.config.in_channels == 8
        np.testing.assert_array_equal(first[0], adapter.answer(other)[0].pixels)
    optimiser = torch.optim.AdamW([p for p in adapter.module.parameters() if p.requires_grad], 1e-2)
    adapter.module.train()
    for _ in range(3):
        optimiser.zero_grad()
        adapter.loss(batch_of(adapter, spoilt)).backward()
        optimiser.step()
    trained_answer = adapter.answer(asked)
    assert not np.array_equal(trained_answer[0].pixels, adapter.answer(other)[0].pixels)
    adapter.save(tmp_path / "weights")
    again = made()
    again.load(tmp_path / "weights")
    np.testing.assert_allclose(again.answer(asked)[1].pixels, trained_answer[1].pixels, atol=1e-6)
    with pytest.raises(RecipeError, match="restores images, and words alone hold none"):
        adapter.answer([Item(Case("p", None, {}, text="a lesion"))])


@pytest.mark.parametrize("weights", ["pixels", "tiny-spatial"])
def test_a_network_that_says_nothing_gives_the_degraded_image_back(items, weights, monkeypatch):
    """From scratch the difference is made: where the network answers 0, lesions and all else are as they were."""
    settings = AdapterSettings(
        name="latent_diffusion", weights=weights, method="restore", options={"steps": 1, "width": 16}
    )
    adapter = latent_diffusion.build(
        settings, RESTORING, "restore", Prepare(size=32), windows={}, read={}, train=Train(), seed=3
    )
    adapter.start_from([Item(i.case, {"pixels": i.pixels}) for i in items])
    degraded = [0.8 * i.pixels + 0.1 for i in items]
    monkeypatch.setattr(type(adapter.module), "denoise", lambda self, noisy, t, states, **more: torch.zeros_like(noisy))
    asked = [Item(i.case, {"degraded": image}) for i, image in zip(items, degraded, strict=True)]
    for answer, image in zip(adapter.answer(asked), degraded, strict=True):
        apart = np.moveaxis(answer.pixels[0], 2, 0) - image
        assert apart.std() < 0.25 * image.std()  # the usual bias of noise, and what is left of a first draw


def test_noise_is_fresh_in_training_and_a_case_s_own_in_validation(plain, items):
    settings = AdapterSettings(name="latent_diffusion", weights="tiny", method="restore")
    adapter = latent_diffusion.build(
        settings, RESTORING, "restore", Prepare(size=32), windows={}, read={}, train=Train(), seed=3
    )
    own = RESTORING.degradation.of_case(items[0].pixels, "c0")
    item = Item(items[0].case, {"pixels": items[0].pixels, "degraded": own})
    adapter.start_from([Item(i.case, {"pixels": i.pixels}) for i in items])
    adapter.module.train()
    one, two = (adapter.example(item, np.random.default_rng(n), unchanged).degraded for n in (1, 2))
    assert not np.array_equal(one, two) and not np.array_equal(one, own)
    adapter.module.eval()
    np.testing.assert_array_equal(adapter.example(item, np.random.default_rng(1), unchanged).degraded, own)
