"""Image-text models by name: from a recipe's `weights` to two encoders that are compared with each other."""

from __future__ import annotations

from medvfm.core.errors import WeightsError
from medvfm.models.image_text.open_clip_files import names_open_clip
from medvfm.models.image_text.pair import ImageTextPair
from medvfm.models.weights import locate

# The libraries are imported where they are needed: open_clip and transformers take seconds each.

CHOICES = (
    "a folder or hub id of CLIP, SigLIP or SigLIP 2, hf-hub:OWNER/NAME, local-dir:FOLDER, open_clip:ARCHITECTURE=FILE, "
    "`embedded`, `tiny`, or an image and a text encoder of their own"
)


def load_pair(
    weights: str, *, image: str | None = None, text: str | None = None, size_px: int | None = None, seed: int = 0
) -> ImageTextPair:
    """A pair in evaluation mode, in float32 on the CPU.

    `weights` is one of

    tiny                          two small encoders from scratch, initialised from `seed`
    embedded                      an ImageNet encoder and a sentence encoder that need no network
    owner/name, owner/name@REV    a hub repository with CLIP, SigLIP or SigLIP 2 in transformers' format
    hf-hub:OWNER/NAME[@REV]       a hub repository in open_clip's format (BiomedCLIP)
    local-dir:FOLDER, a folder    either format on disk
    open_clip:ARCHITECTURE=FILE   one of open_clip's architectures with a checkpoint

    `image` or `text` assemble a pair of encoders that each load on their own; `weights` stands for the one that is
    not given. `size_px` replaces the size that the image encoder's contract states.
    """
    if image is not None or text is not None or weights in ("embedded", "tiny"):
        from medvfm.models.image_text.assembled import load_assembled

        return load_assembled(image or weights, text or weights, size_px=size_px, seed=seed).eval()
    if names_open_clip(weights):
        from medvfm.models.image_text.from_open_clip import load_open_clip_pair

        return load_open_clip_pair(weights, size_px).eval()
    try:
        found = locate(weights)
    except WeightsError as error:
        if "/" in weights:
            raise
        raise WeightsError(f"no such image-text model; choices: {CHOICES}", where=weights) from error
    if "model_type" not in found.config():
        raise WeightsError("its config.json names no model_type", where=weights, remedy=f"give {CHOICES}")
    from medvfm.models.image_text.from_transformers import load_transformers_pair

    return load_transformers_pair(found, size_px).eval()
