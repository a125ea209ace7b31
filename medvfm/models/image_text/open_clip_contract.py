"""open_clip's evaluation transform as an input contract."""

from __future__ import annotations

from typing import Any

from medvfm.core.errors import WeightsError
from medvfm.models.inputs.contract import InputContract, Interpolation

# random is an augmentation; at evaluation open_clip takes bicubic for it
_INTERPOLATION: dict[str, Interpolation] = {"bicubic": "bicubic", "bilinear": "bilinear", "random": "bicubic"}


def open_clip_contract(preprocess: dict[str, Any], image_size: Any, source: str) -> InputContract:
    """What open_clip.transform.image_transform does with this preprocess_cfg at the image tower's size."""
    from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    size = tuple(image_size) if isinstance(image_size, (list, tuple)) else (image_size, image_size)
    size_px = (int(size[0]), int(size[1]))
    mode = preprocess.get("resize_mode") or "shortest"
    interpolation = preprocess.get("interpolation") or "bicubic"
    if mode not in ("shortest", "longest", "squash") or interpolation not in _INTERPOLATION:
        raise WeightsError(f"resize_mode {mode!r}, interpolation {interpolation!r} are not open_clip's", where=source)
    common: dict[str, Any] = {
        "interpolation": _INTERPOLATION[interpolation],
        "mean": _three(preprocess.get("mean") or OPENAI_DATASET_MEAN),
        "std": _three(preprocess.get("std") or OPENAI_DATASET_STD),
        "origin": "open_clip preprocess_cfg",
    }
    if mode == "squash":
        return InputContract(size_px, **common)
    if mode == "longest":
        return InputContract(size_px, "pad", fill=float(preprocess.get("fill_color") or 0) / 255, **common)
    if size_px[0] != size_px[1]:
        raise WeightsError(
            f"resize_mode `shortest` onto {size_px[0]} x {size_px[1]} px is not known", where=source,
            remedy="only square inputs are cropped; set resize_mode to squash or longest",
        )  # fmt: skip
    return InputContract(size_px, "shortest_then_crop", size_px, **common)


def _three(value: Any) -> tuple[float, ...]:
    return tuple(float(v) for v in value) if isinstance(value, (list, tuple)) else (float(value),) * 3
