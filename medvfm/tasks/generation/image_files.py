"""Made images as files that say what made them: PNG, and DICOM."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image as Picture
from PIL.PngImagePlugin import PngInfo

from medvfm.core.array import Array

FORMATS = ("png", "png16", "dicom")


def written(images: Sequence[Array], said: Sequence[Mapping[str, str]], form: str) -> tuple[list[bytes], str]:
    """Images (H, W, C) in [0, 1] in a format of FORMATS, and the suffix of their files; `said` of each stands in it."""
    if form == "dicom":
        from medvfm.io.writers import secondary_capture  # pydicom is slow to import

        return secondary_capture.series(images, said), ".dcm"
    bits = 16 if form == "png16" else 8
    return [png(one, words, bits=bits) for one, words in zip(images, said, strict=True)], ".png"


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
