"""Masks, edges, surroundings and degraded images as conditions: what a denoiser reads of a case besides words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from medvfm.core.errors import RecipeError
from medvfm.core.item import Item
from medvfm.models.diffusion.generator import ImageGenerator, with_channels

READS: dict[str, Literal["", "mask", "around", "degraded"]] = {  # by method
    "controlnet": "mask",
    "inpaint": "around",
    "restore": "degraded",
}
MASKED = ("controlnet", "inpaint")  # methods that read masks
MASK, AROUND, DEGRADED = "mask", "around", "degraded"


def masks_of(items: Sequence[Item]) -> Tensor:
    """(B, 1, H, W) of the items' own arrays."""
    for item in items:
        if MASK not in item.arrays:
            raise RecipeError(
                "this model makes images from masks or edges, and words alone hold none",
                where="prompt",
                remedy="run it on cases",
            )
    return torch.from_numpy(np.stack([item.arrays[MASK] for item in items]))


def surroundings_of(generator: ImageGenerator, items: Sequence[Item], device: torch.device) -> Tensor:
    """(B, K, h, w): the middle of the latents of pictures whose region is gray."""
    pictures = [torch.from_numpy(np.array(item.arrays[AROUND]))[None].float() for item in items]
    batch = torch.cat([with_channels(p, generator.channels) for p in pictures])
    return generator.encode(batch.to(device))[0]


def degraded_of(generator: ImageGenerator, pictures: Sequence[np.ndarray], device: torch.device) -> Tensor:
    """(B, *latent_shape): the middle of the latents of degraded images (C, H, W)."""
    batch = torch.cat(
        [with_channels(torch.from_numpy(np.array(p))[None].float(), generator.channels) for p in pictures]
    )
    return generator.encode(batch.to(device))[0]


def degraded_images(items: Sequence[Item]) -> list[np.ndarray]:
    """Of items that are to be restored."""
    for item in items:
        if DEGRADED not in item.arrays:
            raise RecipeError(
                "this model restores images, and words alone hold none",
                where="prompt",
                remedy="give it degraded images: medvfm predict RUN IMAGE",
            )
    return [item.arrays[DEGRADED] for item in items]


def read(generator: ImageGenerator, method: str, mask: Tensor, around: Tensor | None) -> dict[str, Tensor]:
    """Further inputs of the denoiser."""
    if method == "controlnet":
        return {"hint": mask}
    if method == "inpaint" and generator.reads_region:
        assert around is not None
        return {"region": region_of(generator, mask), "around": around}
    return {}


def asked_by(
    generator: ImageGenerator, method: str, items: Sequence[Item], device: torch.device
) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor] | None]:
    """What the denoiser reads of items besides states; and, of a network that reads no region, the latents that stay
    and the region that does not."""
    if method == "restore":
        return {"given": degraded_of(generator, degraded_images(items), device)}, None
    if method not in MASKED:
        return {}, None
    mask = masks_of(items).to(device)
    if method != "inpaint":
        return read(generator, method, mask, None), None
    around = surroundings_of(generator, items, device)
    keep = None if generator.reads_region else (around, region_of(generator, mask))
    return read(generator, method, mask, around), keep


def region_of(generator: ImageGenerator, mask: Tensor) -> Tensor:
    """(B, 1, h, w): the mask on the grid of the latents, as diffusers' inpainting pipeline brings it there."""
    return functional.interpolate(mask.float(), generator.latent_shape[1:])


def composed(images: np.ndarray, items: Sequence[Item], rows: Sequence[int]) -> np.ndarray:
    """(n, H, W, C) with everything outside the region as it was."""
    channels = images.shape[-1]
    for place, row in enumerate(rows):
        arrays: Mapping[str, np.ndarray] = items[row].arrays
        around = with_channels(torch.from_numpy(np.array(arrays[AROUND]))[None], channels)[0]
        inside = np.moveaxis(arrays[MASK], 0, 2) > 0
        images[place] = np.where(inside, images[place], np.moveaxis(around.numpy(), 0, 2))
    return images
