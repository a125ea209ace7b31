"""From noise to latents: diffusers' schedulers, guidance, and a random generator of its own for each image."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from medvfm.core.errors import RecipeError, nearest
from medvfm.models.diffusion.generator import ImageGenerator

SAMPLERS = ("ddim", "dpm++", "euler")


@dataclass(frozen=True)
class Sampling:
    """sampler  of SAMPLERS
    steps     of the sampler
    guidance  w of Ho and Salimans 2022 as diffusers counts it: 1 is none, 0 ignores the condition
    strength  share of the noise that a given image gets, for image to image; 1 begins with noise alone
    """

    sampler: str = "ddim"
    steps: int = 50
    guidance: float = 2.0
    strength: float = 1.0

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise RecipeError(
                f"no sampler {self.sampler!r}; {nearest(self.sampler, SAMPLERS)}", where="adapter.options.sampler"
            )


def scheduler(config: Mapping[str, Any], sampler: str) -> Any:
    """diffusers' scheduler of that name, with the noise schedule and prediction of `config`."""
    from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler  # seconds to import

    kinds = {"ddim": DDIMScheduler, "dpm++": DPMSolverMultistepScheduler, "euler": EulerDiscreteScheduler}
    return kinds[sampler](**scheduler_arguments(kinds[sampler], config))


def scheduler_arguments(kind: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """What a kind of scheduler takes of a configuration, which may be that of another kind."""
    known = inspect.signature(kind.__init__).parameters
    return {name: value for name, value in config.items() if name in known and not name.startswith("_")}


def noise_of(shape: Sequence[int], seeds: Sequence[int]) -> Tensor:
    """(n, *shape) standard normal on the CPU: each image from a generator of its own, as diffusers' pipelines draw."""
    drawn = [torch.randn((1, *shape), generator=torch.Generator().manual_seed(seed % 2**63)) for seed in seeds]
    return torch.cat(drawn) if drawn else torch.zeros((0, *shape))


@torch.inference_mode()
def sample(
    generator: ImageGenerator,
    states: Tensor,
    against: Tensor,
    seeds: Sequence[int],
    how: Sampling,
    *,
    start: Tensor | None = None,
    keep: tuple[Tensor, Tensor] | None = None,
    more: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """Latents (n, *latent_shape), one for each seed.

    states, against  (n, ...) of the conditions, and of what they are guided away from: none, or negative prompts
    start            clean latents that `how.strength` adds noise to, for image to image
    keep             clean latents, and a region (n, 1, h, w): outside it latents are put back after each step to
                     these with as much noise as the step has (Lugmayr et al. 2022, eq. 8, without resampling)
    more             further inputs (n, ...) of the denoiser, such as a mask
    """
    device = states.device
    steps = scheduler(generator.sampler_config, how.sampler)
    steps.set_timesteps(how.steps, device=device)
    times = steps.timesteps
    noise = noise_of(generator.latent_shape, seeds).to(device, states.dtype)
    if start is None:
        latents = noise * steps.init_noise_sigma
    else:
        kept = min(int(how.steps * how.strength), how.steps)
        times = times[max(how.steps - kept, 0) * steps.order :]
        if hasattr(steps, "set_begin_index"):
            steps.set_begin_index(max(how.steps - kept, 0) * steps.order)
        latents = steps.add_noise(start, noise, times[:1].expand(len(noise))) if len(times) else start
    guided = how.guidance not in (0, 1)
    read = torch.cat([against, states]) if guided else against if how.guidance == 0 else states
    beside = {name: torch.cat([v, v]) if guided else v for name, v in (more or {}).items()}
    for place, time in enumerate(times):
        given = torch.cat([latents, latents]) if guided else latents
        given = steps.scale_model_input(given, time)
        found = generator.denoise(given, time.expand(len(given)), read, **beside)
        if guided:
            away, towards = found.chunk(2)
            found = away + how.guidance * (towards - away)
        latents = steps.step(found, time, latents, return_dict=False)[0]
        if keep is not None:
            clean, region = keep
            last = place + 1 == len(times)
            stays = clean if last else steps.add_noise(clean, noise, times[place + 1 : place + 2].expand(len(noise)))
            latents = region * latents + (1 - region) * stays
    return latents
