"""Pictures of a run directory as data URIs: a page loads nothing from elsewhere."""

from __future__ import annotations

import base64
import io
import struct
from dataclasses import dataclass
from pathlib import Path

from PIL import Image as Picture

PLANES = 1.9  # times as wide as high: three planes beside each other
PNG = b"\x89PNG\r\n\x1a\n"
QUALITY = 86  # of WebP: thin outlines keep their edges
WORTH_BYTES = 4096  # smaller files stay as they are


@dataclass(frozen=True)
class Embedded:
    """A data URI, and how many times as wide as high the picture is."""

    uri: str
    aspect: float

    @property
    def is_planes(self) -> bool:
        """Whether it shows three planes of a volume, which want a line of their own."""
        return self.aspect > PLANES


def inside(directory: Path, name: str) -> Path | None:
    """The file of that name, where it lies inside the directory."""
    path = (directory / name).resolve()
    return path if name and path.is_relative_to(directory.resolve()) and path.is_file() else None


def read(directory: Path, name: str) -> Embedded | None:
    """A PNG of the directory, as WebP where that is smaller; None where the name is of no PNG inside it."""
    path = inside(directory, name)
    if path is None:
        return None
    content = path.read_bytes()
    if not content.startswith(PNG) or len(content) <= 24:
        return None
    width, height = struct.unpack(">II", content[16:24])
    kind, smaller = "png", _webp(content) if len(content) > WORTH_BYTES else None
    if smaller is not None and len(smaller) < len(content):
        kind, content = "webp", smaller
    return Embedded(uri(kind, content), width / max(height, 1))


def uri(kind: str, content: bytes) -> str:
    """`data:image/webp;base64,...`."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _webp(content: bytes) -> bytes | None:
    """None where the file cannot be decoded: a browser may still show it."""
    out = io.BytesIO()
    try:
        with Picture.open(io.BytesIO(content)) as picture:
            picture.convert("RGB").save(out, format="WEBP", quality=QUALITY, method=4)
    except (OSError, SyntaxError):
        return None
    return out.getvalue()
