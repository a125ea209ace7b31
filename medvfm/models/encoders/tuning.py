"""Which weights of an encoder, of images or of texts, a method trains, and those weights on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medvfm.models import structure
from medvfm.models.encoders.base import Encoder
from medvfm.models.text.encoder import TextEncoder
from medvfm.nn import state

Read = Callable[[Any], Sequence[torch.Tensor | None]]  # pixels (or texts) to the features that a head uses


@dataclass(frozen=True)
class Tuning:
    """rank, alpha (None: twice the rank) and seed of LoRA; the number of blocks that `last_blocks` trains."""

    rank: int = 8
    alpha: float | None = None
    blocks: int = 2
    seed: int = 0


def set_trainable(encoder: Encoder | TextEncoder, method: str, tuning: Tuning, read: Read | None) -> None:
    """lora, last_blocks and full train the parts that they name; any other method leaves the encoder frozen.

    Parameters that `read` does not depend on stay frozen too: a final norm or a classifier that no head uses.
    """
    encoder.requires_grad_(method == "full")
    if method == "lora":
        from peft import LoraConfig, get_peft_model  # seven seconds that the other methods need not wait

        config = LoraConfig(
            r=tuning.rank,
            lora_alpha=int(tuning.alpha or 2 * tuning.rank),
            target_modules=structure.lora_targets(encoder.backbone),
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(tuning.seed)
            encoder.backbone = get_peft_model(encoder.backbone, config)
    if method == "last_blocks":
        for block in encoder.last_blocks(tuning.blocks):
            block.requires_grad_(True)
    if method in ("full", "last_blocks", "lora"):
        for parameter in encoder.unused(read):
            parameter.requires_grad_(False)


def restage(encoder: Encoder | TextEncoder, before: str, method: str, tuning: Tuning, read: Read | None) -> None:
    """Go on with another method from the weights that the last one left; low-rank updates are merged in."""
    if before == "lora":
        encoder.backbone = _peft(encoder).merge_and_unload()
    encoder.staged = True
    set_trainable(encoder, method, tuning, read)


def save(module: nn.Module, encoder: Encoder | TextEncoder, method: str, folder: Path) -> None:
    """`model.safetensors` holds head and trained blocks; `lora/` is peft's own format, for the plain model.

    After several stages it holds every weight: an earlier stage may have trained what the last one froze.
    """
    if method == "lora":
        _peft(encoder).save_pretrained(folder / "lora")
    kept = module.state_dict() if encoder.staged else state.trained(module)
    own = {n: w for n, w in kept.items() if ".lora_" not in n}
    state.write(folder / "model.safetensors", own)


def load(module: nn.Module, encoder: Encoder | TextEncoder, method: str, folder: Path) -> None:
    """Put back what `save` wrote."""
    if method == "lora":
        from peft import set_peft_model_state_dict

        adapted = state.read(folder / "lora" / "adapter_model.safetensors")
        set_peft_model_state_dict(encoder.backbone, adapted)
    state.put_trained(module, state.read(folder / "model.safetensors"))


def _peft(encoder: Encoder | TextEncoder) -> Any:
    """The wrapper that LoRA put around the backbone."""
    return encoder.backbone
