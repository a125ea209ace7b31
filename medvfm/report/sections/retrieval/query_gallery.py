"""Queries by text from the best found to the worst, with the pictures that were found."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from medvfm.report import data_uris, markup, text
from medvfm.report.run_view import View

TITLE = "What was found for some texts"
MOST, MOST_HITS = 12, 10


def build(view: View) -> Markup | None:
    shown = [_query(view, entry) for entry in (view.part("retrieval", "gallery") or [])[:MOST]]
    if not shown:
        return None
    return markup.fragment("query_gallery", queries=shown, pictures=any(h["uri"] for q in shown for h in q["hits"]))


def _query(view: View, entry: dict[str, Any]) -> dict[str, Any]:
    own = entry.get("own") or {}
    return {
        "text": str(entry.get("query") or ""),
        "rank": int(entry.get("rank") or 0),
        "candidates": int(entry.get("candidates") or 0),
        "right": int(entry.get("right") or 0),
        "caption": str(entry.get("caption") or ""),
        "own": {"uri": _uri(view, own), "score": _score(own)},
        "hits": [
            {
                "uri": _uri(view, hit),
                "right": bool(hit.get("right")),
                "score": _score(hit),
                "text": str(hit.get("text") or ""),
                "caption": str(hit.get("caption") or ""),
            }
            for hit in (entry.get("hits") or [])[:MOST_HITS]
        ],
    }


def _uri(view: View, entry: dict[str, Any]) -> str:
    found = data_uris.read(view.directory, str(entry.get("file") or ""))
    return "" if found is None else found.uri


def _score(entry: dict[str, Any]) -> str:
    score = entry.get("score")
    return text.number(score, 3) if isinstance(score, int | float) else ""
