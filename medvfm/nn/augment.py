"""Augmentation by name: transforms of torchvision, applied to a case's pictures and masks together.

torchvision takes four seconds to import, so it is imported where a recipe asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medvfm.core.errors import RecipeError, nearest

KNOWN = (
    "RandomHorizontalFlip",
    "RandomVerticalFlip",
    "RandomRotation",
    "RandomAffine",
    "RandomResizedCrop",
    "RandomPerspective",
    "ElasticTransform",
    "ColorJitter",
    "GaussianBlur",
    "GaussianNoise",
    "RandomAdjustSharpness",
    "RandomAutocontrast",
    "RandomErasing",
)
Augment = Callable[[np.ndarray, torch.Generator], np.ndarray]


def build(wanted: Sequence[Any]) -> Augment:
    """(pictures (S, C, H, W) in [0, 1], generator) to pictures; all slices of a case are moved alike.

    `wanted`: entries with a `name` of KNOWN and the options of that class of torchvision.transforms.v2.
    """
    transforms = [_transform(dict(entry) if isinstance(entry, dict) else entry.model_dump()) for entry in wanted]
    if not transforms:
        return lambda pictures, generator: pictures
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    chain = v2.Compose(transforms)

    def apply(pictures: np.ndarray, generator: torch.Generator) -> np.ndarray:
        image = tv_tensors.Image(torch.from_numpy(np.array(pictures, dtype=np.float32)))
        return _drawn(chain, generator, image).clamp(0, 1).numpy().astype(pictures.dtype)

    return apply


def _drawn(chain: Callable[[Tensor], Tensor], generator: torch.Generator, image: Tensor) -> Tensor:
    """torchvision draws from torch's own generator: it is set from the given one, and put back."""
    seed = int(torch.randint(0, 2**62, (1,), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return chain(image)


def _transform(entry: dict[str, Any]) -> Callable[..., Any]:
    from torchvision.transforms import v2

    name = entry.pop("name")
    if name not in KNOWN:
        raise RecipeError(f"no augmentation {name!r}; {nearest(name, KNOWN)}", where="train.augment")
    try:
        return getattr(v2, name)(**entry)
    except (TypeError, ValueError) as wrong:
        raise RecipeError(f"{name}: {wrong}", where="train.augment") from wrong
