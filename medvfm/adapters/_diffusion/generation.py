"""`latent_diffusion` for generation: a denoiser trained on latents, and images made from conditions alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medvfm.adapters._diffusion import draws, making, spatial, words
from medvfm.adapters._diffusion.conditions import Conditions
from medvfm.adapters._diffusion.draws import NoisedExample
from medvfm.adapters._diffusion.making import Asked
from medvfm.core.case import Case
from medvfm.core.degradation import Degradation
from medvfm.core.errors import DataError, RecipeError, WeightsError
from medvfm.core.item import Item
from medvfm.core.made_images import MadeImages
from medvfm.core.protocols import Augment, Record, Task
from medvfm.models.diffusion.difference import Difference
from medvfm.models.diffusion.generator import FittedGenerator, ImageGenerator, with_channels
from medvfm.models.diffusion.sampling import Sampling
from medvfm.models.inputs.grid_volumes import GridVolumePreparer
from medvfm.models.inputs.pictures import PicturePreparer
from medvfm.models.weights import read_json
from medvfm.nn import diffusion, state

AUTOENCODER, TEXT = "autoencoder", "text"  # towers
SHAPE = "generator.json"  # beside the weights: what the training cases decided


@dataclass(frozen=True)
class GenerationSettings:
    """How a denoiser is trained and sampled; see adapters.latent_diffusion.Options."""

    sampling: Sampling = field(default_factory=Sampling)
    negative: str = ""
    sweep: Mapping[str, Sequence[float]] = field(default_factory=dict)
    dropped: float = 0.05
    min_snr_gamma: float | None = None
    offset_noise: float = 0.0
    chunk: int = 64
    rank: int = 8
    alpha: float | None = None
    seed: int = 0
    degradation: Degradation = field(default_factory=Degradation)


class LatentDiffusion:
    """See core.protocols.Adapter; and StartingAdapter, MakingAdapter, TowerAdapter of core.capabilities."""

    oracle: str | None = None
    probabilities = False

    def __init__(
        self,
        generator: ImageGenerator,
        question: Task | None,
        method: str,
        preparer: PicturePreparer | GridVolumePreparer,
        conditions: Conditions,
        settings: GenerationSettings,
    ) -> None:
        self.module, self.question, self.method = generator, question, method
        self.preparer, self.conditions, self._settings = preparer, conditions, settings
        self._read: dict[str, bool] = {}  # text to whether its end was cut
        self._nothing: Tensor | None = None  # the empty text, read by a frozen reader
        self._begin()

    @property
    def images(self) -> int:
        """How many are made for each case."""
        return int(getattr(self.question, "images", 1))

    @property
    def _spacing_mm(self) -> tuple[float, float, float] | None:
        return self.preparer.spacing_mm if isinstance(self.preparer, GridVolumePreparer) else None

    @property
    def answers_at_once(self) -> int:
        return max(1, self._settings.chunk // self.images)

    def _begin(self) -> None:
        s = self._settings
        self.module.set_trainable(self.method, rank=s.rank, alpha=s.alpha, seed=s.seed)

    def start_stage(self, method: str, options: Mapping[str, object]) -> None:
        """Go on with another method from the weights that the last stage left."""
        self.module.end_stage(self.method)
        self.method, self._nothing = method, None
        self._begin()

    def start_from(self, items: Iterable[Item]) -> None:
        """See the ranges of attributes; of a generator from scratch, fit its autoencoder to the training images."""
        found = list(items)
        self.conditions.fit(item.case for item in found)
        if self.conditions.by == "text" and not any(self.conditions.words(item.case) for item in found):
            raise DataError(
                "no training case has a text to ask for its image by",
                where="adapter.options.condition",
                remedy="take a card with texts, or condition: classes or none",
            )
        channels = max((item.pixels.shape[0] for item in found), default=1)
        if isinstance(self.module, FittedGenerator):
            shown = found if self.module.fits_images else found[:1]
            pictures = [torch.from_numpy(np.array(item.pixels))[None] for item in shown]
            images = torch.cat([with_channels(picture, channels) for picture in pictures]).numpy()
            self._take(self.module.fitted_to(images, *self._asked_with()))
        self.module.channels = channels
        if self.module.difference is not None:
            self._fit_difference(found, self.module.difference)

    def _fit_difference(self, items: Sequence[Item], difference: Difference) -> None:
        spoil = self._settings.degradation.of_case
        with torch.no_grad():
            clean = self._encoded([torch.from_numpy(np.array(item.pixels)) for item in items])[0]
            degraded = [spoil(np.asarray(item.pixels), item.case_id) for item in items]
            difference.fit(clean, spatial.degraded_of(self.module, degraded, self.device))

    def _asked_with(self) -> tuple[int, bool]:
        """How many values, and whether words, a generator from scratch is built for."""
        by = self.conditions.by
        return len(self.conditions.columns) if by == "classes" else 0, by == "text"

    def _take(self, generator: FittedGenerator) -> None:
        self.module = generator.to(self.device)
        self._begin()

    # frozen towers

    def embed_tower(self, tower: str, items: Sequence[Item]) -> Mapping[str, Tensor]:
        """autoencoder: `mean` and `deviation` (B, *latent_shape) of scaled latents. text: `read` (B, ...)."""
        if tower == TEXT:
            return {"read": self.module.read_texts(self._prompts(items))}
        pictures = [torch.from_numpy(np.array(item.pixels)) for item in items]
        mean, deviation = self._encoded(pictures)
        found = {"mean": mean, "deviation": deviation}
        if self.method in spatial.MASKED:
            found["mask"] = spatial.masks_of(items)
        if self.method == "inpaint":
            found["around"] = spatial.surroundings_of(self.module, items, self.device)
        return found

    def _prompts(self, items: Sequence[Item]) -> list[str]:
        found = self.module.prompts([self.conditions.words(item.case) for item in items])
        for text in found:
            if text and text not in self._read:
                self._read[text] = self.module.is_cut(text)
        return found

    def tower_key(self, tower: str) -> str:
        seen = self.preparer.spatial if self.method in spatial.MASKED else None
        text = json.dumps([tower, self.module.tower_sha256(tower), self.module.channels, seen])
        return f"diffusion-{tower}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"

    def tower_text(self, tower: str, case: Case) -> str | None:
        return self._prompts([Item(case)])[0] if tower == TEXT else None

    def _encoded(self, pictures: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        channels = self.module.channels
        batch = torch.cat([with_channels(p[None].float(), channels) for p in pictures])
        return self.module.encode(batch.to(self.device))

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    # training

    def example(self, item: Item, rng: np.random.Generator, augment: Augment) -> NoisedExample:
        """A case with a time step and noise; of a validation case several."""
        pixels = None
        if AUTOENCODER not in item.towers:  # a volume is changed as a stack of pictures, all alike
            pixels = np.moveaxis(augment(np.moveaxis(np.asarray(item.pixels), 0, -3), None)[0], -3, 0)
        training = self.module.training
        found = draws.example(item, pixels, rng, self.module.latent_shape, self._settings.dropped, training=training)
        if self.method != "restore":
            return found
        assert pixels is not None
        fresh = self._settings.degradation(pixels, rng) if training else item.arrays[spatial.DEGRADED]
        return replace(found, degraded=fresh)

    def collate(self, examples: Sequence[NoisedExample]) -> dict[str, Any]:
        """For B examples of D draws: mean and deviation (B, ...) of latents, or images (B, C, H, W); `read` texts
        (B, ...) or their `words`; values (B, V); t (B * D,), noise, posterior and shift (B * D, ...); dropped (B,);
        `degraded` images, of those that are restored."""
        items = [e.item for e in examples]
        dropped = torch.tensor([e.dropped for e in examples])
        values = torch.from_numpy(np.stack([self.conditions.values(i.case) for i in items]))
        values[dropped] = torch.nan
        batch: dict[str, Any] = {
            "values": values,
            "dropped": dropped,
            **draws.joined(examples, self.module.schedule.steps),
        }
        if all(TEXT in i.towers for i in items):
            batch["read"] = draws.padded([torch.from_numpy(np.array(i.towers[TEXT]["read"])) for i in items])
        else:
            prompts = self._prompts(items)
            batch["words"] = ["" if e.dropped else prompt for e, prompt in zip(examples, prompts, strict=True)]
        if all(e.pixels is None for e in examples):
            stored = [i.towers[AUTOENCODER] for i in items]
            return batch | {n: torch.from_numpy(np.stack([s[n] for s in stored])) for n in stored[0]}
        if self.method in spatial.MASKED:
            batch["mask"] = spatial.masks_of(items)
        if self.method == "inpaint":
            batch["surrounded"] = items
        if self.method == "restore":
            batch["degraded"] = [e.degraded for e in examples]
        return batch | {"pictures": [torch.from_numpy(np.array(e.pixels)) for e in examples]}

    def loss(self, batch: Mapping[str, Any]) -> Tensor:
        """The mean over examples and draws."""
        device, repeated, s = self.device, batch["draws"], self._settings
        if self.method == "autoencoder":
            return self._reconstruction_loss(batch)
        with torch.no_grad():
            if "pictures" in batch:
                mean, deviation = self._encoded(batch["pictures"])
            else:
                mean, deviation = batch["mean"].to(device), batch["deviation"].to(device)
            noise, posterior, shift, t = (batch[n].to(device) for n in (*draws.DRAWN, "t"))
            clean = mean.repeat_interleave(repeated, 0) + deviation.repeat_interleave(repeated, 0) * posterior
            if s.offset_noise and noise.ndim > 2:
                noise = diffusion.offset_noise(noise, s.offset_noise, shift)
        states = self._states(batch).repeat_interleave(repeated, 0)
        beside = {name: value.repeat_interleave(repeated, 0) for name, value in self._beside(batch).items()}
        apart = self.module.difference
        if apart is not None:
            clean, beside["given"] = apart.of(clean, beside["given"]), apart.read(beside["given"])
        schedule = self.module.schedule
        predicted = self.module.denoise(schedule.noisy(clean, noise, t), t, states, **beside)
        return schedule.loss(predicted, clean, noise, t, s.min_snr_gamma).mean()

    def _reconstruction_loss(self, batch: Mapping[str, Any]) -> Tensor:
        channels = self.module.channels
        images = torch.cat([with_channels(p[None].float(), channels) for p in batch["pictures"]]).to(self.device)
        posterior = batch["posterior"].to(self.device)[:: batch["draws"]]
        return self.module.reconstruction_loss(images, posterior)

    def _beside(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """What the denoiser reads besides states."""
        if self.method == "restore":
            with torch.no_grad():
                return {"given": spatial.degraded_of(self.module, batch["degraded"], self.device)}
        if self.method not in spatial.MASKED:
            return {}
        around = batch["around"].to(self.device) if "around" in batch else None
        if "surrounded" in batch:
            with torch.no_grad():
                around = spatial.surroundings_of(self.module, batch["surrounded"], self.device)
        return spatial.read(self.module, self.method, batch["mask"].to(self.device), around)

    def _states(self, batch: Mapping[str, Any]) -> Tensor:
        if "words" in batch:
            read = self.module.read_texts(batch["words"])
        else:
            stored = batch["read"].to(self.device)
            stored, nothing = draws.padded_alike(stored, self._nothing_read())
            dropped = batch["dropped"].to(self.device).view(-1, *[1] * (stored.ndim - 1))
            read = torch.where(dropped, nothing.to(stored), stored)
        return self.module.states(read.to(self.device), batch["values"].to(self.device))

    def _nothing_read(self) -> Tensor:
        """(1, ...) the empty text; read once, since this is asked where the reader is frozen."""
        if self._nothing is None or self._nothing.device != self.device:
            with torch.no_grad():
                self._nothing = self.module.read_texts([""]).to(self.device).clone()
        return self._nothing

    # answers

    def answer(self, items: Sequence[Item], variant: str | None = None) -> list[MadeImages]:
        """As many images for each item as the task wants."""
        seeds = [[draws.seed_of(self._settings.seed, item.case_id, k) for k in range(self.images)] for item in items]
        return self._made(items, seeds, self._varied(variant))

    def make(
        self, items: Sequence[Item], seeds: Sequence[Sequence[int]], strength: float | None = None
    ) -> list[MadeImages]:
        """See core.capabilities.MakingAdapter."""
        own = self._settings.sampling
        if strength is None:
            return self._made(items, seeds, own)
        if self.preparer.spatial:
            raise RecipeError(f"{self.method} has an image to begin with already", where="--strength")
        with torch.inference_mode():
            begin = self._encoded([torch.from_numpy(np.array(item.pixels)) for item in items])[0]
        return self._made(items, seeds, replace(own, strength=strength), begin)

    def condition_words(self, case: Case) -> str:
        """The prompt of a case, as it is shown and written to files; empty without a condition."""
        return self.conditions.words(case)

    def asked(self, prompt: str) -> Case:
        """See core.capabilities.MakingAdapter."""
        return self.conditions.asked(prompt)

    def variants(self) -> list[str]:
        return [f"{name}={value:g}" for name, values in self._settings.sweep.items() for value in values]

    def _varied(self, variant: str | None) -> Sampling:
        if variant is None:
            return self._settings.sampling
        name, _, value = variant.partition("=")
        own = self._settings.sampling
        return replace(own, steps=int(value)) if name == "steps" else replace(own, guidance=float(value))

    def _made(
        self, items: Sequence[Item], seeds: Sequence[Sequence[int]], how: Sampling, begin: Tensor | None = None
    ) -> list[MadeImages]:
        """begin: clean latents of the items' own images, for image to image."""
        self.module.eval()
        with torch.inference_mode():
            states, against = self._asked_states(items)
            given, around = spatial.asked_by(self.module, self.method, items, self.device)
            asked = Asked(states, against, given, around, begin)
            images = making.images_of(self.module, asked, seeds, how, self._settings.chunk)
        if self.method == "inpaint":
            images = spatial.composed(images, items, [place for place, own in enumerate(seeds) for _ in own])
        parts = np.split(images, np.cumsum([len(own) for own in seeds]))
        said = f"{how.sampler}, {how.steps} steps, guidance {how.guidance:g}"
        said += f", from an image with a strength of {how.strength:g}" if begin is not None else ""
        return [
            MadeImages(part, self.conditions.words(item.case), tuple(own), said, self._spacing_mm)
            for part, item, own in zip(parts, items, seeds, strict=False)
        ]

    def _asked_states(self, items: Sequence[Item]) -> tuple[Tensor, Tensor]:
        """States of the items, and of what they are guided away from."""
        texts = self._prompts(items)
        values = torch.from_numpy(np.stack([self.conditions.values(item.case) for item in items])).to(self.device)
        nothing = torch.full_like(values, torch.nan)
        towards = self.module.states(self.module.read_texts(texts).to(self.device), values)
        away = self.module.read_texts([self._settings.negative] * len(items)).to(self.device)
        return towards, self.module.states(away, nothing)

    # what was trained, on disk

    def save(self, folder: Path) -> None:
        """The generator's own files, and `generator.json`: what the training cases decided."""
        self.module.save(folder, self.method)
        shape = {
            "columns": self.conditions.as_record()["columns"],
            "exclusive": self.conditions.exclusive,
            "channels": self.module.channels,
            "latents": list(self.module.latent_shape),
        }
        (folder / SHAPE).write_text(json.dumps(shape), encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Put back what `save` wrote."""
        shape = read_json(folder / SHAPE)
        try:
            columns, channels, latents = shape["columns"], int(shape["channels"]), int(shape["latents"][0])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise WeightsError("does not say columns, channels and latents", where=folder / SHAPE) from error
        self.conditions.take_columns(columns)
        self.conditions.exclusive = bool(shape.get("exclusive"))
        if isinstance(self.module, FittedGenerator):
            self._take(self.module.of_shape(latents, channels, *self._asked_with()))
        self.module.channels = channels
        self.module.load(folder, self.method)
        self._nothing = None

    def record(self) -> Record:
        how, s = self._settings.sampling, self._settings
        found: Record = {
            **self.module.describe(),
            "spacing_mm": None if self._spacing_mm is None else list(self._spacing_mm),
            "condition": self.conditions.as_record(),
            "sampler": how.sampler,
            "steps": how.steps,
            "guidance": how.guidance,
            "negative": s.negative,
            "dropped": s.dropped,
            "min_snr_gamma": s.min_snr_gamma,
            "offset_noise": s.offset_noise,
            "parameters": state.count(self.module),
            "texts": {"read": len(self._read), "cut": sum(self._read.values())},
        }
        return found | {"said": words.said(found | {"method": self.method})}
