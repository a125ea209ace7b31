"""What training and sampling draw at random, from a case and a seed alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medvfm.core.item import Item
from medvfm.nn import diffusion

VALIDATION_DRAWS = 8  # of time and noise for each validation case: one draw says little of its loss
DRAWN = ("noise", "posterior", "shift")


@dataclass(frozen=True, eq=False)
class NoisedExample:
    """A case with its draws: a time in [0, 1), noise and posterior (draws, *latent_shape), shift (draws, C); and the
    degraded image (C, H, W) where one is to be restored."""

    item: Item
    pixels: np.ndarray | None
    time: float
    noise: np.ndarray
    posterior: np.ndarray
    shift: np.ndarray
    dropped: bool
    degraded: np.ndarray | None = None


def example(
    item: Item,
    pixels: np.ndarray | None,
    rng: np.random.Generator,
    latent_shape: tuple[int, ...],
    dropped: float,
    *,
    training: bool,
) -> NoisedExample:
    """One draw for training, with its condition left out at a share of `dropped`; VALIDATION_DRAWS for validation."""
    shape = (1 if training else VALIDATION_DRAWS, *latent_shape)
    return NoisedExample(
        item,
        pixels,
        time=float(rng.random()),
        noise=rng.standard_normal(shape, np.float32),
        posterior=rng.standard_normal(shape, np.float32),
        shift=rng.standard_normal(shape[:2], np.float32),
        dropped=bool(rng.random() < dropped) and training,
    )


def joined(examples: Sequence[NoisedExample], steps: int) -> dict[str, Any]:
    """The draws of B examples, D each: t (B * D,), DRAWN (B * D, ...), draws D. Steps are stratified over the batch,
    and where an example has several over these, so that its loss does not depend on the others."""
    count = len(examples[0].noise)
    if count == 1:
        t = diffusion.stratified_steps([e.time for e in examples], steps)
    else:
        t = [step for e in examples for step in diffusion.stratified_steps([e.time] * count, steps)]
    arrays = {name: torch.from_numpy(np.concatenate([getattr(e, name) for e in examples])) for name in DRAWN}
    return {"t": torch.tensor(t), "draws": count, **arrays}


def seed_of(seed: int, case_id: str, place: int) -> int:
    """The seed of an image of a case: the same in every process and batch."""
    digest = hashlib.sha256(f"{seed}|{case_id}|{place}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def padded(rows: Sequence[Tensor]) -> Tensor:
    """(B, ...): rows of ids are padded with -1; hidden states have one length."""
    return nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=-1.0)


def padded_alike(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Both at the greater length of ids."""
    if first.ndim > 2 or first.shape[1] == second.shape[1]:
        return first, second
    most = max(first.shape[1], second.shape[1])
    pad = nn.functional.pad
    return pad(first, (0, most - first.shape[1]), value=-1.0), pad(second, (0, most - second.shape[1]), value=-1.0)
