"""The part of `dinov2` that answers segmentation: any encoder with a decoder for every pixel, slice by slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from medvfm.adapters import _dinov2_words
from medvfm.core.errors import RecipeError
from medvfm.core.item import Item
from medvfm.core.protocols import Augment, Batch, Record, Task
from medvfm.core.recipe_sections import Prepare
from medvfm.models.encoders import dense
from medvfm.models.encoders import tuning as trainable
from medvfm.models.encoders.base import Encoder
from medvfm.models.inputs.volumes import VolumePreparer
from medvfm.nn import dense_losses, state
from medvfm.nn.expected_overlap import ExpectedDice

CHUNK = 16  # slices that go through the network at once
LOOKS = 8  # how often a draw looks for a slice that holds a structure


class EncoderSegmenter:
    """A segmenter of slices. See core.protocols.Adapter.

    reach  2.5D: how many neighbours on each side are further channels; with 1 a gray slice and its two neighbours
           fill the three channels of an encoder of colour pictures
    """

    oracle: str | None = None
    probabilities = False
    answers_at_once = 1

    def __init__(
        self,
        encoder: Encoder,
        question: Task,
        method: str,
        prepare: Prepare,
        *,
        windows: Mapping[str, tuple[float, float]],
        read: Mapping[Any, Any],
        roles: tuple[str, ...] | None,
        reach: int,
        decoder: str,
        loss: str,
        tuning: trainable.Tuning,
        seed: int,
    ) -> None:
        self.question, self.method, self._reach, self._loss, self._tuning = question, method, reach, loss, tuning
        self.preparer = VolumePreparer(prepare, windows, read, roles)
        outputs = len(question.classes) + (question.kind == "semantic")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.module: nn.Module = dense.DenseNet(encoder, decoder, outputs)
        self._decoder = decoder
        trainable.set_trainable(encoder, method, tuning, encoder.pyramid)

    @property
    def encoder(self) -> Encoder:
        return self.module.encoder  # type: ignore[return-value]

    @property
    def side_px(self) -> int:
        return self.encoder.contract.size_px[0]

    def start_stage(self, method: str, options: Mapping[str, object]) -> None:
        """Go on with another method from the weights that the last stage left."""
        trainable.restage(self.encoder, self.method, method, self._tuning, self.encoder.pyramid)
        self.method = method

    # training

    def example(self, item: Item, rng: np.random.Generator, augment: Augment) -> dict[str, torch.Tensor]:
        """A slice as the network takes it: pixels (C, side, side), labels (side, side) or (T, side, side)."""
        assert item.truth is not None
        index = self._index(item.truth, rng)
        pixels, labels = augment(self._slice(item, index), np.ascontiguousarray(item.truth[..., index, :, :]))
        frame = dense.PaddedFrame(pixels.shape[-2:], self.side_px)
        layers = torch.from_numpy(labels.astype(np.int64)).view(1, -1, *labels.shape[-2:])
        framed = frame.labels(layers, dense_losses.IGNORED)[0]
        return {
            "pixels": frame.pixels(torch.from_numpy(pixels)[None])[0],
            "labels": framed if labels.ndim == 3 else framed[0],
        }

    def _index(self, truth: np.ndarray, rng: np.random.Generator) -> int:
        """Two of three draws look for a slice with a structure, each structure as often as any; the others take any."""
        index = int(rng.integers(truth.shape[-3]))
        if rng.random() < 1 / 3:
            return index
        number = int(rng.integers(len(self.question.classes)))
        for _ in range(LOOKS):
            held = truth[number, index] if truth.ndim == 4 else truth[index] == number + 1
            if held.any():
                break
            index = int(rng.integers(truth.shape[-3]))
        return index

    def _slice(self, item: Item, index: int) -> np.ndarray:
        """(C, H, W) float32, neighbours among the channels."""
        gray = item.pixels.shape[0] == 1 and item.pixels.shape[1] > 1
        return dense.neighbours(item.pixels, index, self._reach if gray else 0)

    def collate(self, examples: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        channels = self.encoder.contract.channels
        return {
            "pixels": torch.cat([self._channels(e["pixels"][None], channels) for e in examples]),
            "labels": torch.stack([e["labels"] for e in examples]),
        }

    def _channels(self, slices: torch.Tensor, channels: int) -> torch.Tensor:
        if slices.shape[1] not in (1, channels):
            raise RecipeError(
                f"the images give {slices.shape[1]} channels, and the encoder takes {channels}",
                where="adapter.options.roles",
                remedy=f"name {channels} roles, or one",
            )
        return dense.as_channels(slices, channels)

    def loss(self, batch: Batch) -> torch.Tensor:
        logits = self.module(self._normalised(batch["pixels"]))
        labels = batch["labels"].to(logits.device)
        of_kind = dense_losses.overlapping if self.question.kind == "multi_label" else dense_losses.exclusive
        return of_kind(logits, labels, self._loss)

    def _normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        device = next(self.module.parameters()).device
        return self.encoder.contract.normalise(pixels.to(device, non_blocking=True))

    # answers

    def answer(self, items: Sequence[Item], variant: str | None = None) -> list[np.ndarray]:
        return [self._mask(item) for item in items]

    def answer_surely(self, item: Item) -> tuple[np.ndarray, np.ndarray]:
        """See core.capabilities.SureAdapter."""
        sure = ExpectedDice(len(self.question.classes), self.question.kind == "semantic")
        return self._mask(item, sure), sure.value().numpy()

    @torch.inference_mode()
    def _mask(self, item: Item, sure: ExpectedDice | None = None) -> np.ndarray:
        """(i, j, k) on the grid of the image, or (i, j, k, T) of bool; every slice is segmented, empty ones too."""
        self.module.eval()
        count, shape = item.pixels.shape[1], item.pixels.shape[-2:]
        frame = dense.PaddedFrame((shape[0], shape[1]), self.side_px)
        channels, parts = self.encoder.contract.channels, []
        for part in dense.chunks(count, CHUNK):
            slices = torch.from_numpy(np.stack([self._slice(item, index) for index in part]))
            logits = self.module(self._normalised(self._channels(frame.pixels(slices), channels)))
            scores = frame.back(logits.float())
            if sure is not None:
                sure.add(scores)
            parts.append(self._settled(scores, item).cpu().numpy())
        found = np.concatenate(parts, axis=-3)
        if self.question.kind == "multi_label":
            return item.grid.above(found)
        return item.grid.labels_from(found) if item.grid.is_resampled else item.grid.to_source(found)

    def _settled(self, logits: torch.Tensor, item: Item) -> torch.Tensor:
        """Logits (n, K, H, W) as (K, n, H, W); labels (n, H, W) at once where nothing has to be resampled."""
        if self.question.kind == "multi_label" or item.grid.is_resampled:
            return logits.transpose(0, 1)
        return logits.argmax(1).to(torch.uint8 if logits.shape[1] <= 256 else torch.int32)

    def variants(self) -> list[str]:
        return []

    # what was trained, on disk

    def save(self, folder: Path) -> None:
        trainable.save(self.module, self.encoder, self.method, folder)

    def load(self, folder: Path) -> None:
        trainable.load(self.module, self.encoder, self.method, folder)

    def record(self) -> Record:
        encoder = self.encoder
        found = {
            "weights": encoder.name,
            **encoder.weights_record,
            "contract": encoder.contract.as_record() | {"resize": "pad", "resize_px": None, "side_px": self.side_px},
            "decoder": self._decoder,
            "neighbours": self._reach,
            "slices": self.preparer.prepare.slices.axis or "native",
            "parameters": state.count(self.module),
        }
        return found | {"said": _dinov2_words.said(found | {"method": self.method})}
