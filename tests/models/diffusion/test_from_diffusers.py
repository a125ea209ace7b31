"""Stable Diffusion folders: read as diffusers reads them, sampled as its pipeline samples, adapted as it loads."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from diffusers import (
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
)
from safetensors.torch import load_file, save_file

from medvfm.core.errors import RecipeError, WeightsError
from medvfm.models.diffusion import sampling
from medvfm.models.diffusion.load import load_generator
from medvfm.models.diffusion.sampling import Sampling
from tests.samples import diffusers_folders

PROMPTS = ["a lesion", "no lesion, age 63"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "sd"
    diffusers_folders.write(path)
    return path


@pytest.fixture
def generator(folder):
    return load_generator(str(folder), None)


def pipeline_of(folder):
    made = StableDiffusionPipeline.from_pretrained(folder)
    made.set_progress_bar_config(disable=True)
    return made


def made(generator, seeds=(3, 4), how=None):
    with torch.no_grad():
        states = generator.read_texts(PROMPTS)
        latents = sampling.sample(
            generator, states, generator.read_texts(["", ""]), seeds, how or Sampling("ddim", 6, 5.0)
        )
        return generator.decode(latents).permute(0, 2, 3, 1).numpy()


def theirs(pipeline, seeds=(3, 4), steps=6, **more):
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return pipeline(
        PROMPTS, num_inference_steps=steps, guidance_scale=5.0, generator=generators, output_type="np", **more
    ).images


@pytest.mark.parametrize(
    ("sampler", "kind"),
    [("ddim", None), ("dpm++", DPMSolverMultistepScheduler), ("euler", EulerDiscreteScheduler)],
)
def test_samples_are_those_of_diffusers_own_pipeline(generator, folder, sampler, kind):
    pipeline = pipeline_of(folder)
    if kind is not None:
        pipeline.scheduler = kind.from_config(pipeline.scheduler.config)
    np.testing.assert_allclose(made(generator, how=Sampling(sampler, 6, 5.0)), theirs(pipeline), atol=2e-4)


def test_negative_prompts_are_those_of_the_pipeline(generator, folder):
    with torch.no_grad():
        latents = sampling.sample(
            generator,
            generator.read_texts(PROMPTS),
            generator.read_texts(["age"] * 2),
            [3, 4],
            Sampling("ddim", 4, 5.0),
        )
        own = generator.decode(latents).permute(0, 2, 3, 1).numpy()
    found = theirs(pipeline_of(folder), steps=4, negative_prompt=["age"] * 2)
    np.testing.assert_allclose(own, found, atol=2e-4)
    assert not np.allclose(own, theirs(pipeline_of(folder), steps=4), atol=1e-3)


@pytest.mark.parametrize("strength", [0.3, 0.8])
def test_from_an_image_on_it_is_as_in_the_pipeline(generator, folder, strength):
    pipeline = StableDiffusionImg2ImgPipeline(**pipeline_of(folder).components, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    start = torch.randn((2, 4, 16, 16), generator=torch.Generator().manual_seed(8))
    how = Sampling("ddim", 10, 5.0, strength)
    with torch.no_grad():
        latents = sampling.sample(
            generator, generator.read_texts(PROMPTS), generator.read_texts(["", ""]), [3, 4], how, start=start
        )
        own = generator.decode(latents).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(own, theirs(pipeline, steps=10, image=start, strength=strength), atol=2e-4)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_loss_is_the_closed_form_of_what_the_scheduler_states(tmp_path, prediction):
    pipeline = diffusers_folders.write(tmp_path / "sd", prediction)
    generator = load_generator(str(tmp_path / "sd"), None)
    assert generator.schedule.prediction == prediction
    rng = torch.Generator().manual_seed(1)
    clean, noise = (torch.randn((2, 4, 16, 16), generator=rng) for _ in range(2))
    t = torch.tensor([40, 700])
    own = DDPMScheduler.from_config(pipeline.scheduler.config)
    with torch.no_grad():
        states = generator.read_texts(PROMPTS)
        found = generator.schedule.loss(
            generator.denoise(generator.schedule.noisy(clean, noise, t), t, states), clean, noise, t
        )
        predicted = pipeline.unet(own.add_noise(clean, noise, t), t, states).sample
    right = noise if prediction == "epsilon" else own.get_velocity(clean, noise, t)
    torch.testing.assert_close(found, (predicted - right).square().mean((1, 2, 3)), rtol=1e-4, atol=1e-5)


def test_latents_are_scaled_and_gray_is_replicated_in_and_averaged_out(generator, folder):
    vae = pipeline_of(folder).vae
    gray = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        mean, deviation = generator.encode(gray)
        own = vae.encode(gray.expand(-1, 3, -1, -1) * 2 - 1).latent_dist
        torch.testing.assert_close(mean, own.mean * vae.config.scaling_factor)
        torch.testing.assert_close(deviation, own.std * vae.config.scaling_factor)
        colour = generator.decode(mean)
        generator.channels = 1
        torch.testing.assert_close(generator.decode(mean), colour.mean(1, keepdim=True))


def test_lora_covers_self_attention_and_cross_attention_by_name(generator):
    generator.set_trainable("lora", rank=2, alpha=None, seed=0)
    adapted = {n.partition(".lora_")[0] for n, p in generator.unet.named_parameters() if p.requires_grad}
    layers = {n for n, m in generator.unet.named_modules() if n.endswith((".attn1", ".attn2"))}
    wanted = {f"{n}.{k}" for n in layers for k in ("to_q", "to_k", "to_v", "to_out.0")}
    assert adapted == wanted and any(".attn2.to_k" in n for n in adapted) and len(layers) == 8
    assert not any(p.requires_grad for p in (*generator.vae.parameters(), *generator.text_encoder.parameters()))


@pytest.mark.parametrize("alpha", [None, 3.0])
def test_a_lora_changes_diffusers_pipeline_as_it_does_here(generator, folder, tmp_path, alpha):
    before = made(generator)
    generator.set_trainable("lora", rank=2, alpha=alpha, seed=0)
    np.testing.assert_allclose(made(generator), before, atol=1e-6)  # B begins as zero
    rng = torch.Generator().manual_seed(5)
    for name, parameter in generator.unet.named_parameters():
        if ".lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=rng) * 0.3
    after = made(generator)
    assert np.abs(after - before).max() > 1e-2
    generator.save(tmp_path, "lora")
    pipeline = pipeline_of(folder)
    pipeline.load_lora_weights(tmp_path)
    np.testing.assert_allclose(theirs(pipeline), after, atol=2e-4)
    again = load_generator(str(folder), None)
    again.set_trainable("lora", rank=2, alpha=alpha, seed=9)
    again.load(tmp_path, "lora")
    np.testing.assert_allclose(made(again), after, atol=1e-5)
    other = load_generator(str(folder), None)
    other.set_trainable("lora", rank=2, alpha=5.0, seed=9)
    with pytest.raises(WeightsError, match="alpha"):
        other.load(tmp_path, "lora")
    generator.end_stage("lora")
    np.testing.assert_allclose(made(generator), after, atol=1e-4)
    generator.set_trainable("full", rank=2, alpha=None, seed=0)
    assert all(p.requires_grad for p in generator.unet.parameters())


def test_a_tuned_part_is_a_folder_that_diffusers_loads(generator, folder, tmp_path):
    generator.set_trainable("full_text", rank=2, alpha=None, seed=0)
    assert all(p.requires_grad for p in (*generator.unet.parameters(), *generator.text_encoder.parameters()))
    with torch.no_grad():
        for parameter in (*generator.unet.parameters(), *generator.text_encoder.parameters()):
            parameter.add_(0.02)
    generator.save(tmp_path, "full_text")
    whole = tmp_path / "whole"
    shutil.copytree(folder, whole)
    for part in ("unet", "text_encoder"):
        shutil.rmtree(whole / part)
        shutil.copytree(tmp_path / part, whole / part)
    np.testing.assert_allclose(theirs(pipeline_of(whole)), made(generator), atol=2e-4)
    again = load_generator(str(folder), None)
    again.set_trainable("full_text", rank=2, alpha=None, seed=0)
    again.load(tmp_path, "full_text")
    np.testing.assert_allclose(made(again), made(generator), atol=1e-5)


def test_names_of_early_autoencoders_are_read(generator, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "old")
    file = tmp_path / "old" / "vae" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    file.unlink()
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    for new, old in names.items():
        weights = {n.replace(f".{new}.", f".{old}.") if ".attentions." in n else n: w for n, w in weights.items()}
    assert any(".query." in n for n in weights)
    save_file(weights, file)
    np.testing.assert_array_equal(made(load_generator(str(tmp_path / "old"), None)), made(generator))


def test_sizes_are_the_networks_own_or_even_multiples(folder):
    assert load_generator(str(folder), None).size_px == (32, 32)
    assert load_generator(str(folder), (64, 32)).latent_shape == (4, 32, 16)
    with pytest.raises(RecipeError, match=r"prepare.size.*multiples of 4"):
        load_generator(str(folder), (34, 34))


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda f: (f / "model_index.json").unlink(), "model_index.json"),
        (lambda f: (f / "unet" / "diffusion_pytorch_model.safetensors").unlink(), "unet holds no weights"),
        (lambda f: (f / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"{"), "cannot be read as weights"),
        (lambda f: (f / "text_encoder" / "model.safetensors").write_bytes(b"x" * 99), "text_encoder"),
        (lambda f: changed(f / "unet" / "config.json", cross_attention_dim=24), "another shape"),
        (lambda f: changed(f / "model_index.json", unet=["diffusers", "SD3Transformer2DModel"]), "1.x or 2.x"),
        (lambda f: changed(f / "scheduler" / "scheduler_config.json", prediction_type="flow"), "predicts 'flow'"),
        (lambda f: shutil.rmtree(f / "tokenizer"), "tokenizer lacks"),
    ],
)
def test_what_is_missing_or_wrong_is_said(folder, tmp_path, break_it, said):
    shutil.copytree(folder, tmp_path / "broken")
    break_it(tmp_path / "broken")
    with pytest.raises(WeightsError, match=said):
        load_generator(str(tmp_path / "broken"), None)


def changed(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_weights_that_are_not_on_this_machine_are_named(monkeypatch):
    from medvfm.models import weights

    monkeypatch.setattr(weights, "_no_network", lambda: True)
    with pytest.raises(WeightsError, match="stable-diffusion-v1-5/stable-diffusion-v1-5"):
        load_generator("stable-diffusion-v1-5/stable-diffusion-v1-5", None)
    with pytest.raises(WeightsError, match="no such folder"):
        load_generator("tinny", None)
