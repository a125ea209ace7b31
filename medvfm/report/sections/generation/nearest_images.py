"""Whether made images are copies: the training image nearest to each, beside the same for real test images."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from medvfm.report import data_uris, markup, text
from medvfm.report.run_view import View

TITLE = "Nearest training images: are there copies?"
LIMIT = 0.85  # a ratio below which the page says that the model copies
MANY = 3  # times as many images that look like copies as chance gives, from which it says so too


def build(view: View) -> Markup | None:
    made = view.part("generation")
    pairs = [_pair(view, entry) for entry in made.get("nearest") or []]
    row = next(iter(view.rows(metric="nearest_ratio")), None)
    if row is None and not any(pairs):
        return None
    copies = made.get("copies") or {}
    expected = int(copies.get("of") or 0) * (1 - float(copies.get("share") or 0.99))
    return markup.fragment(
        "nearest_images",
        row=row,
        shown=None if row is None else text.with_interval(row),
        copied=row is not None and row.get("value") is not None and row["value"] < LIMIT,
        limit=LIMIT,
        point="voxel" if made.get("volumes") else "pixel",
        sides=("above", "below") if made.get("volumes") else ("on the left", "on the right"),
        copies=copies,
        share=f"{100 * float(copies.get('share') or 0.99):.4g}%",
        expected=round(expected, 1),
        alike=int(copies.get("suspected") or 0) > MANY * max(expected, 1.0),
        singled=copies.get("made_singled") is not None,
        made=[p for p in pairs if p is not None and p["kind"] == "made"],
        test=[p for p in pairs if p is not None and p["kind"] == "test"],
    )


def _pair(view: View, entry: dict[str, Any]) -> dict[str, Any] | None:
    found = data_uris.read(view.directory, str(entry.get("file") or ""))
    if found is None:
        return None
    return {
        "uri": found.uri,
        "kind": str(entry.get("kind")),
        "alike": text.number(entry.get("alike"), 3),
        "singled": text.number(entry.get("singled"), 2),
    }
