"""What a generator of images is to those who train and sample it: latents, texts, conditions, a denoiser."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from medvfm.models.diffusion.difference import Difference
from medvfm.nn.diffusion import NoiseSchedule


class ImageGenerator(nn.Module):
    """An autoencoder, a reader of conditions, and a denoiser of latents.

    channels      of the images that it makes: 1 gray, 3 colour
    size_px       (height, width) of them, or (slices, rows, columns) of volumes: below, (H, W) stands for both
    latent_shape  of one image, without the batch
    schedule      of the noise, and what the denoiser predicts
    sampler_config  of the scheduler that the weights came with, as diffusers' schedulers take it
    new_word        of textual inversion: the word, of how many vectors, and the words that it begins as
    reads_region    the denoiser takes the region that is filled, and the latents around it, as further channels
    reads_image     the denoiser takes the latents of a given image as further channels
    difference      it makes the difference from these, and not the whole image; None where it makes images
    """

    reads_region: bool = False
    reads_image: bool = False
    new_word: tuple[str, int, str] = ("<medvfm>", 1, "image")

    channels: int
    size_px: tuple[int, ...]
    latent_shape: tuple[int, ...]
    schedule: NoiseSchedule
    sampler_config: Mapping[str, Any]

    def __init__(self) -> None:
        super().__init__()
        self.difference: Difference | None = None

    @abstractmethod
    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) in [0, 1], C 1 or 3, to mean and standard deviation (B, *latent_shape) of the scaled
        latents."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents (B, *latent_shape) to images (B, channels, H, W) in [0, 1]."""

    @abstractmethod
    def read_texts(self, texts: Sequence[str]) -> Tensor:
        """(B, ...) what a text is to `states`: hidden states, or ids of words; rows of several calls may differ in
        length where they are padded with -1."""

    def prompts(self, words: Sequence[str]) -> list[str]:
        """What is read where a condition says `words`; where there is no condition the empty text is read."""
        return list(words)

    def is_cut(self, text: str) -> bool:
        """The reader takes only the beginning of the text."""
        return False

    @abstractmethod
    def states(self, texts: Tensor, values: Tensor) -> Tensor:
        """(B, ...) what the denoiser takes, from texts that were read, and values (B, V) of classes and attributes in
        [0, 1], NaN where unknown; V is 0 for generators that are asked in words alone."""

    @abstractmethod
    def denoise(self, noisy: Tensor, t: Tensor, states: Tensor, **more: Tensor) -> Tensor:
        """The prediction (B, *latent_shape) for x_t (B, *latent_shape), steps t (B,) and `states`.

        more  `hint` (B, 1, H, W): a mask that a ControlNet reads; `region` (B, 1, h, w) and `around` (B, K, h, w): what
              an inpainting network reads; `given` (B, *latent_shape): a degraded image that is restored, as
              `difference` reads it
        """

    @abstractmethod
    def record(self) -> dict[str, Any]:
        """weights, sha256 of what came with them, scaling_factor, and licence."""

    @abstractmethod
    def set_trainable(self, method: str, *, rank: int, alpha: float | None, seed: int) -> None:
        """What a method trains, and nothing else."""

    def end_stage(self, method: str) -> None:
        """A method's stage is over and another follows: low-rank updates are merged in."""

    def reconstruction_loss(self, images: Tensor, posterior: Tensor) -> Tensor:
        """The loss of an autoencoder that is adapted: of images (B, C, H, W) in [0, 1], and draws (B, *latent_shape)
        for its latents."""
        raise NotImplementedError(f"{type(self).__name__} has no autoencoder that is trained by gradients")

    @abstractmethod
    def tower_sha256(self, tower: str) -> str:
        """Of the weights of `autoencoder` or `text` as they are now."""

    @abstractmethod
    def save(self, folder: Path, method: str) -> None:
        """What the method trained, in the format that the weights' own library loads."""

    @abstractmethod
    def load(self, folder: Path, method: str) -> None:
        """Put back what `save` wrote."""

    def describe(self) -> dict[str, Any]:
        """The facts that every generator states the same way."""
        return {
            "prediction": self.schedule.prediction,
            "latent_shape": list(self.latent_shape),
            "size_px": list(self.size_px),
            "channels": self.channels,
            **self.record(),
        }


class FittedGenerator(ImageGenerator):
    """A generator from scratch, whose autoencoder is fitted to training images in closed form.

    fits_images  all training images are read for that; else a single one says how many channels there are
    """

    fits_images: ClassVar[bool] = True

    @abstractmethod
    def fitted_to(self, images: np.ndarray, values: int, words: bool) -> FittedGenerator:
        """One of the same kind for images (n, C, H, W) in [0, 1], asked with `values` numbers and with `words`."""

    @abstractmethod
    def of_shape(self, latents: int, channels: int, values: int, words: bool) -> FittedGenerator:
        """One of the same kind into which the weights of a fitted one fit."""


def with_channels(images: Tensor, channels: int) -> Tensor:
    """(B, C, ...) with C channels of 1 or 3: gray is replicated, colour is averaged."""
    if images.shape[1] == channels:
        return images
    if images.shape[1] > 1:
        return images.mean(1, keepdim=True)
    return images.expand(-1, channels, *[-1] * (images.ndim - 2))
