"""Augmentation by name: transforms of torchvision, applied to a case's pictures and masks together.

torchvision takes four seconds to import, so it is imported only where a recipe names a transform.
"""

from __future__ import annotations

import inspect
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
Transform = Callable[
    [np.ndarray, np.ndarray | None, np.random.Generator], tuple[np.ndarray, np.ndarray | None]
]  # pixels, labels or None, generator; to both


def listed() -> list[tuple[str, str]]:
    """Each of KNOWN and its options with their defaults; those of torchvision.transforms.v2 bear its names."""
    from torchvision.transforms import v2

    found = []
    for name in KNOWN:
        given = inspect.signature(getattr(v2, name)).parameters.values()
        found.append((name, ", ".join(str(p).partition(":")[0] + _default(p) for p in given)))
    return found


def _default(parameter: inspect.Parameter) -> str:
    if parameter.default is inspect.Parameter.empty:
        return ""
    shown = getattr(parameter.default, "value", parameter.default)
    return f"={shown}"


def build(wanted: Sequence[Any]) -> Transform:
    """(pixels (..., C, ..., H, W) in [0, 1], labels (..., H, W) whole numbers or None, generator) to both, together.

    `wanted`: entries with a `name` of KNOWN and the options of that class of torchvision.transforms.v2. Transforms that
    move pixels move labels by the nearest one; those of intensity leave labels alone. All slices of a case are moved
    alike.
    """
    transforms = [_transform(dict(entry) if isinstance(entry, dict) else entry.model_dump()) for entry in wanted]
    if not transforms:
        return lambda pixels, labels, rng: (pixels, labels)
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    chain = v2.Compose(transforms)

    def apply(
        pixels: np.ndarray, labels: np.ndarray | None, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray | None]:
        image = tv_tensors.Image(torch.from_numpy(np.array(pixels, dtype=np.float32)))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        if labels is None:
            return _applied(chain, generator, image).clamp(0, 1).numpy().astype(pixels.dtype), None
        mask = tv_tensors.Mask(torch.from_numpy(np.array(labels, dtype=np.int64)))
        moved, mask = _applied(chain, generator, image, mask)
        return moved.clamp(0, 1).numpy().astype(pixels.dtype), mask.numpy().astype(labels.dtype)

    return apply


def _applied(chain: Callable[..., Any], generator: torch.Generator, *moved: Tensor) -> Any:
    """torchvision uses torch's global generator: it is seeded from the given one, and restored."""
    seed = int(torch.randint(0, 2**62, (1,), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return chain(*moved)


def _transform(entry: dict[str, Any]) -> Callable[..., Any]:
    from torchvision.transforms import v2

    name = entry.pop("name")
    if name not in KNOWN:
        raise RecipeError(f"no augmentation {name!r}; {nearest(name, KNOWN)}", where="train.augment")
    try:
        return getattr(v2, name)(**entry)
    except (TypeError, ValueError) as wrong:
        raise RecipeError(f"{name}: {wrong}", where="train.augment") from wrong
