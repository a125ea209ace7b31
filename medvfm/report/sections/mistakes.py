"""Pictures of what the model was surest of and wrong about."""

from __future__ import annotations

import base64
import struct
from pathlib import Path
from typing import Any

from markupsafe import Markup

from medvfm.report import markup, words
from medvfm.report.view import View

TITLE = "The most confident mistakes"
PNG = b"\x89PNG\r\n\x1a\n"
MOST = 24


def build(view: View) -> Markup | None:
    shown = [_picture(view, entry) for entry in (view.record.get("previews") or [])[:MOST]]
    found = [entry for entry in shown if entry is not None]
    if not found:
        return None
    kinds = dict.fromkeys(entry["kind"] for entry in found)
    return markup.fragment(
        "mistakes",
        groups=[(kind, [e for e in found if e["kind"] == kind]) for kind in kinds],
        several=len({e["target"] for e in found}) > 1,
    )


def _picture(view: View, entry: dict[str, Any]) -> dict[str, Any] | None:
    """The file as a data URI, where it is a PNG inside the run directory."""
    picture = content(view.directory, str(entry.get("file") or ""))
    if picture is None:
        return None
    target, truth, score = str(entry.get("target") or ""), entry.get("truth"), entry.get("score")
    says: dict[Any, str] = {0: f"no {target}", 1: target}
    width, height = struct.unpack(">II", picture[16:24])
    return {
        "wide": width > 1.2 * height,
        "uri": f"data:image/png;base64,{base64.b64encode(picture).decode()}",
        "kind": str(entry.get("kind") or "picture"),
        "target": target,
        "truth": says.get(truth, str(truth)),
        "score": words.score(score) if isinstance(score, int | float) else "",
        "caption": str(entry.get("caption") or ""),
    }


def content(directory: Path, name: str) -> bytes | None:
    """The bytes of a PNG inside the run directory."""
    path = (directory / name).resolve()
    if not name or not path.is_relative_to(directory.resolve()) or not path.is_file():
        return None
    content = path.read_bytes()
    return content if content.startswith(PNG) and len(content) > 24 else None
