"""From what is asked for to images: latents sampled in blocks, and decoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medvfm.models.diffusion import sampling
from medvfm.models.diffusion.generator import ImageGenerator
from medvfm.models.diffusion.sampling import Sampling


@dataclass(frozen=True, eq=False)
class Asked:
    """What n images are asked for by; see models.diffusion.sampling.sample.

    states, against  (n, ...) of the conditions, and of what they are guided away from
    given            further inputs (n, ...) of the denoiser, before `ImageGenerator.difference` reads them
    around           latents that stay, and the region that does not; None: nothing stays
    begin            (n, *latent_shape) clean latents that image to image begins with
    """

    states: Tensor
    against: Tensor
    given: Mapping[str, Tensor]
    around: tuple[Tensor, Tensor] | None = None
    begin: Tensor | None = None


@torch.inference_mode()
def images_of(
    generator: ImageGenerator, asked: Asked, seeds: Sequence[Sequence[int]], how: Sampling, chunk: int
) -> np.ndarray:
    """(sum of seeds, *size, C) float32 in [0, 1]: for each of n conditions an image a seed, `chunk` at a time."""
    flat = [(place, seed) for place, own in enumerate(seeds) for seed in own]
    apart, device = generator.difference, asked.states.device
    made = []
    for start in range(0, len(flat), chunk):
        part = flat[start : start + chunk]
        rows = torch.tensor([place for place, _ in part], device=device)
        more = {name: value[rows] for name, value in asked.given.items()}
        if apart is not None:
            more["given"] = apart.read(more["given"])
        keep = None if asked.around is None else (asked.around[0][rows], asked.around[1][rows])
        begin = None if asked.begin is None else asked.begin[rows]
        own = [seed for _, seed in part]
        latents = sampling.sample(
            generator, asked.states[rows], asked.against[rows], own, how, start=begin, keep=keep, more=more
        )
        if apart is not None:
            latents = apart.restored(latents, asked.given["given"][rows])
        made.append(generator.decode(latents).movedim(1, -1).float().cpu().numpy())
    return np.concatenate(made) if made else np.zeros((0, *generator.size_px, generator.channels), np.float32)
