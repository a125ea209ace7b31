"""Autoencoders of images by themselves: AutoencoderKL and AutoencoderTiny of diffusers, and taesd's own files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from medvfm.core.errors import WeightsError, nearest
from medvfm.models.diffusion import taesd
from medvfm.models.diffusion.diffusers_folder import DiffusersFolder, located
from medvfm.models.diffusion.generator import with_channels


class ImageAutoencoder(nn.Module):
    """model: encoder and decoder. encode, decode: images in [0, 1] to the middle of the latents, and back.

    factor  how many pixels a latent stands for, each way
    """

    def __init__(
        self,
        model: nn.Module,
        encode: Callable[[Any, Tensor], Tensor],
        decode: Callable[[Any, Tensor], Tensor],
        *,
        factor: int,
        channels: int,
        source: str,
        sha256: str,
        licence: str | None,
    ) -> None:
        super().__init__()
        self.model, self._encode, self._decode = model, encode, decode
        self.factor, self.channels = factor, channels
        self._record = {"weights": source, "sha256": sha256, "licence": licence}

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) in [0, 1], C 1 or 3, sides multiples of `factor`, to latents (B, K, h, w)."""
        return self._encode(self.model, with_channels(images, self.channels))

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, K, h, w) to images (B, channels, H, W) in [0, 1]."""
        return self._decode(self.model, latents).clamp(0, 1)

    def reconstruct(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) of any size through the latents, in [0, 1] with as many channels. Sides that latents do
        not divide are continued by their border and cut again."""
        height, width = images.shape[-2:]
        down, across = -height % self.factor, -width % self.factor
        padded = functional.pad(images, (0, across, 0, down), mode="replicate") if down or across else images
        made = self.decode(self.encode(padded))[..., :height, :width]
        return with_channels(made, images.shape[1])

    def record(self) -> dict[str, Any]:
        return dict(self._record)


def load_autoencoder(weights: str) -> ImageAutoencoder:
    """An autoencoder in evaluation mode, in float32 on the CPU.

    weights  a folder with NAME_encoder.pth and NAME_decoder.pth of taesd's kind (taesd, taef2); a folder or hub id of
             diffusers' AutoencoderKL or AutoencoderTiny; or a Stable Diffusion, whose `vae` is taken
    """
    folder = Path(weights).expanduser()
    if folder.is_dir() and (files := taesd.files(folder)) is not None:
        model, sha256 = taesd.load(*files)
        return ImageAutoencoder(
            model,
            lambda m, x: m.encoder(x),
            lambda m, z: m.decoder(z),
            factor=taesd.FACTOR,
            channels=3,
            source=weights,
            sha256=sha256,
            licence=None,
        ).eval()
    found = located(weights)
    part = "vae" if found.has("vae") else ""
    return _of_diffusers(found, part).eval()


def _of_diffusers(found: DiffusersFolder, part: str) -> ImageAutoencoder:
    import diffusers  # takes seconds

    from medvfm.models.diffusion.from_diffusers import model_of

    kind = str(found.config(part).get("_class_name"))
    ways: dict[str, tuple[Callable[[Any, Tensor], Tensor], Callable[[Any, Tensor], Tensor]]] = {
        "AutoencoderKL": (
            lambda m, x: m.encode(x * 2 - 1).latent_dist.mean,
            lambda m, z: m.decode(z).sample / 2 + 0.5,
        ),
        "AutoencoderTiny": (lambda m, x: m.encode(x * 2 - 1).latents, lambda m, z: m.decode(z).sample / 2 + 0.5),
    }
    if kind not in ways:
        raise WeightsError(f"no autoencoder of the kind {kind!r} is known; {nearest(kind, ways)}", where=found.source)
    model, sha256 = model_of(getattr(diffusers, kind), found, part)
    encode, decode = ways[kind]
    with torch.inference_mode():
        channels = int(model.config.in_channels)
        probe = torch.zeros(1, channels, 64, 64)
        factor = 64 // encode(model, probe).shape[-1]
    return ImageAutoencoder(
        model,
        encode,
        decode,
        factor=factor,
        channels=channels,
        source=found.source,
        sha256=sha256,
        licence=found.licence(),
    )
