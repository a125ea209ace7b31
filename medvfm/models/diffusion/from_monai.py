"""`monai`: MONAI's AutoencoderKL and DiffusionModelUNet from scratch, asked by classes, attributes or words.

The autoencoder begins with random weights and is trained first, as a stage of its own; then the denoiser, on its
latents. What is asked for reaches the denoiser by cross-attention, as one state. Networks are built for two or three
dimensions; noise follows MONAI's scaled linear schedule (Pinaya et al. 2022).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from monai.networks.nets import AutoencoderKL, DiffusionModelUNet
from torch import Tensor

from medvfm.core.errors import RecipeError
from medvfm.models.diffusion.condition_reader import IDS, VERSION, ConditionReader, read_texts
from medvfm.models.diffusion.generator import FittedGenerator, with_channels
from medvfm.models.diffusion.names import SIDES_OF_MONAI
from medvfm.models.weights import load_strictly, sha256_of_tensors
from medvfm.nn import state
from medvfm.nn.diffusion import NoiseSchedule

NAME = "monai"
STATE, LATENTS = 64, 3
FIRST, LAST = 0.0015, 0.0195  # of the noise, as MONAI's tutorials of latent diffusion have it
KL_WEIGHT = 1e-6
SEEN = 0.95  # share of the deviation of latents that is kept from step to step of the autoencoder's training
TUNES: Mapping[str, tuple[str, ...]] = {
    "autoencoder": ("autoencoder",),
    "full": ("unet", "reader"),
    "unconditional": ("unet", "reader"),
}


class MonaiGenerator(FittedGenerator):
    """See the module's docstring. The denoiser predicts the noise, as MONAI's inferers expect.

    scale  one over the deviation of latents in training, by which they are multiplied: their variance is then about 1
    """

    averaged = ("scale",)
    fits_images: ClassVar[bool] = False
    scale: Tensor

    def __init__(
        self, channels: int, size_px: tuple[int, ...], *, values: int, words: bool, seed: int, width: int
    ) -> None:
        super().__init__()
        self.channels, self.size_px, self.seed, self.width = channels, size_px, seed, width
        levels = (width, 2 * width, 2 * width)
        factor = 2 ** (len(levels) - 1)
        self.latent_shape = (LATENTS, *(side // factor for side in size_px))
        self.schedule = NoiseSchedule.scaled_linear("epsilon", first=FIRST, last=LAST)
        self.sampler_config = {
            "num_train_timesteps": self.schedule.steps,
            "trained_betas": self.schedule.betas(),
            "prediction_type": "epsilon",
            "clip_sample": False,
            "timestep_spacing": "leading",
        }
        shared: dict[str, Any] = {
            "spatial_dims": len(size_px),
            "num_res_blocks": 1,
            "channels": levels,
            "norm_num_groups": math.gcd(32, width),
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.autoencoder: Any = AutoencoderKL(
                in_channels=channels,
                out_channels=channels,
                latent_channels=LATENTS,
                attention_levels=(False,) * len(levels),
                with_encoder_nonlocal_attn=False,
                with_decoder_nonlocal_attn=False,
                **shared,
            )
            self.reader = ConditionReader(values, words, STATE) if values or words else None
            asked = self.reader is not None
            self.unet: Any = DiffusionModelUNet(
                in_channels=LATENTS,
                out_channels=LATENTS,
                attention_levels=(False, True, True),
                num_head_channels=8,
                with_conditioning=asked,
                cross_attention_dim=STATE if asked else None,
                **shared,
            )
        self.register_buffer("scale", torch.ones(()))

    def fitted_to(self, images: np.ndarray, values: int, words: bool) -> MonaiGenerator:
        """Nothing is fitted: the channels of the images decide the networks."""
        return self.of_shape(LATENTS, images.shape[1], values, words)

    def of_shape(self, latents: int, channels: int, values: int, words: bool) -> MonaiGenerator:
        return MonaiGenerator(channels, self.size_px, values=values, words=words, seed=self.seed, width=self.width)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean, deviation = self.autoencoder.encode(with_channels(images, self.channels).float() * 2 - 1)
        return mean * self.scale, deviation * self.scale

    def decode(self, latents: Tensor) -> Tensor:
        made: Tensor = self.autoencoder.decode(latents.float() / self.scale)
        return (made / 2 + 0.5).clamp(0, 1)

    def reconstruction_loss(self, images: Tensor, posterior: Tensor) -> Tensor:
        """L1 of images through latents drawn with `posterior`, and KL_WEIGHT times their divergence from standard
        normal ones; Rombach et al. 2022, app. G."""
        given = with_channels(images, self.channels).float() * 2 - 1
        mean, deviation = self.autoencoder.encode(given)
        latents = mean + deviation * posterior.to(mean)
        if self.training:
            with torch.no_grad():
                now = 1 / latents.float().std().clamp(min=1e-6)
                self.scale.mul_(SEEN).add_((1 - SEEN) * now) if self.scale != 1 else self.scale.copy_(now)
        kl = 0.5 * (mean.square() + deviation.square() - 2 * deviation.clamp(min=1e-12).log() - 1).flatten(1).sum(1)
        loss: Tensor = (self.autoencoder.decode(latents) - given).abs().mean() + KL_WEIGHT * kl.mean()
        return loss

    def read_texts(self, texts: Sequence[str]) -> Tensor:
        """(B, L) ids of words and pairs, padded with -1."""
        return read_texts(texts)

    def states(self, texts: Tensor, values: Tensor) -> Tensor:
        """(B, 2, STATE): the context of cross-attention; beside what is asked for nothing, so that it has a choice."""
        if self.reader is None:
            return torch.zeros((len(texts), 1, 1), device=self.scale.device)
        found: Tensor = self.reader(texts, values)
        return torch.stack([found, torch.zeros_like(found)], dim=1)

    def denoise(self, noisy: Tensor, t: Tensor, states: Tensor, **more: Tensor) -> Tensor:
        context = None if self.reader is None else states.to(noisy.dtype)
        found: Tensor = self.unet(noisy, timesteps=t, context=context)
        return found

    def set_trainable(self, method: str, *, rank: int, alpha: float | None, seed: int) -> None:
        self.requires_grad_(False)
        for part in TUNES[method]:
            if getattr(self, part) is not None:
                getattr(self, part).requires_grad_(True)

    def tower_sha256(self, tower: str) -> str:
        if tower == "text":
            return f"words-{VERSION}-{IDS}"
        own = {n: w for n, w in self.state_dict().items() if n == "scale" or n.startswith("autoencoder.")}
        return sha256_of_tensors(own)

    def save(self, folder: Path, method: str) -> None:
        """`autoencoder.safetensors`, `unet.safetensors`: as MONAI's networks load them; `model.safetensors`: all."""
        whole = {n: w.detach().cpu() for n, w in self.state_dict().items()}
        state.write(folder / "model.safetensors", whole)
        for part in ("autoencoder", "unet"):
            own = {n.removeprefix(f"{part}."): w for n, w in whole.items() if n.startswith(f"{part}.")}
            state.write(folder / f"{part}.safetensors", own)

    def load(self, folder: Path, method: str) -> None:
        load_strictly(self, state.read(folder / "model.safetensors"), str(folder))

    def record(self) -> dict[str, Any]:
        return {
            "weights": NAME, "sha256": None, "licence": None, "seed": self.seed, "scaling_factor": float(self.scale),
        }  # fmt: skip


def unfitted(size_px: tuple[int, ...], width: int, seed: int) -> MonaiGenerator:
    """For gray images, before it knows what it is asked with; `width` channels at the first level of both networks."""
    if any(side % SIDES_OF_MONAI for side in size_px) or width % 8:
        wrong = width % 8 != 0
        raise RecipeError(
            f"MONAI's networks of {width} channels" if wrong else f"images of {' × '.join(map(str, size_px))} px",
            where="adapter.options.width" if wrong else "prepare.size",
            remedy=f"take a multiple of {8 if wrong else SIDES_OF_MONAI}",
        )
    return MonaiGenerator(1, size_px, values=0, words=False, seed=seed, width=width)
