"""What each method of `llava` trains, and those weights on disk."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from medvfm.models.language.image_language import LANGUAGE, PROJECTOR, ImageLanguageModel
from medvfm.nn import state

WEIGHTS, LORA = "model.safetensors", "lora"


def set_trainable(
    model: ImageLanguageModel, method: str, *, tune: str, blind: bool, rank: int, alpha: float | None, seed: int
) -> None:
    """align: the projector. instruct: projector and language model, by LoRA or in full; a model that sees no image has
    nothing to project."""
    model.requires_grad_(False)
    if method == "zero_shot":
        return
    model.projector.requires_grad_(not blind)
    if method != "instruct":
        return
    if tune == "full":
        model.language.requires_grad_(True)
    elif tune == LORA:
        if not model.language.has_lora:
            model.language.add_lora(rank, alpha, seed)
        for parameter in model.language.lora_parameters():
            parameter.requires_grad_(True)


def save(model: ImageLanguageModel, folder: Path, *, method: str, tune: str) -> None:
    """`model.safetensors`: the projector, and the language model that was trained in full; `lora/`: peft's own format
    for the plain language model."""
    full = method == "instruct" and tune == "full"
    kept = {n: w for n, w in model.state_dict().items() if _kept(n, full)}
    state.write(folder / WEIGHTS, {n: w.detach().cpu().clone() for n, w in kept.items()})
    if model.language.has_lora:
        model.language.save_lora(folder / LORA)


def load(model: ImageLanguageModel, folder: Path) -> None:
    """Put back what `save` wrote."""
    weights: dict[str, Tensor] = state.read(folder / WEIGHTS)
    state.put_trained(model, weights)
    if model.language.has_lora:
        model.language.load_lora(folder / LORA)


def _kept(name: str, full: bool) -> bool:
    return name.startswith(f"{PROJECTOR}.") or (full and name.startswith(f"{LANGUAGE}.") and ".lora_" not in name)
