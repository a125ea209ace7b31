"""Small pictures for reports: a slice or photograph in a square."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image as Picture

from medvfm.core.array import Array


def square_png(pixels: Array, spacing: tuple[float, float], side_px: int) -> bytes:
    """(C, H, W) in [0, 1], the distance between its rows and columns, to a square PNG on black."""
    height, width = pixels.shape[1] * spacing[0], pixels.shape[2] * spacing[1]
    scale = side_px / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    levels = (pixels.astype(np.float32).transpose(1, 2, 0).clip(0, 1) * 255).round().astype(np.uint8)
    coloured = levels.shape[2] >= 3
    drawn = Picture.fromarray(levels[..., :3] if coloured else levels[..., 0])
    sheet = Picture.new("RGB" if coloured else "L", (side_px, side_px))
    sheet.paste(drawn.resize(size, Picture.Resampling.BILINEAR), ((side_px - size[0]) // 2, (side_px - size[1]) // 2))
    out = io.BytesIO()
    sheet.save(out, format="PNG", compress_level=4)
    return out.getvalue()
