"""Gaussian diffusion: noise schedules, what a network predicts, and how time steps are weighted and drawn.

Notation as in Ho et al. 2020: clean x_0, noise ε, x_t = sqrt(ᾱ_t) x_0 + sqrt(1 - ᾱ_t) ε, steps t from 0 to T - 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor

Prediction = Literal["epsilon", "v_prediction", "sample"]
PREDICTIONS: tuple[Prediction, ...] = ("epsilon", "v_prediction", "sample")


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """alphas_cumprod (T,) float64: ᾱ_t, falling. prediction: what the network gives: ε, v or x_0."""

    alphas_cumprod: Tensor
    prediction: Prediction

    def __post_init__(self) -> None:
        if self.prediction not in PREDICTIONS:
            raise ValueError(f"a prediction of {self.prediction!r}; one of {', '.join(PREDICTIONS)}")

    @classmethod
    def linear(
        cls, prediction: Prediction, steps: int = 1000, first: float = 1e-4, last: float = 0.02
    ) -> NoiseSchedule:
        """β evenly from `first` to `last`; Ho et al. 2020, section 4."""
        return cls(torch.linspace(first, last, steps, dtype=torch.float64).neg().add(1).cumprod(0), prediction)

    @classmethod
    def scaled_linear(
        cls, prediction: Prediction, steps: int = 1000, first: float = 0.00085, last: float = 0.012
    ) -> NoiseSchedule:
        """sqrt(β) evenly from sqrt(first) to sqrt(last), as Stable Diffusion has it."""
        betas = torch.linspace(first**0.5, last**0.5, steps, dtype=torch.float64).square()
        return cls((1 - betas).cumprod(0), prediction)

    @classmethod
    def cosine(cls, prediction: Prediction, steps: int = 1000, offset: float = 0.008) -> NoiseSchedule:
        """ᾱ_t = f(t) / f(0), f(t) = cos²((t/T + s) / (1 + s) π/2), each β at most 0.999; Nichol and Dhariwal 2021,
        eq. 17."""
        times = torch.arange(steps + 1, dtype=torch.float64) / steps
        f = ((times + offset) / (1 + offset) * math.pi / 2).cos().square()
        return cls((f[1:] / f[:-1]).clamp(min=0.001).cumprod(0), prediction)

    @property
    def steps(self) -> int:
        return len(self.alphas_cumprod)

    def betas(self) -> list[float]:
        """β_t, for samplers that take them."""
        before = torch.cat([torch.ones(1, dtype=torch.float64), self.alphas_cumprod[:-1]])
        return cast(list[float], (1 - self.alphas_cumprod / before).tolist())

    def snr(self, t: Tensor) -> Tensor:
        """(B,) ᾱ_t / (1 - ᾱ_t), float32."""
        kept = self.alphas_cumprod.to(t.device)[t]
        return (kept / (1 - kept)).float()

    def noisy(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t (B, ...) of x_0 and ε of the same shape, and t (B,)."""
        signal, deviation = self._coefficients(t, clean)
        return signal * clean + deviation * noise

    def target(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What the network should give: ε, x_0, or v = sqrt(ᾱ_t) ε - sqrt(1 - ᾱ_t) x_0; Salimans and Ho 2022."""
        if self.prediction == "epsilon":
            return noise
        if self.prediction == "sample":
            return clean
        signal, deviation = self._coefficients(t, clean)
        return signal * noise - deviation * clean

    def clean(self, predicted: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """x_0 from what the network gave and x_t."""
        signal, deviation = self._coefficients(t, noisy)
        if self.prediction == "epsilon":
            return (noisy - deviation * predicted) / signal
        if self.prediction == "sample":
            return predicted
        return signal * noisy - deviation * predicted

    def loss(
        self, predicted: Tensor, clean: Tensor, noise: Tensor, t: Tensor, min_snr_gamma: float | None = None
    ) -> Tensor:
        """(B,) mean squared errors, weighted by `min_snr_weights` where a γ is given; in float32."""
        off = (predicted.float() - self.target(clean, noise, t).float()).square().flatten(1).mean(1)
        return off if min_snr_gamma is None else off * self.min_snr_weights(t, min_snr_gamma)

    def min_snr_weights(self, t: Tensor, gamma: float) -> Tensor:
        """(B,) min(SNR, γ) on the error of x_0: Hang et al. 2023, section 3.4, carried over to ε and v."""
        snr = self.snr(t)
        capped = snr.clamp(max=gamma)
        return capped / {"epsilon": snr, "v_prediction": snr + 1, "sample": torch.ones_like(snr)}[self.prediction]

    def _coefficients(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        kept = self.alphas_cumprod.to(t.device)[t].view(-1, *[1] * (like.ndim - 1))
        return kept.sqrt().to(like.dtype), (1 - kept).sqrt().to(like.dtype)


def offset_noise(noise: Tensor, strength: float, shift: Tensor) -> Tensor:
    """ε (B, C, ...) with a constant of each image and channel added: `shift` (B, C) standard normal, times `strength`.
    Without it a network hardly learns the mean brightness of an image (Guttenberg 2023, crosslabs.org)."""
    return noise + strength * shift.view(*shift.shape, *[1] * (noise.ndim - 2))


def stratified_steps(draws: Sequence[float], steps: int) -> list[int]:
    """t of each of n draws in [0, 1): one from each of n equal parts of the steps, in order. Of examples in random
    order each t is uniform, and the mean loss of a batch varies less."""
    n = len(draws)
    return [min(int((place + u) / n * steps), steps - 1) for place, u in enumerate(draws)]


def time_embedding(t: Tensor, width: int, longest: float = 10_000.0) -> Tensor:
    """(B, width) cosines and sines of t at falling frequencies; Vaswani et al. 2017, section 3.5."""
    half = width // 2
    frequencies = torch.exp(-math.log(longest) * torch.arange(half, device=t.device, dtype=torch.float32) / half)
    angles = t.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)
