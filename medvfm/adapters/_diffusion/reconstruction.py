"""An autoencoder without a task, for scripts: images through its latents and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from medvfm.core.protocols import Record
from medvfm.core.recipe_sections import Prepare
from medvfm.models.diffusion.autoencoder import ImageAutoencoder
from medvfm.models.inputs.given_images import images_of
from medvfm.models.inputs.pictures import PicturePreparer, middle_slice
from medvfm.models.inputs.slice_stacks import intensity_rule


class Reconstructing:
    """See the module's docstring. With a size, images are fitted into it with borders; else they keep theirs."""

    def __init__(self, module: ImageAutoencoder, prepare: Prepare, size_px: tuple[int, int] | None) -> None:
        self.module, self._prepare, self._size_px = module, prepare, size_px

    def reconstruct(self, images: Any) -> np.ndarray | list[np.ndarray]:
        """(n, H, W, C) float32 in [0, 1] of images of one size, C 1 for gray and 3 for colour; a list of (H, W, C)
        where sizes or channels differ. `images` as models.inputs.given_images takes them."""
        found = [self._one(image) for image in images_of(images)]
        return np.stack(found) if len({f.shape for f in found}) == 1 else found

    def pictures(self, images: Any) -> list[np.ndarray]:
        """(H, W, C) float32 in [0, 1]: the images as the autoencoder is given them, to compare with."""
        return [np.moveaxis(self._prepared(image), 0, 2) for image in images_of(images)]

    def _one(self, image: Any) -> np.ndarray:
        with torch.inference_mode():
            device = next(self.module.parameters()).device
            given = torch.from_numpy(self._prepared(image))[None].to(device)
            return self.module.eval().reconstruct(given)[0].permute(1, 2, 0).cpu().numpy()

    def _prepared(self, image: Any) -> np.ndarray:
        if self._size_px is not None:
            return PicturePreparer(self._size_px, self._prepare).of_image(image)
        slices = self._prepare.slices
        return middle_slice(image, slices.axis or "axial", slices.span, intensity_rule(self._prepare, {}))

    def record(self) -> Record:
        return self.module.record()
