"""Made images as files: PNG that say what made them."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from PIL import Image as Picture
from PIL.PngImagePlugin import PngInfo

from medvfm.core.array import Array

FORMATS = ("png", "png16")


def png(pixels: Array, said: Mapping[str, str], *, bits: int = 8) -> bytes:
    """An image (H, W, C) in [0, 1] with 1 or 3 channels as PNG of 8 bits, or of 16 where it is grey; `said` stands in
    text chunks."""
    grey = pixels.shape[2] == 1
    most = 65535 if bits == 16 and grey else 255
    levels = (np.clip(pixels, 0, 1) * most).round().astype(np.uint16 if most > 255 else np.uint8)
    info = PngInfo()
    for name, words in said.items():
        info.add_itxt(name, words)
    out = io.BytesIO()
    Picture.fromarray(levels[..., 0] if grey else levels).save(out, format="PNG", pnginfo=info)
    return out.getvalue()
