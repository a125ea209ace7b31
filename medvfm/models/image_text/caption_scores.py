"""How well a picture fits its words, by a pair of encoders that was trained on both."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from medvfm.core.errors import RecipeError
from medvfm.models.image_text.load import load_pair
from medvfm.models.image_text.pair import ImageTextPair

BATCH = 32


class CaptionScorer:
    """A frozen pair that reads pictures and words as its own processors do.

    pair  an aligned one: RecipeError for encoders that were never trained together, whose cosines mean nothing
    """

    def __init__(self, pair: ImageTextPair, device: str | torch.device = "cpu") -> None:
        if not pair.aligned:
            raise RecipeError(
                f"{pair.name} was not trained on pictures with their texts", where="task.options.clip",
                remedy="name a CLIP",
            )  # fmt: skip
        self.pair = pair.eval().requires_grad_(False).to(device)
        self.device = torch.device(device)

    @classmethod
    def loaded(cls, weights: str, device: str | torch.device) -> CaptionScorer:
        """Of what `load_pair` takes. WeightsError where the weights are not on this machine and cannot be fetched."""
        return cls(load_pair(weights), device)

    @torch.inference_mode()
    def vectors(self, images: Tensor, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """(n, d) of images (n, 1 or 3, h, w) in [0, 1] and (n, d) of their n texts; each text is read once."""
        pair, prepare = self.pair, self.pair.image.contract.apply
        seen = [pair.image_vectors(pair.image(prepare(part.to(self.device).float()))) for part in images.split(BATCH)]
        known = list(dict.fromkeys(texts))
        read = torch.cat([pair.text(pair.text.tokens(known[s : s + BATCH])) for s in range(0, len(known), BATCH)])
        rows = torch.tensor([known.index(text) for text in texts], device=read.device)
        return torch.cat(seen).float().cpu(), read[rows].float().cpu()
