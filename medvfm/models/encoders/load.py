"""Image encoders by name: from a recipe's `weights` to a model with its input contract."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from medvfm.core.errors import WeightsError
from medvfm.models.encoders.base import Encoder
from medvfm.models.weights import Weights, locate

# The libraries are imported where they are needed: timm and transformers take seconds each.


def load_encoder(
    weights: str,
    *,
    size_px: int | None = None,
    seed: int = 0,
    features: Literal["final", "last_stage"] = "final",
) -> Encoder:
    """An encoder in evaluation mode, in float32 on the CPU.

    `weights` is one of

    tiny                          a small network from scratch, initialised from `seed`
    embedded, embedded:NAME       an ImageNet encoder that needs no network
    owner/name, owner/name@REV    a hub repository, in transformers' or timm's format
    timm:NAME                     timm's own name for pretrained weights
    a folder, or a file in one    the same formats on disk
    a file without config.json    a masked autoencoder in its own layout (MAE, RETFound), as YukunZhou/RETFound_mae_...

    `size_px` replaces the contract's size; position encodings are interpolated. `features` chooses a CNN's map:
    that before the classifier, or that of the last residual stage.
    """
    if weights == "tiny":
        from medvfm.models.encoders.tiny import load_tiny

        return load_tiny(size_px, seed).eval()
    if weights == "embedded" or weights.startswith("embedded:"):
        from medvfm.models.encoders.embedded import load_embedded

        return load_embedded(weights.partition(":")[2] or "efficientnet_lite0", size_px, features).eval()
    if weights.startswith("timm:"):
        from medvfm.models.encoders.from_timm import hub_weights, load_timm_encoder

        return load_timm_encoder(hub_weights(weights.removeprefix("timm:")), size_px, features).eval()
    file = Path(weights).expanduser()
    alone = file.is_file() and not (file.parent / "config.json").is_file()
    if alone or weights.count("/") == 1:
        from medvfm.models.encoders.from_mae import load_mae_encoder, on_hub

        bare = Weights(weights, file.parent, (file,)) if alone else on_hub(weights)
        if bare is not None:
            return load_mae_encoder(bare, size_px).eval()
    found = locate(str(file.parent) if file.is_file() else weights)
    config = found.config()
    if "architecture" in config:
        from medvfm.models.encoders.from_timm import load_timm_encoder

        return load_timm_encoder(found, size_px, features).eval()
    if "model_type" in config:
        from medvfm.models.encoders.from_transformers import load_transformers_encoder

        return load_transformers_encoder(found, size_px).eval()
    raise WeightsError(
        "its config.json names neither a model_type (transformers) nor an architecture (timm)", where=weights,
        remedy="give a folder that save_pretrained wrote, or a timm folder",
    )  # fmt: skip
