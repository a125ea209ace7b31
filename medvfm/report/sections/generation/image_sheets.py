"""Made images of each condition beside the real ones of the same cases."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from medvfm.report import data_uris, markup
from medvfm.report.run_view import View

TITLE = "Made images beside real ones"
NO_CONDITION = "no condition"


def build(view: View) -> Markup | None:
    made = view.part("generation")
    shown = [_sheet(view, entry) for entry in made.get("sheets") or []]
    found = [entry for entry in shown if entry is not None]
    if not found:
        return None
    return markup.fragment("image_sheets", sheets=found, blinded=made.get("blinded") or {}, volumes=made.get("volumes"))


def _sheet(view: View, entry: dict[str, Any]) -> dict[str, Any] | None:
    uris = {name: data_uris.read(view.directory, str(entry.get(name) or "")) for name in ("made", "real")}
    if uris["made"] is None:
        return None
    return {
        "condition": str(entry.get("condition") or "") or NO_CONDITION,
        "images": int(entry.get("images") or 0),
        **{name: "" if uri is None else uri.uri for name, uri in uris.items()},
    }
