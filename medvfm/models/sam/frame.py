"""Input contracts of the SAM family, and prompts and masks converted between the original and the model's frame.

SAM and MedSAM have the same architecture and different inputs. Mixed up they still give masks, only worse ones, so
the contract is stated and never guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

from medvfm.models.inputs.resizing import lowpass_resized
from medvfm.nn.prompts import Prompts

Contract = Literal["sam", "medsam", "sam2", "medsam2", "sam3", "tiny"]
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5,) * 3, (0.5,) * 3)


@dataclass(frozen=True)
class SamFrame:
    """The model's frame.

    sam     the longest side to `side_px` (bilinear, antialiased), ImageNet's mean and standard deviation, then zeros
            to the right and below; Kirillov et al. 2023
    medsam  both sides to `side_px` by cubic splines, then the least value to 0 and the greatest to 1; no mean and
            standard deviation; Ma et al. 2024
    sam2    both sides to `side_px` (bilinear, antialiased), ImageNet's mean and standard deviation; Ravi et al. 2024
    medsam2 the same, bicubic as PIL does it, of slices of a volume whose window became [0, 1]; Ma et al. 2025
    sam3    both sides to `side_px` (bilinear, antialiased), mean and standard deviation 0.5
    tiny    the picture's own size, the least value to 0 and the greatest to 1, the border repeated to a multiple of
            `multiple`

    longest_px  another size than the weights' own: of sam and tiny the longest side of the picture, padded as above to
                the model's next possible side; the others fill that side
    native_px   the side that positions were learned at, where they are interpolated
    """

    contract: Contract
    side_px: int = 1024
    multiple: int = 1
    longest_px: int | None = None
    native_px: int | None = None

    def as_record(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value is not None}

    def at(self, size_px: int, multiple: int) -> SamFrame:
        """The frame of pictures of another size; the model's side is the next multiple of its patches."""
        if self.contract == "tiny":
            return replace(self, longest_px=size_px)
        return replace(self, side_px=_up(size_px, multiple), longest_px=size_px, native_px=self.side_px)

    def inner_px(self, original_size_px: Sequence[int]) -> tuple[int, int]:
        """(height, width) in the model's frame that a picture of (height, width) covers."""
        height, width = int(original_size_px[0]), int(original_size_px[1])
        if self.contract == "tiny" and self.longest_px is None:
            return height, width
        if self.contract in ("sam", "tiny"):
            scale = (self.longest_px or self.side_px) / max(height, width)
            return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))
        return self.side_px, self.side_px

    def input_px(self, original_size_px: Sequence[int]) -> tuple[int, int]:
        """(height, width) of the model's input."""
        if self.contract != "tiny":
            return self.side_px, self.side_px
        height, width = self.inner_px(original_size_px)
        return _up(height, self.multiple), _up(width, self.multiple)

    def pixels(self, pictures: torch.Tensor, *, ranged: bool = False) -> torch.Tensor:
        """Model input (N, 3, *input_px) from pictures (N, 1 or 3, H, W) in [0, 1]. `ranged`: parts of pictures
        that `in_range` has been applied to as a whole.

        The published models were given 8-bit pictures, before and after resizing: so are they here.
        """
        if pictures.ndim != 4 or pictures.shape[1] not in (1, 3):
            raise ValueError(f"pictures are (N, 1 or 3, H, W), not {tuple(pictures.shape)}")
        pictures = pictures.float()
        inner, whole = self.inner_px(pictures.shape[-2:]), self.input_px(pictures.shape[-2:])
        border = (0, whole[1] - inner[1], 0, whole[0] - inner[0])
        if self.contract == "tiny":
            if tuple(pictures.shape[-2:]) != inner:
                pictures = lowpass_resized(pictures, inner, "bilinear")
            level = ((pictures if ranged else _to_unit_range(pictures)) - 0.5) / 0.25
            return functional.pad(level.expand(-1, 3, -1, -1), border, mode="replicate").contiguous()
        levels = (pictures * 255).round().clamp(0, 255)
        if self.contract == "medsam":
            resized = torch.stack([_spline_resized(levels[i], self.side_px) for i in range(len(levels))])
            return (resized / 255 if ranged else _to_unit_range(resized)).expand(-1, 3, -1, -1).contiguous()
        if tuple(levels.shape[-2:]) != inner:
            kernel: Literal["bilinear", "bicubic"] = "bicubic" if self.contract == "medsam2" else "bilinear"
            levels = lowpass_resized(levels, inner, kernel).round().clamp(0, 255)
        own = HALF if self.contract == "sam3" else IMAGENET
        mean, std = (torch.tensor(values, device=levels.device).view(1, 3, 1, 1) for values in own)
        return functional.pad((levels / 255 - mean) / std, border)

    def in_range(self, picture: np.ndarray) -> np.ndarray:
        """A whole picture (C, H, W) from its least and greatest value to 0 and 1, where the contract does that: to be
        called before a part of it is cut out."""
        if self.contract not in ("medsam", "tiny"):
            return picture
        low, high = float(picture.min()), float(picture.max())
        return (picture.astype(np.float32) - low) / max(high - low, 1e-8)

    def prompts(self, prompts_original_px: Prompts, original_size_px: Sequence[int]) -> Prompts:
        """Prompts in the model's frame from prompts in the picture's. Masks stay as they are: see `mask_input`."""
        inner = self.inner_px(original_size_px)
        return prompts_original_px.scaled(inner[1] / original_size_px[1], inner[0] / original_size_px[0])

    def mask_input(self, masks_picture: torch.Tensor, original_size_px: Sequence[int], side: int) -> torch.Tensor:
        """Logits (M, H, W) over the picture as (M, side, side) over the model's input: the decoder's mask prompt."""
        inner, whole = self.inner_px(original_size_px), self.input_px(original_size_px)
        rows, columns = max(1, round(side * inner[0] / whole[0])), max(1, round(side * inner[1] / whole[1]))
        small = lowpass_resized(masks_picture[:, None], (rows, columns), "bilinear")
        return functional.pad(small, (0, side - columns, 0, side - rows), value=-10.0)[:, 0]

    def masks(
        self, low_res_masks: torch.Tensor, original_size_px: Sequence[int], *, as_logits: bool = False
    ) -> torch.Tensor:
        """Logits (M, H, W) at the picture's size from a decoder's (M, h, w), as each model's own code does it:
        MedSAM resizes probabilities (unless `as_logits`), the others logits."""
        height, width = int(original_size_px[0]), int(original_size_px[1])
        inner, whole = self.inner_px(original_size_px), self.input_px(original_size_px)
        masks = low_res_masks[:, None].float()
        if self.contract == "tiny":
            masks = masks[..., : inner[0], : inner[1]]
            if inner == (height, width):
                return masks[:, 0]
        if self.contract == "medsam" and not as_logits:
            shares = functional.interpolate(masks.sigmoid(), (height, width), mode="bilinear", align_corners=False)
            return torch.logit(shares, eps=1e-6)[:, 0]
        if self.contract == "sam":
            masks = functional.interpolate(masks, whole, mode="bilinear", align_corners=False)
            masks = masks[..., : inner[0], : inner[1]]
        return functional.interpolate(masks, (height, width), mode="bilinear", align_corners=False)[:, 0]


def _up(side: int, multiple: int) -> int:
    return -(-side // multiple) * multiple


def _to_unit_range(pictures: torch.Tensor) -> torch.Tensor:
    """Each picture (N, C, H, W), all channels together, from its least and greatest value to 0 and 1."""
    low, high = pictures.amin((1, 2, 3), keepdim=True), pictures.amax((1, 2, 3), keepdim=True)
    return (pictures - low) / (high - low).clamp_min(1e-8)


def _spline_resized(levels: torch.Tensor, side_px: int) -> torch.Tensor:
    """(C, side, side) whole levels from a picture (C, H, W) of whole levels.

    MedSAM's preparation with scikit-image, `resize(image, (1024, 1024), order=3, preserve_range=True,
    anti_aliasing=True).astype(uint8)`: a Gaussian of (factor - 1) / 2 where a side shrinks, cubic splines that mirror
    at the border, clipped to the picture's own range, and levels rounded down. torch's bicubic kernel differs.
    """
    image = levels.cpu().numpy().astype(np.float64)
    factors = [image.shape[1] / side_px, image.shape[2] / side_px]
    if image.shape[1:] != (side_px, side_px):
        low, high = image.min(), image.max()
        sigma = [0.0, *(max(0.0, (factor - 1) / 2) for factor in factors)]
        if any(sigma):
            image = ndimage.gaussian_filter(image, sigma, mode="mirror")
        zoom = [1.0, *(1 / factor for factor in factors)]
        image = ndimage.zoom(image, zoom, order=3, mode="mirror", grid_mode=True).clip(low, high)
    return torch.from_numpy(np.floor(image).astype(np.float32)).to(levels.device)
