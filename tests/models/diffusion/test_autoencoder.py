"""Autoencoders by themselves: against diffusers' own classes, and taef2 on real X-rays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny
from PIL import Image as pillow
from skimage.metrics import peak_signal_noise_ratio

import medvfm
from medvfm.core.errors import WeightsError
from medvfm.models.diffusion import taesd
from medvfm.models.diffusion.autoencoder import load_autoencoder
from tests.samples import diffusers_folders


def diffusers_names(model: AutoencoderTiny) -> tuple[dict, dict]:
    """Its weights as taesd's own files name them: the decoder there begins with the clamp."""
    encoder = {n.removeprefix("encoder.layers."): w for n, w in model.state_dict().items() if n.startswith("encoder.")}
    decoder = {}
    for name, value in model.state_dict().items():
        if name.startswith("decoder.layers."):
            number, _, rest = name.removeprefix("decoder.layers.").partition(".")
            decoder[f"{int(number) + 1}.{rest}"] = value
    return encoder, decoder


def test_without_the_further_branch_it_is_diffusers_autoencoder_tiny(tmp_path):
    torch.manual_seed(0)
    own = AutoencoderTiny(latent_channels=4)
    for name, weights in zip(("encoder", "decoder"), diffusers_names(own), strict=True):
        torch.save(weights, tmp_path / f"taesd_{name}.pth")
    found, images = load_autoencoder(str(tmp_path)), torch.rand(2, 3, 32, 40)
    with torch.no_grad():
        right = own.decode(own.encode(images * 2 - 1).latents).sample / 2 + 0.5
        torch.testing.assert_close(found.reconstruct(images), right.clamp(0, 1), rtol=1e-4, atol=1e-5)


def test_folders_of_diffusers_are_read_by_their_kind(tmp_path):
    own = AutoencoderTiny(
        latent_channels=4, encoder_block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 8, 8, 8)
    )
    own.save_pretrained(tmp_path / "tiny")
    diffusers_folders.vae().save_pretrained(tmp_path / "kl")
    images = torch.rand(1, 3, 32, 32)
    tiny, kl = (load_autoencoder(str(tmp_path / name)) for name in ("tiny", "kl"))
    assert (tiny.factor, kl.factor) == (8, 2)
    with torch.no_grad():
        right = own.decode(own.encode(images * 2 - 1).latents).sample / 2 + 0.5
        torch.testing.assert_close(tiny.reconstruct(images), right.clamp(0, 1))
        made = kl.model.decode(kl.model.encode(images * 2 - 1).latent_dist.mode()).sample / 2 + 0.5
        torch.testing.assert_close(kl.reconstruct(images), made.clamp(0, 1))


def test_any_size_comes_back_at_its_size(tmp_path):
    diffusers_folders.vae().save_pretrained(tmp_path)
    adapter = medvfm.load_adapter("latent_diffusion", weights=tmp_path)
    rng = np.random.default_rng(0)
    gray, colour = rng.random((33, 21), np.float32), rng.integers(0, 256, (20, 24, 3), np.uint8)
    assert adapter.reconstruct(gray).shape == (1, 33, 21, 1)
    several = adapter.reconstruct([gray, pillow.fromarray(colour)])
    assert [s.shape for s in several] == [(33, 21, 1), (20, 24, 3)] and several[0].dtype == np.float32
    fitted = medvfm.load_adapter("latent_diffusion", weights=tmp_path, size=16)
    assert fitted.reconstruct([colour, colour]).shape == (2, 16, 16, 3)


def test_taef2_reconstructs_real_x_rays_and_a_wrong_number_of_groups_does_not(shared_data):
    files = sorted((shared_data / "nih_cxr_256").glob("*/*.png"))[::250]
    adapter = medvfm.load_adapter("latent_diffusion", weights=shared_data / "weights_taef2")
    real = np.stack([np.array(pillow.open(file).convert("L"), np.float32) / 255 for file in files])

    def psnr(some):
        made = np.concatenate([adapter.reconstruct(file) for file in files[some]])[..., 0]
        return np.mean([peak_signal_noise_ratio(r, m, data_range=1) for r, m in zip(real[some], made, strict=True)])

    assert len(files) == 3 and psnr(slice(None)) > 35
    for part in adapter.module.model.modules():
        if isinstance(part, torch.nn.GroupNorm):
            part.num_groups = 32
    assert psnr(slice(1)) < 33


def test_files_that_are_no_autoencoder_are_refused(tmp_path):
    torch.save({"a.weight": torch.zeros(2)}, tmp_path / "x_encoder.pth")
    torch.save({"a.weight": torch.zeros(2)}, tmp_path / "x_decoder.pth")
    with pytest.raises(WeightsError, match="not named as taesd's"):
        load_autoencoder(str(tmp_path))
    torch.save({}, tmp_path / "y_encoder.pth")
    torch.save({}, tmp_path / "y_decoder.pth")
    with pytest.raises(WeightsError, match="several"):
        load_autoencoder(str(tmp_path))
    model = taesd.Taesd(4, False)
    (tmp_path / "one").mkdir()
    torch.save(model.encoder.state_dict(), tmp_path / "one" / "x_encoder.pth")
    torch.save({**model.decoder.state_dict(), "99.bias": torch.zeros(1)}, tmp_path / "one" / "x_decoder.pth")
    with pytest.raises(WeightsError, match=r"99\.bias"):
        load_autoencoder(str(tmp_path / "one"))
    with pytest.raises(WeightsError, match="tiny has no autoencoder"):
        medvfm.load_adapter("latent_diffusion", weights="tiny")
