"""The small files beside images, read as text: lists of cases, XML, JSON, lines of keys and values."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from medvfm.core.errors import DataError
from medvfm.io.dataset import text_tables
from medvfm.io.dataset.table_files import LIMIT_BYTES, LIST, content

_SIDE_LIMIT_BYTES = 16 * 2**20


def read_list(path: Path) -> list[str]:
    """The lines of a text file that hold anything."""
    try:
        data = content(path, LIMIT_BYTES)
        text = data.decode(text_tables.encoding_of(data, path)[0])
    except FileNotFoundError:
        raise DataError("no such list", where=path) from None
    except ValueError as broken:
        raise DataError(f"not readable as a list: {broken}", where=path) from broken
    return [line.strip() for line in text.splitlines() if line.strip()]


def read_fields(path: Path) -> dict[str, str]:
    """The fields of a small file of one case, by its suffix; see Join."""
    reader = _SIDE.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"no fields can be read from {path.suffix}; one of: {', '.join(sorted(_SIDE))}", where=path)
    try:
        return reader(content(path, _SIDE_LIMIT_BYTES))
    except (ValueError, ET.ParseError, RecursionError) as broken:
        raise DataError(f"not readable: {str(broken)[:100]}", where=path) from broken


def _xml(data: bytes) -> dict[str, str]:
    if b"<!ENTITY" in data:
        raise ValueError("XML entities are not read")
    found: dict[str, list[str]] = {}
    _gather(ET.fromstring(data), "", found)
    return {name: LIST.join(values) for name, values in found.items()}


def _gather(element: ET.Element, place: str, found: dict[str, list[str]]) -> None:
    """Texts and attributes below an element; the root itself is not part of their names, nor are namespaces."""
    for child in element:
        name = re.sub(r"^\{.*\}", "", child.tag) if isinstance(child.tag, str) else ""
        if not name:
            continue  # a comment
        label = f"[{child.attrib['Label']}]" if "Label" in child.attrib else ""
        here = f"{place}/{name}{label}" if place else f"{name}{label}"
        if child.text and child.text.strip():
            found.setdefault(here, []).append(child.text.strip())
        for key, value in child.attrib.items():
            found.setdefault(f"{here}@{key}", []).append(value)
        _gather(child, here, found)


def _plain_json(data: bytes) -> dict[str, str]:
    found: dict[str, str] = {}

    def gather(value: Any, place: str) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                gather(inner, f"{place}/{key}" if place else str(key))
        else:
            found[place] = LIST.join(map(str, value)) if isinstance(value, list) else str(value)

    gather(json.loads(data.decode("utf-8-sig")), "")
    return found


def _lines(data: bytes) -> dict[str, str]:
    pairs = (line.split(":", 1) for line in data.decode("utf-8-sig").splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _whole_text(data: bytes) -> dict[str, str]:
    return {"text": data.decode("utf-8-sig", errors="replace").strip()}


_SIDE: Mapping[str, Callable[[bytes], dict[str, str]]] = {
    ".xml": _xml,
    ".json": _plain_json,
    ".cfg": _lines,
    ".txt": _whole_text,
}
