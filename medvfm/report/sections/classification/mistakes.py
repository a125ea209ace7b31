"""Pictures of the errors with the highest confidence, and of cases that chance chose."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from medvfm.report import case_table, data_uris, markup, text
from medvfm.report.run_view import View

TITLE = "Most confident errors and random cases"
MOST = 24


def build(view: View) -> Markup | None:
    shown = [_picture(view, entry) for entry in (view.record.get("previews") or [])[:MOST]]
    found = [entry for entry in shown if entry is not None]
    if not found:
        return None
    kinds = dict.fromkeys(entry["kind"] for entry in found)
    return markup.fragment(
        "mistakes",
        groups=[
            (f"{kind}s" if kind != "random" else "random cases", [e for e in found if e["kind"] == kind])
            for kind in kinds
        ],
        random="random" in kinds,
        cropped=any(e["cropped"] for e in found),
        sides=any(e["sides"] for e in found),
        pictures=any("cropped" in e for e in view.record.get("previews") or []),
        several=len({e["target"] for e in found}) > 1,
    )


def _picture(view: View, entry: dict[str, Any]) -> dict[str, Any] | None:
    """The file as a data URI, where it is a PNG inside the run directory."""
    found = data_uris.read(view.directory, str(entry.get("file") or ""))
    if found is None:
        return None
    target, truth, score = text.structure(entry.get("target") or ""), entry.get("truth"), entry.get("score")
    says: dict[Any, str] = {0: f"no {target}", 1: target}
    return {
        "wide": found.aspect > 1.2,
        "uri": found.uri,
        "kind": str(entry.get("kind") or "picture"),
        "target": target,
        "truth": says.get(truth, str(truth)),
        "score": text.score(score) if isinstance(score, int | float) else "",
        "id": case_table.anchors(view).get(str(entry.get("file"))),
        "cropped": bool(entry.get("cropped")),
        "sides": bool(entry.get("sides")),
        "caption": str(entry.get("caption") or ""),
    }
