"""Input contracts from the preprocessor_config.json that comes with a model in transformers' format."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from medvfm.core.errors import WeightsError
from medvfm.models import catalogue
from medvfm.models.inputs.contract import InputContract, Interpolation

# PIL's resampling numbers. Lanczos has no counterpart on tensors; bicubic is what transformers itself takes on a GPU.
_INTERPOLATION: dict[int, Interpolation] = {0: "nearest", 1: "bicubic", 2: "bilinear", 3: "bicubic"}
_IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_HALF: dict[str, Any] = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
_OPENAI: dict[str, Any] = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}

# What the published models of each family were trained with, for folders that hold no preprocessor_config.json.
_PUBLISHED: dict[str, dict[str, Any]] = {
    "dinov2": {"interpolation": "bicubic", "resize": "shortest_then_crop", **_IMAGENET},
    "dinov2_with_registers": {"interpolation": "bicubic", "resize": "shortest_then_crop", **_IMAGENET},
    "dinov3_vit": {"interpolation": "bilinear", **_IMAGENET},
    "dinov3_convnext": {"interpolation": "bilinear", **_IMAGENET},
    "vit": {"interpolation": "bilinear", **_HALF},
    "vit_mae": {"interpolation": "bicubic", **_IMAGENET},
    "swin": {"interpolation": "bicubic", **_IMAGENET},
    "siglip": {"interpolation": "bicubic", **_HALF},
    "siglip2": {"interpolation": "bilinear", **_HALF},
    "clip": {"interpolation": "bicubic", "resize": "shortest_then_crop", **_OPENAI},
}


def contract_of(folder: Path, source: str, family: str, image_size: tuple[int, int], channels: int) -> InputContract:
    """The contract of the processor in `folder`; that of the family's published models where there is none.

    `image_size` is config.json's, used where the processor names no size.
    """
    if not any((folder / name).is_file() for name in ("preprocessor_config.json", "processor_config.json")):
        known = catalogue.of_hub(source)
        return _published(family, image_size, channels) if known is None else _catalogued(known, channels)
    from transformers import AutoImageProcessor

    try:
        processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, TypeError, KeyError, ImportError) as error:
        raise WeightsError(
            "its preprocessor_config.json names no processor that transformers has",
            where=source,
            remedy="processors that need remote code are not run; correct the file, or remove it to use the family's",
        ) from error
    return _translated(processor, image_size, channels)


def _catalogued(model: catalogue.CatalogueModel, channels: int) -> InputContract:
    """What the catalogue knows of these very weights."""
    own, (mean, std) = model.contract, model.contract.mean_and_std
    return InputContract(
        own.size_px,  # type: ignore[arg-type]  # models of this family take pictures
        resize=own.resize,  # type: ignore[arg-type]
        resize_px=own.resize_px,
        interpolation=own.interpolation,
        antialias=own.antialias,
        crop_rounding="down",
        mean=mean[:channels],
        std=std[:channels],
        channels=channels,
        origin=f"the catalogue's {model.name}",
    )


def _published(family: str, image_size: tuple[int, int], channels: int) -> InputContract:
    values: dict[str, Any] = {
        key: value[:channels] if isinstance(value, tuple) else value for key, value in _PUBLISHED[family].items()
    }
    size_px, resize_px = image_size, None
    if family.startswith("dinov2"):
        # Their configs name 518 px, the last stage of their training; their processors give 224 from 256.
        size_px = (224, 224) if image_size == (518, 518) else image_size
        resize_px = (round(size_px[0] * 256 / 224), round(size_px[1] * 256 / 224))
    return InputContract(
        size_px, resize_px=resize_px, crop_rounding="down", channels=channels, origin=f"published {family} models",
        **values,
    )  # fmt: skip


def _translated(processor: Any, image_size: tuple[int, int], channels: int) -> InputContract:
    def value(name: str, default: Any = None) -> Any:
        found = getattr(processor, name, None)
        return default if found is None else found

    crop = _sides(value("crop_size")) if value("do_center_crop", False) else None
    size = value("size") if value("do_resize", True) else None
    resize, resize_px = "squash", None
    short = _entry(size, "shortest_edge")
    if value("max_num_patches"):  # NaFlex: as many square patches as its budget allows
        size_px = (math.isqrt(value("max_num_patches")) * value("patch_size"),) * 2
    elif short:
        resize, resize_px, size_px = "shortest_then_crop", (short, short), crop or (short, short)
    elif crop:
        size_px = crop
        resize, resize_px = ("squash_then_crop", _sides(size) or image_size)
    else:
        size_px = _sides(size) or image_size
    if resize == "squash_then_crop" and resize_px == size_px:
        resize, resize_px = "squash", None
    normalised = value("do_normalize", True)
    return InputContract(
        size_px=size_px,
        resize=resize,  # type: ignore[arg-type]
        resize_px=resize_px,
        interpolation=_INTERPOLATION.get(int(value("resample", 2)), "bilinear"),
        crop_rounding="down",
        mean=_per_channel(value("image_mean", 0.0) if normalised else 0.0, channels),
        std=_per_channel(value("image_std", 1.0) if normalised else 1.0, channels),
        channels=channels,
        scale=255.0 * value("rescale_factor", 1 / 255) if value("do_rescale", True) else 255.0,
        origin=f"preprocessor_config.json ({type(processor).__name__})",
    )


def _sides(size: Any) -> tuple[int, int] | None:
    height, width = _entry(size, "height"), _entry(size, "width")
    return (height, width) if height and width else None


def _entry(size: Any, name: str) -> int | None:
    return size.get(name) if isinstance(size, dict) else getattr(size, name, None)


def _per_channel(value: Any, channels: int) -> tuple[float, ...]:
    values = tuple(float(v) for v in value) if isinstance(value, (list, tuple)) else (float(value),) * channels
    return values if len(values) == channels else values[:channels]
