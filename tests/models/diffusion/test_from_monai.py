"""MONAI's networks in the house: samples and training as MONAI's own inferer has them, in two and three dimensions."""

from __future__ import annotations

import pytest
import torch
from monai.inferers import LatentDiffusionInferer
from monai.networks.nets import AutoencoderKL, DiffusionModelUNet
from monai.networks.schedulers import DDIMScheduler, DDPMScheduler
from safetensors.torch import load_file

from medvfm import pipeline
from medvfm.core.errors import RecipeError
from medvfm.io.console import SILENT
from medvfm.models.diffusion import from_monai, sampling
from medvfm.models.diffusion.sampling import Sampling
from medvfm.pipeline import making, planning
from tests.samples.trial import rooms

NOISE = {"schedule": "scaled_linear_beta", "beta_start": 0.0015, "beta_end": 0.0195, "num_train_timesteps": 1000}
VALUES = torch.tensor([[1.0, 0.0], [0.0, float("nan")]])


@pytest.fixture(scope="module", params=[(16, 16), (16, 32, 16)], ids=["2D", "3D"])
def generator(request):
    found = from_monai.unfitted(request.param, 8, 0).of_shape(3, 1, 2, False).eval()
    with torch.no_grad():  # its last layers begin as zero
        for n, weight in enumerate(found.parameters()):
            weight += 0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(n))
        found.scale.fill_(0.7)
    return found


def states_of(generator):
    return generator.states(generator.read_texts(["", ""]), VALUES).detach()


def test_samples_are_those_of_monais_inferer(generator):
    states = states_of(generator)
    with torch.no_grad():
        latents = sampling.sample(generator, states, states, [3, 4], Sampling("ddim", 5, 1.0))
        ours = generator.decode(latents)
        scheduler = DDIMScheduler(clip_sample=False, **NOISE)
        scheduler.set_timesteps(5)
        scheduler.timesteps = torch.tensor([800, 600, 400, 200, 0])  # those that its own steps go to, in every version
        theirs = LatentDiffusionInferer(scheduler, scale_factor=0.7).sample(
            sampling.noise_of(generator.latent_shape, [3, 4]), generator.autoencoder, generator.unet, scheduler,
            conditioning=states, verbose=False,
        )  # fmt: skip
    assert ours.shape == (2, 1, *generator.size_px) and ours.std() > 0.01
    torch.testing.assert_close(ours, (theirs / 2 + 0.5).clamp(0, 1), atol=1e-4, rtol=1e-4)


def test_a_training_step_predicts_what_monais_inferer_does(generator):
    rng = torch.Generator().manual_seed(0)
    images = torch.rand((2, 1, *generator.size_px), generator=rng)
    noise = torch.randn((2, *generator.latent_shape), generator=rng)
    t, states = torch.tensor([10, 700]), states_of(generator)
    inferer = LatentDiffusionInferer(DDPMScheduler(**NOISE), scale_factor=0.7)
    with torch.no_grad():
        torch.manual_seed(5)
        theirs = inferer(images * 2 - 1, generator.autoencoder, generator.unet, noise, t, condition=states)
        mean, deviation = generator.encode(images)
        torch.manual_seed(5)
        clean = mean + deviation * torch.randn_like(mean)
        ours = generator.denoise(generator.schedule.noisy(clean, noise, t), t, states)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_what_is_saved_loads_into_monais_networks(generator, tmp_path):
    generator.save(tmp_path, "full")
    shared = {
        "spatial_dims": len(generator.size_px), "num_res_blocks": 1, "channels": (8, 16, 16), "norm_num_groups": 8,
    }  # fmt: skip
    AutoencoderKL(
        in_channels=1, out_channels=1, latent_channels=3, attention_levels=(False,) * 3,
        with_encoder_nonlocal_attn=False, with_decoder_nonlocal_attn=False, **shared,
    ).load_state_dict(load_file(tmp_path / "autoencoder.safetensors"))  # fmt: skip
    DiffusionModelUNet(
        in_channels=3, out_channels=3, attention_levels=(False, True, True), num_head_channels=8,
        with_conditioning=True, cross_attention_dim=from_monai.STATE, **shared,
    ).load_state_dict(load_file(tmp_path / "unet.safetensors"))  # fmt: skip
    again = from_monai.unfitted(generator.size_px, 8, 1).of_shape(3, 1, 2, False)
    again.load(tmp_path, "full")
    assert all(torch.equal(w, generator.state_dict()[n]) for n, w in again.state_dict().items())


def test_the_autoencoder_learns_and_its_latents_get_a_variance_of_about_one():
    found = from_monai.unfitted((16, 16), 8, 0).train()
    found.set_trainable("autoencoder", rank=1, alpha=None, seed=0)
    images = torch.rand((8, 1, 4, 4), generator=torch.Generator().manual_seed(0)).repeat_interleave(4, 2)
    images = images.repeat_interleave(4, 3)
    optimiser = torch.optim.Adam([p for p in found.parameters() if p.requires_grad], 3e-3)
    losses = []
    for step in range(60):
        noise = torch.randn((8, *found.latent_shape), generator=torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        loss = found.reconstruction_loss(images, noise)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0]
    with torch.no_grad():
        mean, deviation = found.encode(images)
    assert 0.5 < float((mean.square() + deviation.square()).mean().sqrt()) < 2


def recipe(study, **adapter):
    stages = [
        {"method": "autoencoder", "train": {"epochs": 1, "steps": 4, "batch_size": 8}},
        {"method": "full", "train": {"epochs": 1, "steps": 4, "batch_size": 8}},
    ]
    own = {"name": "latent_diffusion", "weights": "monai", "options": {"width": 16, "steps": 2}}
    return study.recipe(
        task={"name": "generation", "classes": ["bright"], "options": {"extractor_px": 32}},
        adapter=own | (adapter or {"stages": stages}),
        prepare={"size": 16}, evaluate={"metrics": ["kid", "condition_auroc"]}, baselines=[{"name": "untrained"}],
    )  # fmt: skip


def test_a_run_by_classes_is_saved_and_asked_again(tmp_path, monkeypatch):
    rooms.open_rooms(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    study = rooms.BrightnessStudy(tmp_path / "study", 48)
    run = pipeline.run(recipe(study), tmp_path / "run", device="cpu", console=SILENT)
    assert run.record["model"]["scaling_factor"] != 1 and run.record["model"]["latent_shape"] == [3, 4, 4]
    one, again = (
        making.make(run, tmp_path / name, prompt="bright", seed=1, device="cpu", console=SILENT) for name in "ab"
    )
    files = [(tmp_path / name / table["file"][0]).read_bytes() for name, table in (("a", one), ("b", again))]
    assert files[0] == files[1]
    assert (run.directory / "weights" / "unet.safetensors").is_file()


@pytest.mark.parametrize("method", ["full", "lora"])
def test_an_untrained_autoencoder_is_refused(tmp_path, monkeypatch, method):
    rooms.open_rooms(monkeypatch)
    study = rooms.BrightnessStudy(tmp_path / "study", 16)
    with pytest.raises(RecipeError, match="begins with random weights"):
        planning.plan(recipe(study, method=method))
