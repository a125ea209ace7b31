"""Generators by name: from a recipe's text to a model."""

from __future__ import annotations

import math

from medvfm.core.errors import WeightsError
from medvfm.models.diffusion.generator import ImageGenerator
from medvfm.models.diffusion.names import MONAI, OF_VOLUMES, SCRATCH, TINY

TINY_PX = (64, 64)


def load_generator(weights: str, size_px: tuple[int, ...] | None, *, width: int = 128, seed: int = 0) -> ImageGenerator:
    """A generator in evaluation mode, in float32 on the CPU; of volumes where `size_px` has three numbers.

    tiny                        principal components and a perceptron from scratch, still to be fitted to images
    tiny-spatial                components of patches and a small U-Net from scratch, for GPUs
    pixels                      a small U-Net from scratch on pixels, for GPUs
    monai                       MONAI's AutoencoderKL and DiffusionModelUNet from scratch, for GPUs
    owner/name, owner/name@REV  a Stable Diffusion of the family 1.x or 2.x on the hub, in diffusers' format
    a folder                    the same on disk
    """
    if weights == TINY:
        from medvfm.models.diffusion.tiny import PrincipalComponents, TinyGenerator

        size = size_px or TINY_PX
        components = PrincipalComponents(1, math.prod(size))
        return TinyGenerator(components, 1, size, values=0, words=False, seed=seed).eval()
    if weights == MONAI:
        from medvfm.models.diffusion import from_monai

        return from_monai.unfitted(size_px or TINY_PX, width, seed).eval()
    if size_px is not None and len(size_px) != 2:
        raise WeightsError(f"{weights} makes pictures, not volumes", remedy=f"take {' or '.join(OF_VOLUMES)}")
    plane = None if size_px is None else (size_px[0], size_px[1])
    if weights in SCRATCH:
        from medvfm.models.diffusion.scratch_unet import unfitted

        return unfitted(weights, plane or TINY_PX, width, seed).eval()
    from medvfm.models.diffusion import diffusers_folder
    from medvfm.models.diffusion.from_diffusers import load_diffusers  # diffusers takes seconds

    return load_diffusers(diffusers_folder.located(weights), plane).eval()
