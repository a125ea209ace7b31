"""An image encoder and a text encoder that are compared with each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

from torch import Tensor, nn

from medvfm.core.errors import RecipeError
from medvfm.models.encoders.base import Encoder, Features
from medvfm.models.text.encoder import TextEncoder
from medvfm.models.weights import sha256_of_tensors

Loss = Literal["clip", "siglip"]
Dense = Callable[[Encoder, nn.Module, Tensor], Tensor]

CLIP_SCALE = 1 / 0.07  # exp(logit_scale) from which CLIP was trained; Radford et al. 2021, section 2.5


def summary(features: Features) -> Tensor:
    """(N, D): the encoder's own summary, or the mean over its patches where it has none."""
    return features.pooled if features.cls is None else features.cls


def patches(features: Features) -> Tensor:
    """(N, D, h, w), for poolings that read the whole map."""
    return features.patches


class ImageTextPair(nn.Module):
    """Two encoders, and how what the image encoder gives becomes the vector that texts are compared with.

    projection  from what `pick` takes of the features to (N, image_width); the identity where the published model has
                none. The text encoder holds its own
    aligned     the two were trained together, so that similarities mean something before any training here
    loss        the objective that they were trained with: `clip` (softmax) or `siglip` (sigmoid)
    scale       by which cosines are multiplied, exp(logit_scale); bias: SigLIP's logit_bias, None without
    dense       patch embeddings in the shared space, for architectures that have them; see image_text.dense
    """

    def __init__(
        self,
        image: Encoder,
        text: TextEncoder,
        *,
        name: str,
        image_width: int,
        projection: nn.Module | None = None,
        pick: Callable[[Features], Tensor] = summary,
        aligned: bool,
        loss: Loss = "clip",
        scale: float = CLIP_SCALE,
        bias: float | None = None,
        dense: Dense | None = None,
    ) -> None:
        super().__init__()
        if aligned:  # trained on 8-bit pictures, and compared with the texts as their own processors give them
            image.contract = replace(image.contract, eight_bit=True)
        self.image, self.text = image, text
        self.projection = nn.Identity() if projection is None else projection
        self.name, self.image_width, self.text_width = name, image_width, text.width
        self.aligned, self.loss, self.scale, self.bias = aligned, loss, scale, bias
        self._pick, self._dense = pick, dense
        self._towers = _towers(self)

    @property
    def has_summary(self) -> bool:
        """The image encoder sums a picture up itself, rather than by a pooling of its whole map."""
        return self._pick is summary

    def image_vectors(self, features: Features) -> Tensor:
        """(N, image_width) of what `image(pixels)` gave: the model's own image embedding, not normalised."""
        return self.projection(self._pick(features)).float()

    def dense(self, pixels: Tensor) -> Tensor:
        """(N, image_width, h, w) of pixels (N, channels, H, W): each patch in the space of the texts, unscaled."""
        if self._dense is None:
            raise RecipeError(
                f"{self.name} has no embedding of single patches in the space of its texts",
                remedy="take CLIP, SigLIP or a vision transformer of open_clip",
            )
        return self._dense(self.image, self.projection, pixels)

    def towers(self) -> list[dict[str, Any]]:
        """`role` (image, text), `weights`, `sha256`, `licence` of each, as loaded.

        The hash is that of the file; of the tower's own tensors where one file holds both (`hashed`).
        """
        return [dict(tower) for tower in self._towers]

    @property
    def weights_record(self) -> dict[str, Any]:
        return {"source": self.name, "towers": self.towers()}


def _towers(pair: ImageTextPair) -> list[dict[str, Any]]:
    parts = {
        "image": (pair.image.weights_record, pair.image.backbone, pair.projection),
        "text": (pair.text.weights_record, pair.text.backbone, pair.text.projection),
    }
    shared = len({record["sha256"] for record, _, _ in parts.values()}) == 1
    found = []
    for role, (record, backbone, projection) in parts.items():
        state = {f"{place}.{k}": v for place, m in (("backbone", backbone), ("projection", projection))
                 for k, v in m.state_dict().items()}  # fmt: skip
        found.append(
            {
                "role": role,
                "weights": record["source"],
                "sha256": sha256_of_tensors(state) if shared else record["sha256"],
                "hashed": "tensors" if shared else "file",
                "revision": record.get("revision"),
                "licence": record.get("licence"),
            }
        )
    return found
