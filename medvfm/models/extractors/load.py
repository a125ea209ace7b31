"""Extractors by name: from `task.options.extractor` to a network with a record of what it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from medvfm.core.errors import RecipeError, nearest

if TYPE_CHECKING:  # a name is checked before torch is imported
    import torch

    from medvfm.models.encoders.base import Encoder
    from medvfm.models.extractors.base import Extractor

DEFAULT = "embedded"
EXTRACTORS = {  # name to whether it takes weights after a colon
    "embedded": "never",
    "inception": "may",
    "dinov2": "must",
    "clip": "must",
}
_LIKE_WEIGHTS = {"dinov2": "facebook/dinov2-base", "clip": "openai/clip-vit-base-patch32"}
_APART = "they compare only with others of the same weights and size, and are not comparable with Inception FID."


def check_name(name: str, weights: str | None = None, where: str | None = None) -> tuple[str, str | None]:
    """The extractor's own name and its weights, of `name` or `name:WEIGHTS`; refuses by naming the choices.

    weights  given apart from the name; `where` the place in a recipe. Nothing is loaded.
    """
    own, colon, after = name.partition(":")
    if own not in EXTRACTORS:
        raise RecipeError(f"no extractor {own!r}; {nearest(own, EXTRACTORS)}", where=where)
    if colon and weights is not None:
        raise RecipeError(f"the extractor {name!r} names its weights, and {weights!r} are named as well", where=where)
    found = after.strip() if colon else weights
    if found is not None and EXTRACTORS[own] == "never":
        raise RecipeError(f"the extractor {own} has weights of its own, and takes no {found!r}", where=where)
    if not found and (colon or EXTRACTORS[own] == "must"):
        like = f"{own}:{_LIKE_WEIGHTS.get(own, 'FILE')}"
        raise RecipeError(f"the extractor {name!r} names no weights", where=where, remedy=f"as in {like}")
    return own, found


def load_extractor(
    name: str, device: str | torch.device = "cpu", size_px: int | None = None, weights: str | None = None
) -> Extractor:
    """A frozen extractor on a device.

    embedded          the embedded ImageNet encoder, which needs no network
    inception         the network of published FID values; `inception:WEIGHTS` a file, or a hub id that holds it
    dinov2:WEIGHTS    the summary of any image encoder that `load_encoder` takes
    clip:WEIGHTS      the image embedding of any pair that `load_pair` takes

    `size_px` replaces the size that the encoder's own contract states. Pictures are squashed to it: what a central crop
    would leave out is compared too. WeightsError where the weights are not on this machine and cannot be fetched.
    """
    own, named = check_name(name, weights)
    if own == "inception":
        from medvfm.models.extractors.inception import load_inception

        return load_inception(named, size_px).to(device)
    if own == "clip":
        from medvfm.models.image_text.load import load_pair

        assert named is not None
        pair = load_pair(named, size_px=size_px)
        del pair.text
        tower = next(tower for tower in pair.towers() if tower["role"] == "image")
        return _of_encoder("clip", pair.image, pair, tower, pair.image_vectors, pair.image_width).to(device)
    from medvfm.models.encoders.load import load_encoder
    from medvfm.models.image_text.pair import summary

    encoder = load_encoder(named or "embedded", size_px=size_px)
    record = {**encoder.weights_record, "weights": encoder.weights_record["source"]}
    return _of_encoder(own, encoder, encoder, record, summary, encoder.width).to(device)


def _of_encoder(
    name: str, encoder: Encoder, module: torch.nn.Module, record: dict[str, Any], read: Callable[..., Any], width: int
) -> Extractor:
    from medvfm.models.extractors.base import Extractor

    contract = replace(encoder.contract.with_resize("squash"), eight_bit=False)
    filtered = "with" if contract.antialias else "without"
    kinds = {
        "embedded": "Distances in features of the embedded ImageNet encoder: ",
        "dinov2": f"Distances in features of {record['weights']}: ",
        "clip": f"Distances in image embeddings of {record['weights']}: ",
    }
    return Extractor(
        module.eval().requires_grad_(False),
        contract.apply,
        lambda pixels: read(encoder(pixels)),
        width,
        {
            "name": name,
            "weights": record["weights"],
            "sha256": record["sha256"],
            "licence": record.get("licence"),
            "size_px": list(contract.size_px),
            "resize": f"squash, {contract.interpolation} {filtered} a low-pass filter",
            "features": width,
            "comparable": False,
            "said": kinds[name] + _APART,
        },
    )
