"""`tiny`: a generator from scratch for two processors. Principal components are its latents, a perceptron denoises.

A global latent learns the layout of small, aligned pictures or volumes in minutes, where convolutions would take hours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from medvfm.core.errors import DataError
from medvfm.models.diffusion.condition_reader import IDS, VERSION, ConditionReader, read_texts
from medvfm.models.diffusion.difference import Difference
from medvfm.models.diffusion.generator import FittedGenerator, with_channels
from medvfm.models.weights import load_strictly, sha256_of_tensors
from medvfm.nn import state
from medvfm.nn.diffusion import NoiseSchedule, time_embedding

COMPONENTS, WIDTH, BLOCKS, STATE = 320, 512, 3, 256
ASKED = 8.0  # by which what is asked for is multiplied, so that it is learned as fast as images are
MOST_FITTED = 4096  # images that components are taken from, evenly spaced, where there are more and they are large


class PrincipalComponents(nn.Module):
    """Images as coordinates along the principal components of training images, half whitened.

    mean (D,), axes (K, D), scale (K,): coordinate k is axes_k · (x - mean) / scale_k. With scale_k proportional to the
    square root of its standard deviation, latents keep part of their order: coarse structure stays larger than noise.
    """

    mean: Tensor
    axes: Tensor
    scale: Tensor

    def __init__(self, components: int, dimension: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dimension))
        self.register_buffer("axes", torch.zeros(components, dimension))
        self.register_buffer("scale", torch.ones(components))

    @classmethod
    def fitted(cls, images: np.ndarray, most: int = COMPONENTS) -> PrincipalComponents:
        """Of images (n, D) in float64: `most` components, or as many as n - 1 images span."""
        if min(images.shape) > MOST_FITTED:
            images = images[np.linspace(0, len(images) - 1, MOST_FITTED).round().astype(int)]
        n = len(images)
        values = images.astype(np.float64)
        centre = values.mean(0)
        values -= centre
        if n <= values.shape[1]:
            squares, vectors = np.linalg.eigh(values @ values.T)
        else:
            squares, vectors = np.linalg.eigh(values.T @ values)
        order = np.argsort(squares)[::-1][:most]
        order = order[squares[order] > 1e-10 * max(float(squares.max()), 1e-300)]
        if n < 2 or not len(order):
            raise DataError(
                f"{n} training {'image' if n == 1 else 'images'} without any difference between them: a generator "
                "from scratch needs several"
            )
        axes = (
            (values.T @ vectors[:, order] / np.sqrt(squares[order])).T if n <= values.shape[1] else vectors[:, order].T
        )
        axes *= np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])[:, None]
        deviations = np.sqrt(squares[order] / (n - 1))
        overall = np.sqrt(deviations.mean())  # of coordinates divided by sqrt(deviation): their variance is deviation
        made = cls(len(order), values.shape[1])
        for name, array in (("mean", centre), ("axes", axes), ("scale", np.sqrt(deviations) * overall)):
            getattr(made, name).copy_(torch.from_numpy(np.ascontiguousarray(array)))
        return made

    def encode(self, flat: Tensor) -> Tensor:
        """(B, D) to (B, K)."""
        return (flat - self.mean) @ self.axes.T / self.scale

    def decode(self, latents: Tensor) -> Tensor:
        """(B, K) to (B, D), not yet clipped."""
        return (latents * self.scale) @ self.axes + self.mean


class FilmBlock(nn.Module):
    """A residual perceptron whose features are scaled and shifted by the condition; Perez et al. 2018."""

    def __init__(self, width: int, state: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.film = nn.Linear(state, 2 * width)
        self.rise, self.fall = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        scale, shift = self.film(state).chunk(2, dim=-1)
        return x + self.fall(functional.silu(self.rise(self.norm(x) * (1 + scale) + shift)))


class Denoiser(nn.Module):
    """(B, K) noisy latents, steps (B,) and states (B, 256) to the prediction (B, K); `given`: (B, 2 K), the latents of
    another image behind the noisy ones."""

    def __init__(self, latents: int, width: int = WIDTH, blocks: int = BLOCKS, *, given: bool = False) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(STATE, STATE), nn.SiLU(), nn.Linear(STATE, STATE))
        self.enter = nn.Linear(latents * (1 + given), width)
        self.blocks = nn.ModuleList(FilmBlock(width, STATE) for _ in range(blocks))
        self.norm, self.leave = nn.LayerNorm(width), nn.Linear(width, latents)

    def forward(self, noisy: Tensor, t: Tensor, states: Tensor) -> Tensor:
        state = functional.silu(self.time(time_embedding(t, STATE).to(noisy.dtype)) + states)
        x = self.enter(noisy)
        for block in self.blocks:
            x = block(x, state)
        return self.leave(self.norm(x))


class TinyGenerator(FittedGenerator):
    """See the module's docstring. The denoiser predicts v under a cosine schedule.

    values  how many classes and attributes it is asked with; 0 without
    words   it is asked in words
    """

    def __init__(
        self,
        components: PrincipalComponents,
        channels: int,
        size_px: tuple[int, ...],
        *,
        values: int,
        words: bool,
        seed: int,
        reads_image: bool = False,
    ) -> None:
        super().__init__()
        self.channels, self.size_px = channels, size_px
        self.reads_image = reads_image
        self.components, self.seed = components, seed
        count = len(components.scale)
        self.latent_shape = (count,)
        self.schedule = NoiseSchedule.cosine("v_prediction")
        self.sampler_config = {
            "num_train_timesteps": self.schedule.steps,
            "trained_betas": self.schedule.betas(),
            "prediction_type": "v_prediction",
            "clip_sample": False,
            "timestep_spacing": "trailing",
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.denoiser = Denoiser(count, given=reads_image)
            self.reader = ConditionReader(values, words, STATE) if values or words else None
        self.difference = Difference(count) if reads_image else None

    def fitted_to(self, images: np.ndarray, values: int, words: bool) -> TinyGenerator:
        return self._with(PrincipalComponents.fitted(images.reshape(len(images), -1)), images.shape[1], values, words)

    def of_shape(self, latents: int, channels: int, values: int, words: bool) -> TinyGenerator:
        components = PrincipalComponents(latents, channels * math.prod(self.size_px))
        return self._with(components, channels, values, words)

    def _with(self, components: PrincipalComponents, channels: int, values: int, words: bool) -> TinyGenerator:
        return TinyGenerator(
            components,
            channels,
            self.size_px,
            values=values,
            words=words,
            seed=self.seed,
            reads_image=self.reads_image,
        )

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean = self.components.encode(with_channels(images, self.channels).flatten(1).float())
        return mean, torch.zeros_like(mean)

    def decode(self, latents: Tensor) -> Tensor:
        return self.components.decode(latents.float()).clamp(0, 1).view(-1, self.channels, *self.size_px)

    def read_texts(self, texts: Sequence[str]) -> Tensor:
        """(B, L) ids of words and pairs, padded with -1."""
        return read_texts(texts)

    def states(self, texts: Tensor, values: Tensor) -> Tensor:
        if self.reader is None:
            return torch.zeros((len(texts), STATE), device=self.components.mean.device)
        found: Tensor = ASKED * self.reader(texts, values)
        return found

    def denoise(self, noisy: Tensor, t: Tensor, states: Tensor, **more: Tensor) -> Tensor:
        given = torch.cat([noisy, more["given"].to(noisy)], dim=1) if self.reads_image else noisy
        return self.denoiser(given, t, states)

    def set_trainable(self, method: str, *, rank: int, alpha: float | None, seed: int) -> None:
        """Everything but the components, which are fitted in closed form."""
        self.requires_grad_(method != "zero_shot")

    def tower_sha256(self, tower: str) -> str:
        if tower == "text":
            return f"words-{VERSION}-{IDS}"
        return sha256_of_tensors(self.components.state_dict())

    def save(self, folder: Path, method: str) -> None:
        """`model.safetensors`: components and denoiser."""
        state.write(folder / "model.safetensors", {n: w.detach().cpu() for n, w in self.state_dict().items()})

    def load(self, folder: Path, method: str) -> None:
        load_strictly(self, state.read(folder / "model.safetensors"), str(folder))

    def record(self) -> dict[str, Any]:
        return {"weights": "tiny", "sha256": None, "licence": None, "seed": self.seed, "scaling_factor": None}
