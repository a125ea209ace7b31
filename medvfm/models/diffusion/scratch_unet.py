"""`tiny-spatial` and `pixels`: a small U-Net of diffusers from scratch, on components of patches or on pixels.

For GPUs: convolutions learn small images well, and need more steps than two processors take in minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DModel
from torch import Tensor, nn
from torch.nn import functional

from medvfm.core.errors import RecipeError
from medvfm.models.diffusion.condition_reader import IDS, VERSION, ConditionReader, read_texts
from medvfm.models.diffusion.difference import Difference
from medvfm.models.diffusion.generator import FittedGenerator, with_channels
from medvfm.models.diffusion.tiny import PrincipalComponents
from medvfm.models.weights import load_strictly, sha256_of_tensors
from medvfm.nn import state
from medvfm.nn.diffusion import NoiseSchedule

SPATIAL, PIXELS = "tiny-spatial", "pixels"  # by the name of the weights
PATCH = 4  # pixels a side
COMPONENTS = 16  # of a patch: all of a gray one, so that nothing is lost


class PatchComponents(nn.Module):
    """Images (B, C, H, W) as principal components of their patches, (B, K, H / 4, W / 4): the same in every place.

    Without fitted components (`None`) pixels themselves are the latents, from -1 to 1.
    """

    def __init__(self, components: PrincipalComponents | None, channels: int) -> None:
        super().__init__()
        self.components, self.channels = components, channels

    def encode(self, images: Tensor) -> Tensor:
        if self.components is None:
            return images * 2 - 1
        height, width = images.shape[-2] // PATCH, images.shape[-1] // PATCH
        patches = functional.unfold(images, PATCH, stride=PATCH).transpose(1, 2)
        return self.components.encode(patches).transpose(1, 2).reshape(len(images), -1, height, width)

    def decode(self, latents: Tensor) -> Tensor:
        if self.components is None:
            return latents / 2 + 0.5
        size = latents.shape[-2] * PATCH, latents.shape[-1] * PATCH
        patches = self.components.decode(latents.flatten(2).transpose(1, 2)).transpose(1, 2)
        return functional.fold(patches, size, PATCH, stride=PATCH)


class ScratchGenerator(FittedGenerator):
    """See the module's docstring. With conditions, whose state is added to the embedding of time, it predicts v under
    a cosine schedule. Without it is an unconditional DDPM (Ho et al. 2020), which predicts the noise under a linear
    one. One that restores images predicts v of the difference from the degraded image, whose latents it reads as
    further channels (Saharia et al. 2022).
    """

    def __init__(
        self,
        patches: PatchComponents,
        size_px: tuple[int, int],
        *,
        source: str,
        values: int,
        words: bool,
        seed: int,
        widths: tuple[int, ...],
        reads_image: bool = False,
    ) -> None:
        super().__init__()
        self.patches, self.size_px, self.channels = patches, size_px, patches.channels
        self.source, self.seed, self.widths = source, seed, widths
        self.reads_image = reads_image
        components = patches.components
        latents = patches.channels if components is None else len(components.scale)
        factor = 1 if components is None else PATCH
        self.latent_shape = (latents, size_px[0] // factor, size_px[1] // factor)
        asked = bool(values or words)
        steered = asked or reads_image
        self.schedule = NoiseSchedule.cosine("v_prediction") if steered else NoiseSchedule.linear("epsilon")
        self.sampler_config = {
            "num_train_timesteps": self.schedule.steps,
            "trained_betas": self.schedule.betas(),
            "prediction_type": self.schedule.prediction,
            "clip_sample": False,
            "timestep_spacing": "trailing",
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.reader = ConditionReader(values, words, 4 * widths[0]) if asked else None
            self.unet: Any = _unet(latents, self.latent_shape[1:], widths, asked, given=reads_image)
        self.difference = Difference(latents) if reads_image else None

    def fitted_to(self, images: np.ndarray, values: int, words: bool) -> ScratchGenerator:
        pixels = self.source == PIXELS
        return self._with(PatchComponents(None, images.shape[1]) if pixels else fitted_patches(images), values, words)

    def of_shape(self, latents: int, channels: int, values: int, words: bool) -> ScratchGenerator:
        of_patches = None if self.source == PIXELS else PrincipalComponents(latents, channels * PATCH * PATCH)
        return self._with(PatchComponents(of_patches, channels), values, words)

    def _with(self, patches: PatchComponents, values: int, words: bool) -> ScratchGenerator:
        return ScratchGenerator(
            patches,
            (self.size_px[0], self.size_px[1]),
            source=self.source,
            values=values,
            words=words,
            seed=self.seed,
            widths=self.widths,
            reads_image=self.reads_image,
        )

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean = self.patches.encode(with_channels(images, self.channels).float())
        return mean, torch.zeros_like(mean)

    def decode(self, latents: Tensor) -> Tensor:
        return self.patches.decode(latents.float()).clamp(0, 1)

    def read_texts(self, texts: Sequence[str]) -> Tensor:
        """(B, L) ids of words and pairs, padded with -1."""
        return read_texts(texts)

    def states(self, texts: Tensor, values: Tensor) -> Tensor:
        if self.reader is None:
            return torch.zeros((len(texts), 1), device=self.unet.device)
        found: Tensor = self.reader(texts, values)
        return found

    def denoise(self, noisy: Tensor, t: Tensor, states: Tensor, **more: Tensor) -> Tensor:
        if self.reads_image:
            noisy = torch.cat([noisy, more["given"].to(noisy)], dim=1)
        asked = {} if self.reader is None else {"class_labels": states.to(noisy.dtype)}
        found: Tensor = self.unet(noisy, t, return_dict=False, **asked)[0]
        return found

    def set_trainable(self, method: str, *, rank: int, alpha: float | None, seed: int) -> None:
        """Everything but the components, which are fitted in closed form."""
        self.requires_grad_(True)

    def tower_sha256(self, tower: str) -> str:
        if tower == "text":
            return f"words-{VERSION}-{IDS}"
        return sha256_of_tensors(self.patches.state_dict()) if self.patches.components is not None else "pixels"

    def save(self, folder: Path, method: str) -> None:
        """`model.safetensors`: components, reader and U-Net; and `unet/` as diffusers loads it."""
        state.write(folder / "model.safetensors", {n: w.detach().cpu() for n, w in self.state_dict().items()})
        self.unet.save_config(folder / "unet")
        own = {n: w.detach().cpu() for n, w in self.unet.state_dict().items()}
        state.write(folder / "unet" / "diffusion_pytorch_model.safetensors", own)

    def load(self, folder: Path, method: str) -> None:
        load_strictly(self, state.read(folder / "model.safetensors"), str(folder))

    def record(self) -> dict[str, Any]:
        return {"weights": self.source, "sha256": None, "licence": None, "seed": self.seed, "scaling_factor": None}


def unfitted(source: str, size_px: tuple[int, int], width: int, seed: int) -> ScratchGenerator:
    """A generator of that name for gray images, before it is fitted; `width` channels at the U-Net's first level."""
    widths = (width, 2 * width, 2 * width)
    step = (1 if source == PIXELS else PATCH) * 2 ** (len(widths) - 1)
    if size_px[0] % step or size_px[1] % step or width % 16:
        wrong = width % 16 != 0
        raise RecipeError(
            f"a U-Net of {width} channels" if wrong else f"images of {size_px[0]} × {size_px[1]} px with {source}",
            where="adapter.options.width" if wrong else "prepare.size",
            remedy=f"take a multiple of {16 if wrong else step}",
        )
    patches = PatchComponents(None if source == PIXELS else PrincipalComponents(COMPONENTS, PATCH * PATCH), 1)
    return ScratchGenerator(patches, size_px, source=source, values=0, words=False, seed=seed, widths=widths)


def fitted_patches(images: np.ndarray) -> PatchComponents:
    """Components of the patches of images (n, C, H, W), sides multiples of 4."""
    n, channels, height, width = images.shape
    cut = images.reshape(n, channels, height // PATCH, PATCH, width // PATCH, PATCH)
    patches = cut.transpose(0, 2, 4, 1, 3, 5).reshape(-1, channels * PATCH * PATCH)
    return PatchComponents(PrincipalComponents.fitted(patches, COMPONENTS * (1 if channels == 1 else 2)), channels)


def _unet(latents: int, size: tuple[int, ...], widths: tuple[int, ...], asked: bool, *, given: bool) -> Any:
    """Attention below the first level, where there are several places to attend to: in a single one its queries and
    keys would learn nothing."""
    places = [(size[0] >> level) * (size[1] >> level) for level in range(len(widths))]
    attends = [level > 0 and count > 1 for level, count in enumerate(places)]
    return UNet2DModel(
        sample_size=tuple(size),
        in_channels=latents * (1 + given),
        out_channels=latents,
        block_out_channels=widths,
        layers_per_block=2,
        norm_num_groups=32 if widths[0] % 32 == 0 else 4,
        attention_head_dim=8,
        down_block_types=tuple("AttnDownBlock2D" if yes else "DownBlock2D" for yes in attends),
        up_block_types=tuple("AttnUpBlock2D" if yes else "UpBlock2D" for yes in reversed(attends)),
        add_attention=places[-1] > 1,
        class_embed_type="identity" if asked else None,
    )
