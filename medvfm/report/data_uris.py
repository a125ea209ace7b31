"""PNG files of a run directory as data URIs: a page loads nothing from elsewhere."""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass
from pathlib import Path

PLANES = 1.9  # times as wide as high: three planes beside each other
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Picture:
    """A data URI, and how many times as wide as high the picture is."""

    uri: str
    aspect: float

    @property
    def is_planes(self) -> bool:
        """Whether it shows three planes of a volume, which want a line of their own."""
        return self.aspect > PLANES


def read(directory: Path, name: str) -> Picture | None:
    """None where the name is of no PNG inside the directory."""
    path = (directory / name).resolve()
    if not name or not path.is_relative_to(directory.resolve()) or not path.is_file():
        return None
    content = path.read_bytes()
    if not content.startswith(PNG) or len(content) <= 24:
        return None
    width, height = struct.unpack(">II", content[16:24])
    return Picture(f"data:image/png;base64,{base64.b64encode(content).decode()}", width / max(height, 1))
